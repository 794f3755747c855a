//! I10: what clients are told about a run is linearizable.
//!
//! A run is a register whose versions are its sequences `1..n`, each with one status, which the history tells. Every call that returned a status is
//! placed at a version: the one that it named, or, if it named none, the first with that status that is allowed. Then:
//! - the version exists, and has the status that was told: there is no status that never was;
//! - for calls `p`, `q` that did not ask for stale answers, if `p` ended before `q` was invoked, `version(p) <= version(q)`: nobody reads behind what
//!   anybody was told before, and nobody goes back;
//! - no such call is told that a run is not there after its start was acknowledged.
//!
//! Versions are totally ordered by the history, so this is all that linearizability asks for, and no search is needed: choosing the first allowed
//! version is best, since versions only bound later ones from below.
//!
//! Sources: operations, histories. Limits: answers that name neither sequence nor status are not judged, nor are lists. A run id that several runs had
//! is judged by the uid that the answer names.

use std::collections::BTreeMap;

use super::{
    findings::{Findings, Invariant},
    joined::{Joined, RunView},
    standing, testimony,
    verdict::Counterexample,
};
use crate::record::{Answer, Call, Operation};

pub(super) const INVARIANT: Invariant = Invariant { id: "I10", title: "what clients are told about a run is linearizable", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let mut told: BTreeMap<&str, Vec<(&Operation, &Answer)>> = BTreeMap::new();
    for (operation, answer) in joined.done().filter(|(operation, _)| !matches!(operation.call, Call::Complete { .. })) {
        if let Some(run) = joined.about(operation).first().filter(|_| !answer.status.is_empty() || answer.sequence > 0) {
            told.entry(run.uid()).or_default().push((operation, answer));
        }
    }
    for (uid, answers) in &told {
        register(joined, &joined.runs[uid], answers, findings);
    }
    not_found(joined, findings);
}

fn register(joined: &Joined<'_>, run: &RunView<'_>, answers: &[(&Operation, &Answer)], findings: &mut Findings) {
    let versions = standing::statuses(&run.record.events);
    // Versions by status, so that the first one from a floor on is found fast.
    let mut of_status: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (position, status) in versions.iter().enumerate() {
        of_status.entry(status.as_str_name()).or_default().push(position as u64 + 1);
    }
    // Ends before begins that are not later: only what ended before counts.
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (position, (operation, _)) in answers.iter().enumerate() {
        moments.push((operation.invoked_us, false, position));
        moments.push((operation.ended_us.unwrap_or(u64::MAX), true, position));
    }
    moments.sort_by_key(|(at, is_end, position)| (*at, *is_end, *position));
    let mut floor: (u64, Option<usize>) = (0, None);
    let mut placed: Vec<u64> = vec![0; answers.len()];
    for (_, is_end, position) in moments {
        let (operation, answer) = answers[position];
        let stale = matches!(operation.call, Call::Get { stale: true, .. });
        if is_end {
            if placed[position] > floor.0 && !stale {
                floor = (placed[position], Some(position));
            }
            continue;
        }
        let lowest = if stale { 0 } else { floor.0 };
        let version = place(answer, lowest, &versions, &of_status);
        findings.expect(version.is_ok(), || {
            let history = run
                .record
                .events
                .iter()
                .filter(|event| event.sequence.abs_diff(answer.sequence) <= 1 || Some(event.sequence) == floor.1.map(|_| floor.0));
            Counterexample::new(run.name(), version.err().unwrap_or_default())
                .with(testimony::operation(operation))
                .with(floor.1.filter(|_| !stale).into_iter().flat_map(|position| testimony::operation(answers[position].0)))
                .with(history.map(|event| joined.clock.event(event)))
        });
        placed[position] = version.unwrap_or(0);
    }
}

/// The version that an answer is of.
fn place(
    answer: &Answer,
    floor: u64,
    versions: &[quorus_proto::v1::RunStatus],
    of_status: &BTreeMap<&str, Vec<u64>>,
) -> Result<u64, &'static str> {
    if answer.sequence > 0 {
        let status = usize::try_from(answer.sequence - 1).ok().and_then(|position| versions.get(position));
        return match status {
            None => Err("a client was told of more events than the run ever had"),
            Some(status) if !answer.status.is_empty() && answer.status != status.as_str_name() => {
                Err("a client was told a status that the run did not have with that many events")
            }
            Some(_) if answer.sequence < floor => Err("a client was told less than somebody had been told before it asked"),
            Some(_) => Ok(answer.sequence),
        };
    }
    let known = of_status.get(answer.status.as_str()).ok_or("a client was told a status that the run never had")?;
    let first = known.partition_point(|version| *version < floor);
    known.get(first).copied().ok_or("a client was told a status that was over before it asked")
}

fn not_found(joined: &Joined<'_>, findings: &mut Findings) {
    let mut acked: BTreeMap<&str, &Operation> = BTreeMap::new();
    for start in joined.starts().filter(|start| start.operation.answer().is_some()) {
        let known = acked.entry(start.run_id).or_insert(start.operation);
        if start.operation.acked_us() < known.acked_us() {
            *known = start.operation;
        }
    }
    for operation in &joined.evidence.operations {
        let Some(start) = acked.get(operation.call.run()) else { continue };
        let is_read = matches!(operation.call, Call::Get { stale: false, .. });
        let Some(reason) = operation.refusal().filter(|_| is_read && start.acked_us() < testimony::signed(operation.invoked_us)) else {
            continue;
        };
        findings.expect(!reason.to_ascii_uppercase().contains("NOT_FOUND"), || {
            Counterexample::new(operation.call.run(), "a client was told that a run is not there after its start was acknowledged")
                .with(testimony::operation(start))
                .with(testimony::operation(operation))
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only};
    use crate::record::{Answer, Call, Ending, Evidence, Operation};

    /// Two steps, with reads at three versions, one after the other.
    fn legal() -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.get(&run, false);
        scene.task(&run, "a");
        scene.get(&run, false);
        scene.get(&run, true);
        scene.succeed(&run);
        scene.get(&run, false);
        scene.evidence()
    }

    fn reads(evidence: &mut Evidence) -> Vec<&mut Operation> {
        evidence.operations.iter_mut().filter(|operation| matches!(operation.call, Call::Get { .. })).collect()
    }

    fn answer(operation: &mut Operation) -> &mut Answer {
        match &mut operation.ending {
            Some(Ending::Ok(answer)) => answer,
            _ => panic!("not done"),
        }
    }

    #[test]
    fn reads_that_rise_are_legal() {
        assert_only(&legal(), &[]);
        // Without sequences, too.
        let mut evidence = legal();
        for operation in reads(&mut evidence) {
            answer(operation).sequence = 0;
        }
        assert_only(&evidence, &[]);
    }

    #[test]
    fn a_read_that_goes_back_is_found_unless_it_asked_for_a_stale_answer() {
        for (position, stale) in [(3, false), (2, true)] {
            let mut evidence = legal();
            let mut reads = reads(&mut evidence);
            let before = answer(reads[0]).clone();
            *answer(reads[position]) = before;
            assert_only(&evidence, if stale { &[] } else { &["I10"] });
        }
    }

    #[test]
    fn a_status_that_never_was_or_was_over_is_found() {
        let mut evidence = legal();
        answer(reads(&mut evidence)[1]).status = "RUN_STATUS_CANCELLED".to_owned();
        assert_only(&evidence, &["I10"]);
        let mut evidence = legal();
        let mut all = reads(&mut evidence);
        answer(all[3]).sequence = 0;
        let mut after = all[3].clone();
        after.id = 99;
        after.invoked_us += 1_000_000;
        after.ended_us = after.ended_us.map(|ended| ended + 1_000_000);
        answer(&mut after).status = "RUN_STATUS_RUNNING".to_owned();
        evidence.operations.push(after);
        assert_only(&evidence, &["I10"]);
        let mut evidence = legal();
        answer(reads(&mut evidence)[3]).sequence += 1;
        assert_only(&evidence, &["I10"]);
    }

    #[test]
    fn a_read_that_overlaps_the_one_that_knew_more_is_legal() {
        let mut evidence = legal();
        let mut all = reads(&mut evidence);
        let (early, late) = (all[0].invoked_us, answer(all[0]).clone());
        // It was invoked before anybody was told anything of the second version.
        all[1].invoked_us = early;
        *answer(all[1]) = late;
        assert_only(&evidence, &[]);
    }

    #[test]
    fn a_run_that_is_not_found_after_its_start_is_found() {
        let mut evidence = legal();
        reads(&mut evidence)[1].ending = Some(Ending::Fail { reason: "RUN_NOT_FOUND".to_owned() });
        assert_only(&evidence, &["I10"]);
    }
}
