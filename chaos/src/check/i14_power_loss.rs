//! I14: what was acknowledged before a power loss is there after it.
//!
//! If unsynced writes were lost (on one node, or on all at once): for every start, signal, approval, cancel and terminate that was acknowledged before the
//! last time that this happened, what I1 and I11 say of it holds; and every attempt that a worker ended as succeeded and whose completion is recorded
//! before that time has its one outcome (I3).
//!
//! Sources: operations, histories, faults. Limits: a loss of power is a fault whose kind says `power`, `unsynced` or `torn`; what was acknowledged while it
//! happened is left to I1 and I11. A violation here is one there, too: this line says that power loss is what it takes.

use quorus_proto::v1::EventType;

use super::{
    findings::{Findings, Invariant},
    i01_no_lost_submission, i11_signals_and_cancels,
    joined::Joined,
    testimony::{self, signed},
    verdict::Counterexample,
};
use crate::record::{Call, Fault, FaultPhase};

pub(super) const INVARIANT: Invariant = Invariant { id: "I14", title: "a power loss loses nothing that was acknowledged", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let losses = joined.evidence.faults.iter().filter(|fault| fault.phase != FaultPhase::Skipped && is_power_loss(fault));
    let Some(last) = losses.max_by_key(|fault| fault.at_us) else {
        return findings.not_applicable("no power was lost");
    };
    for (operation, answer) in joined.done().filter(|(operation, _)| operation.acked_us() <= signed(last.at_us)) {
        if let Some(why) = i01_no_lost_submission::missing_export(joined, answer) {
            findings.unknown(why);
            continue;
        }
        let summary = match &operation.call {
            Call::Start { .. } if joined.about(operation).is_empty() => {
                "the start was acknowledged before the power loss, and the run is gone"
            }
            Call::Start { .. } => "",
            _ => match i11_signals_and_cancels::lost(joined, operation) {
                Some("") => "",
                Some(_) => "this was acknowledged before the power loss, and is gone",
                None => continue,
            },
        };
        findings.expect(summary.is_empty(), || {
            Counterexample::new(operation.call.run(), summary).with(testimony::operation(operation)).with([testimony::fault(last)])
        });
    }
    for run in joined.runs.values() {
        for (step, view) in &run.steps {
            let before = view
                .attempts
                .iter()
                .filter_map(|attempt| attempt.ended)
                .filter(|ended| ended.outcome == "succeeded" && joined.clock.at_us(ended) <= signed(last.at_us));
            for ended in before {
                let ends = view.of_type(EventType::StepEnded).any(|(_, event)| event.sequence > ended.sequence);
                findings.expect(ends, || {
                    Counterexample::new(run.name(), "an attempt succeeded before the power loss, and its step has no outcome")
                        .step(*step)
                        .with([joined.clock.event(ended), testimony::fault(last)])
                });
            }
        }
    }
}

pub(super) fn is_power_loss(fault: &Fault) -> bool {
    ["power", "unsynced", "torn"].iter().any(|word| fault.kind.contains(word))
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only, remove_event, result};
    use crate::check::verdict::Verdict;
    use crate::record::Evidence;

    fn legal(kind: &str) -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.signal(&run, "go", "s-1");
        scene.task(&run, "a");
        scene.succeed(&run);
        scene.fault(kind, "node-1", 1_000);
        scene.pass(2_000);
        let later = scene.start("later", "w");
        scene.succeed(&later);
        scene.evidence()
    }

    #[test]
    fn what_is_still_there_after_a_power_loss_is_legal() {
        assert_only(&legal("power-loss"), &[]);
        assert_eq!(result(&legal("power-loss"), "I14").verdict, Verdict::Valid);
        assert_eq!(result(&legal("kill"), "I14").verdict, Verdict::NotApplicable);
    }

    #[test]
    fn what_was_acknowledged_before_it_and_is_gone_is_found() {
        let mut evidence = legal("power-loss");
        remove_event(&mut evidence, |event| event.signal_id == "s-1");
        assert_only(&evidence, &["I11", "I14"]);
        let mut evidence = legal("power-loss");
        evidence.ledger.clear();
        for replica in &mut evidence.replicas {
            replica.runs.retain(|run| run.run_id != "r");
        }
        assert_only(&evidence, &["I1", "I11", "I14"]);
        // What came later is not the power's fault.
        let mut evidence = legal("power-loss");
        for replica in &mut evidence.replicas {
            replica.runs.retain(|run| run.run_id != "later");
        }
        assert_only(&evidence, &["I1"]);
    }
}
