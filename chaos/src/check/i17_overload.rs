//! I17: overload is refused and recovered from.
//!
//! For every fault of overload, in force from `t` to `u`:
//! - every start that was refused for good after `t` and before `u + `[`RECOVERY_US`] was refused for want of room, or for a reason that has nothing to do
//!   with load: its run exists already;
//! - reads are not refused for want of room;
//! - of the starts invoked after `u + `[`RECOVERY_US`] none is refused for want of room, and if there are any while no other fault is in force, nor was
//!   shortly before, one was done;
//! - if `b` starts may be under way at once (the setup says so): at no time more than [`BOUND_TIMES`]` * b` starts that were done, and sent once, had been
//!   invoked and not yet answered. Callers see a start for longer than a node holds it, and the room of one that was answered is another's; hence the
//!   factor. One that its client sent again waited at the client while it was refused, and how many clients wait for a cluster is not its own doing.
//!
//! Sources: operations, faults, setup. Limits: faults of overload are those whose kind says `overload`, `burst` or `flood`; that what was accepted went on is
//! I1 and I6. Without a start after the recovery nothing is said about it, which coverage can demand; nor is anything about a bound that is not known.

use super::{
    findings::{Findings, Invariant},
    joined::Joined,
    testimony::{self, signed},
    verdict::Counterexample,
};
use crate::record::{Call, Operation};

pub(super) const INVARIANT: Invariant = Invariant { id: "I17", title: "overload is refused, and recovered from", check };

/// How long a cluster may take after the load has dropped.
const RECOVERY_US: i64 = 15_000_000;

/// How many times its bound of starts a cluster may answer in the time that its callers wait.
const BOUND_TIMES: u64 = 6;

/// What refusals for want of room say.
const NO_ROOM: [&str; 6] = ["RESOURCE_EXHAUSTED", "EXHAUSTED", "OVERLOAD", "BUSY", "NO_ROOM", "TOO_MANY"];

/// Refusals that have nothing to do with load.
const OTHER: [&str; 2] = ["EXISTS", "CONFLICT"];

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let loads: Vec<_> =
        joined.windows.iter().filter(|window| ["overload", "burst", "flood"].iter().any(|word| window.fault.kind.contains(word))).collect();
    if loads.is_empty() {
        return findings.not_applicable("there was no overload");
    }
    let says = |operation: &Operation, words: &[&str]| {
        let reason = operation.refusal().unwrap_or_default().to_ascii_uppercase();
        words.iter().any(|word| reason.contains(word))
    };
    let until = loads.iter().map(|window| window.to_us.saturating_add(RECOVERY_US)).max().unwrap_or(i64::MAX);
    for operation in joined.evidence.operations.iter().filter(|operation| operation.refusal().is_some()) {
        let (is_start, is_read) = (matches!(operation.call, Call::Start { .. }), matches!(operation.call, Call::Get { .. }));
        let at = signed(operation.invoked_us);
        let load = loads.iter().find(|window| window.from_us <= at && at <= window.to_us.saturating_add(RECOVERY_US));
        let summary = match load {
            Some(_) if is_start && !says(operation, &NO_ROOM) && !says(operation, &OTHER) => {
                "a start was refused under load, but not for want of room"
            }
            Some(_) if is_read && says(operation, &NO_ROOM) => "a read was refused for want of room",
            None if is_start && at > until && says(operation, &NO_ROOM) => {
                "a start was refused for want of room long after the load had dropped"
            }
            _ => "",
        };
        findings.expect(summary.is_empty(), || {
            Counterexample::new(operation.call.run(), summary)
                .with(testimony::operation(operation))
                .with(loads.iter().map(|window| testimony::fault(window.fault)))
        });
    }
    let is_calm = |operation: &Operation| {
        let (from, to) = (signed(operation.invoked_us), operation.acked_us());
        !joined.windows.iter().any(|window| window.from_us <= to && from <= window.to_us.saturating_add(RECOVERY_US))
    };
    let after: Vec<_> = joined
        .starts()
        .map(|start| start.operation)
        .filter(|operation| signed(operation.invoked_us) > until && operation.ending.is_some() && is_calm(operation))
        .collect();
    if !after.is_empty() {
        findings.expect(after.iter().any(|operation| operation.answer().is_some()), || {
            Counterexample::new("", "no start was done after the load had dropped")
                .with(after.iter().take(3).flat_map(|operation| testimony::operation(operation)))
        });
    }
    bounded(joined, findings);
}

fn bounded(joined: &Joined<'_>, findings: &mut Findings) {
    let bound = joined.evidence.setup.starts_at_once;
    if bound == 0 {
        return;
    }
    let was_sent_once = |operation: &&Operation| matches!(operation.call, Call::Start { retried: false, .. });
    let done: Vec<&Operation> =
        joined.starts().map(|start| start.operation).filter(was_sent_once).filter(|operation| operation.answer().is_some()).collect();
    // Ends before begins: who was answered at a moment is not under way any more.
    let mut moments: Vec<(i64, bool, usize)> = Vec::new();
    for (position, operation) in done.iter().enumerate() {
        moments.extend([(signed(operation.invoked_us), true, position), (operation.acked_us(), false, position)]);
    }
    moments.sort_unstable();
    let (mut under_way, mut most, mut last) = (0_u64, 0, None);
    for (_, begins, position) in moments {
        under_way = if begins { under_way + 1 } else { under_way.saturating_sub(1) };
        if under_way > most {
            (most, last) = (under_way, done.get(position));
        }
    }
    findings.expect(most <= bound.saturating_mul(BOUND_TIMES), || {
        let summary = format!("{most} starts were under way at once and done, where there is room for {bound}");
        Counterexample::new("", summary).with(last.into_iter().flat_map(|operation| testimony::operation(operation)))
    });
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only, result};
    use crate::check::verdict::Verdict;
    use crate::record::{Call, Ending, Evidence};

    /// A start during overload that is refused with `reason`, and one that is started `later_ms` after it.
    fn with(reason: &str, later_ms: u64, later: Option<&str>) -> Evidence {
        let mut scene = Scene::new();
        scene.fault("overload", "node-1", 5_000);
        scene.refused("r", reason);
        scene.pass(later_ms);
        match later {
            Some(reason) => scene.refused("later", reason),
            None => {
                let run = scene.start("later", "w");
                scene.succeed(&run);
            }
        }
        scene.evidence()
    }

    #[test]
    fn refusals_for_want_of_room_and_a_recovery_are_legal() {
        assert_only(&with("RESOURCE_EXHAUSTED", 60_000, None), &[]);
        assert_eq!(result(&with("RESOURCE_EXHAUSTED", 60_000, None), "I17").verdict, Verdict::Valid);
        assert_only(&with("RUN_EXISTS", 60_000, None), &[]);
        assert_only(&with("RESOURCE_EXHAUSTED", 1_000, Some("RESOURCE_EXHAUSTED")), &[]);
    }

    #[test]
    fn a_refusal_for_another_reason_is_found() {
        assert_only(&with("INTERNAL", 60_000, None), &["I17"]);
    }

    #[test]
    fn a_cluster_that_does_not_recover_is_found() {
        assert_only(&with("RESOURCE_EXHAUSTED", 60_000, Some("RESOURCE_EXHAUSTED")), &["I17"]);
        assert_only(&with("RESOURCE_EXHAUSTED", 60_000, Some("INTERNAL")), &["I17"]);
    }

    #[test]
    fn starts_that_are_all_done_where_there_is_room_for_few_are_found() {
        let crowd = |count: usize| {
            let mut scene = Scene::new();
            scene.fault("overload", "node-1", 5_000);
            for number in 0..count {
                let run = scene.start(&format!("r{number}"), "w");
                scene.succeed(&run);
            }
            let mut evidence = scene.evidence();
            evidence.setup.starts_at_once = 2;
            let last = evidence.operations.iter().filter_map(|operation| operation.ended_us).max();
            for operation in &mut evidence.operations {
                operation.ended_us = last;
            }
            evidence
        };
        assert_only(&crowd(12), &[]);
        assert_only(&crowd(13), &["I17"]);
        let mut patient = crowd(13);
        if let Call::Start { retried, .. } = &mut patient.operations[0].call {
            *retried = true;
        }
        assert_only(&patient, &[]);
        let mut unknown = crowd(13);
        unknown.setup.starts_at_once = 0;
        assert_only(&unknown, &[]);
    }

    #[test]
    fn a_read_that_is_refused_for_want_of_room_is_found() {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fault("overload", "node-1", 5_000);
        scene.get(&run, false);
        scene.succeed(&run);
        let mut evidence = scene.evidence();
        evidence.operations[1].ending = Some(Ending::Fail { reason: "RESOURCE_EXHAUSTED".to_owned() });
        assert_only(&evidence, &["I17"]);
    }
}
