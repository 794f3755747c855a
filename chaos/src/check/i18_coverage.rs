//! I18: the experiment tested what it promised to test.
//!
//! - For every name in `expects` of the setup, that many were counted (see [`super::coverage`] for the names).
//! - The runner itself had no fault.
//! - Something was done: at least one call ended ok.
//!
//! If not, the verdict of the whole experiment is unknown, unless something is violated: it is never valid by accident.
//!
//! Sources: everything. Limits: what is counted is what the witnesses saw; installs of snapshots and changes of members only if the faults say so.

use super::{
    findings::{Findings, Invariant},
    joined::Joined,
};

pub(super) const INVARIANT: Invariant = Invariant { id: "I18", title: "the experiment tested what it promised", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let coverage = joined.coverage();
    for error in &joined.evidence.harness_errors {
        findings.unknown(format!("the runner itself had a fault: {error}"));
    }
    findings.look();
    if coverage.get("operations.ok") == 0 {
        findings.unknown("nothing was done: no call ended ok");
    }
    // What invariants are to look at is judged with each of them.
    for (name, wanted) in joined.evidence.setup.expects.iter().filter(|(name, _)| !super::is_invariant(name)) {
        findings.look();
        let counted = coverage.get(name);
        if counted < *wanted {
            findings.unknown(format!("{name}: {counted} of {wanted} that the experiment promised"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, result};
    use crate::check::{judge, verdict::Verdict};
    use crate::record::Evidence;

    fn legal() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.task(&run, "a");
        scene.leader_fault("kill", "node-1", 1_000);
        scene.lease(&run, "b");
        scene.leader_fault("kill", "node-2", 1_000);
        scene.finish(&run, "b");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_promise_that_is_kept_is_valid_and_one_that_is_not_is_unknown() {
        let mut evidence = legal();
        assert_eq!(judge(&evidence).verdict, Verdict::Valid);
        for (name, count) in
            [("kill", 2), ("faults.kill.on_leader", 2), ("leader_changes_with_open_leases", 1), ("I4", 2), ("operations.start.ok", 1)]
        {
            evidence.setup.expects.insert(name.to_owned(), count);
            assert_eq!(judge(&evidence).verdict, Verdict::Valid, "{name}");
            let mut more = evidence.clone();
            more.setup.expects.insert(name.to_owned(), 1_000);
            assert_eq!(judge(&more).verdict, Verdict::Unknown, "{name}");
        }
    }

    #[test]
    fn a_promise_of_what_nobody_counts_and_a_fault_of_the_runner_are_unknown() {
        let mut evidence = legal();
        evidence.setup.expects.insert("earthquakes".to_owned(), 1);
        assert!(result(&evidence, "I18").reason.contains("earthquakes: 0 of 1"));
        let mut evidence = legal();
        evidence.harness_errors.push("a probe did not start".to_owned());
        assert_eq!(judge(&evidence).verdict, Verdict::Unknown);
        assert_eq!(judge(&Evidence::default()).verdict, Verdict::Unknown, "nothing was done");
    }

    #[test]
    fn a_violation_beats_an_unknown() {
        let mut evidence = legal();
        evidence.harness_errors.push("a probe did not start".to_owned());
        evidence.replicas[1].digest = "other".to_owned();
        assert_eq!(judge(&evidence).verdict, Verdict::Violated);
    }
}
