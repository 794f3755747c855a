//! Random legal evidence from a small model stays valid, and each of many changes to it turns exactly the invariants to violated that it must.
//!
//! The model is a few runs side by side, each a script of facts: tasks, retries, waits, signals, children, reads; then an end, with a cancel, a failure and
//! compensation, or a terminate. The scripts are interleaved at random.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use quorus_client::LedgerEvent;
use quorus_proto::v1::{EventType, RunStatus, StepStatus};

use super::testing::{Scene, event, violated};
use super::{Verdict, judge};
use crate::record::{Answer, Call, Ending, Evidence, Operation, RecordedRun, Shape, StepShape};

/// Chance from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T>(&mut self, from: Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        from.into_iter().nth(at)
    }
}

#[derive(Clone, Copy, Debug)]
enum Fact {
    Lease(&'static str),
    Finish(&'static str),
    FailAttempt(&'static str),
    Fail(&'static str),
    Abandon(&'static str),
    Sleep,
    WakeUp,
    Await,
    Signal,
    Consume,
    Child,
    ChildEnds,
    Get,
    Phase(&'static str),
    Cancel,
    Terminate,
    End(RunStatus),
}

fn shape(workflow: &str, with_wait: bool) -> Shape {
    let step = |step: &str, kind: &str, needs: &[&str], compensated: bool| StepShape {
        step: step.to_owned(),
        kind: kind.to_owned(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        compensated,
        attempts_max: if kind == "task" { 2 } else { 0 },
        retry_after_ms: if kind == "task" { 1_000 } else { 0 },
        wait_ms: if kind == "wait" { 5_000 } else { 0 },
        ..StepShape::default()
    };
    let mut steps = vec![step("a", "task", &[], true), step("c", "task", &["b"], false)];
    if with_wait {
        steps.extend([step("wait", "wait", &["a"], false), step("b", "task", &["wait"], true)]);
    } else {
        steps.push(step("b", "task", &["a"], true));
    }
    Shape { workflow: workflow.to_owned(), steps, ..Shape::default() }
}

fn script(chance: &mut Chance, with_wait: bool, worker_faults: bool) -> VecDeque<Fact> {
    use Fact::{
        Abandon, Await, Cancel, Child, ChildEnds, Consume, End, Fail, FailAttempt, Finish, Get, Lease, Phase, Signal, Sleep, Terminate,
        WakeUp,
    };
    let mut facts = VecDeque::new();
    if chance.one_in(3) {
        facts.push_back(FailAttempt("a"));
    }
    if worker_faults && chance.one_in(2) {
        facts.push_back(Abandon("a"));
    }
    facts.extend([Lease("a"), Finish("a"), Get]);
    if chance.one_in(2) {
        facts.extend([Await, Signal, Consume]);
    }
    if with_wait {
        facts.extend([Sleep, WakeUp]);
    }
    facts.extend([Lease("b"), Finish("b"), Get]);
    if chance.one_in(3) {
        facts.extend([Child, ChildEnds]);
    }
    let undo = [
        Phase("compensating"),
        Lease("b:compensate"),
        Finish("b:compensate"),
        Lease("a:compensate"),
        Finish("a:compensate"),
        Phase("compensated"),
    ];
    match chance.below(5) {
        0 => {
            facts.push_back(Fail("c"));
            facts.extend(undo);
            facts.push_back(End(RunStatus::Failed));
        }
        1 => {
            facts.push_back(Cancel);
            facts.extend(undo);
            facts.push_back(End(RunStatus::Cancelled));
        }
        2 => facts.push_back(Terminate),
        _ => facts.extend([Lease("c"), Finish("c"), End(RunStatus::Succeeded)]),
    }
    if chance.one_in(2) {
        facts.push_back(Get);
    }
    facts
}

/// A random history in which everything went right.
fn legal(seed: u64) -> Evidence {
    let mut chance = Chance(seed);
    let mut scene = Scene::new();
    scene.shape(shape("plain", false));
    scene.shape(shape("waiting", true));
    let worker_faults = chance.one_in(2);
    let mut runs = Vec::new();
    for number in 0..2 + chance.below(5) {
        let with_wait = chance.one_in(2);
        let uid = scene.start(&format!("run-{number}"), if with_wait { "waiting" } else { "plain" });
        runs.push((uid, String::new(), script(&mut chance, with_wait, worker_faults)));
    }
    if chance.one_in(2) {
        scene.leader_fault("kill", "node-2", 4_000);
    }
    while !runs.is_empty() {
        let at = chance.below(runs.len());
        let (uid, child, facts) = &mut runs[at];
        match facts.pop_front() {
            None => drop(runs.remove(at)),
            Some(fact) => play(&mut scene, uid, child, fact),
        }
    }
    scene.heal();
    scene.evidence()
}

fn play(scene: &mut Scene, uid: &str, child: &mut String, fact: Fact) {
    match fact {
        Fact::Lease(step) => scene.lease(uid, step),
        Fact::Finish(step) => scene.finish(uid, step),
        Fact::FailAttempt(step) => scene.fail_attempt(uid, step, 1_000),
        Fact::Fail(step) => {
            scene.fail(uid, step, true);
            scene.push(uid, event(EventType::RunFailing).run_status(RunStatus::Failing));
        }
        Fact::Abandon(step) => {
            scene.fault("worker-pause", "worker-1", 40_000);
            scene.abandon(uid, step, 31_000);
        }
        Fact::Sleep => scene.push(uid, event(EventType::StepWaiting).step("wait").due_in(5_000)),
        Fact::WakeUp => {
            scene.pass(5_000);
            scene.push(uid, event(EventType::StepEnded).step("wait").step_status(StepStatus::Succeeded));
        }
        Fact::Await => scene.push(uid, event(EventType::StepAwaiting).step("go")),
        Fact::Signal => scene.signal(uid, "go", "s-1"),
        Fact::Consume => {
            scene.push(uid, event(EventType::SignalConsumed).step("go").signal("go"));
            scene.push(uid, event(EventType::StepEnded).step("go").step_status(StepStatus::Succeeded));
        }
        Fact::Child => *child = scene.child(uid, "kid"),
        Fact::ChildEnds => {
            scene.task(child, "x");
            scene.succeed(child);
            scene.child_ended(uid, "kid", child);
        }
        Fact::Get => scene.get(uid, false),
        Fact::Phase(phase) => scene.push(uid, event(EventType::PhaseChanged).phase(phase)),
        Fact::Cancel => scene.cancel(uid),
        Fact::Terminate => scene.terminate(uid),
        Fact::End(status) => scene.end(uid, status),
    }
}

/// Changes evidence so that it is not legal any more; the invariants that must say so, or none if there is nothing to change.
type Mutation = fn(&mut Evidence, &mut Chance) -> Option<&'static [&'static str]>;

const MUTATIONS: [(&str, Mutation); 18] = [
    ("a replica loses a run", |evidence, chance| {
        let at = chance.below(evidence.replicas[1].runs.len());
        let lost = evidence.replicas[1].runs.remove(at);
        Some(if lost.parent_uid.is_empty() { &["I1", "I13"] } else { &["I13"] })
    }),
    ("a start is answered with a run that is nowhere", |evidence, chance| {
        let mut lost = chance.pick(operations(evidence, |call| matches!(call, Call::Start { .. })))?.clone();
        let Call::Start { run_id, request_id, .. } = &mut lost.call else { return None };
        (*run_id, *request_id) = ("lost".to_owned(), "lost".to_owned());
        answer(&mut lost)?.run_uid = "lost".to_owned();
        evidence.operations.push(lost);
        Some(&["I1"])
    }),
    ("nobody asked for a run", |evidence, chance| {
        let start = chance.pick(operations(evidence, |call| matches!(call, Call::Start { .. })))?.id;
        evidence.operations.retain(|operation| operation.id != start);
        Some(&["I2"])
    }),
    ("a worker gets another input", |evidence, chance| {
        let begins = evidence.ledger.iter_mut().filter(|line| line.event == LedgerEvent::Begin).collect();
        chance.pick(begins)?.input_sha256 = "0".repeat(64);
        Some(&["I2"])
    }),
    ("an outcome is recorded twice", |evidence, chance| {
        let (run, position) = pick_event(evidence, chance, |event| event.r#type() == EventType::StepEnded && !event.step.contains(':'))?;
        change(evidence, &run, |run| {
            let mut again = run.events[position].clone();
            let last = run.events.last().unwrap();
            (again.sequence, again.time) = (last.sequence + 1, last.time);
            run.events.push(again);
        });
        Some(&["I3"])
    }),
    ("a worker wrote another output", |evidence, chance| {
        let ends = evidence.ledger.iter_mut().filter(|line| line.outcome == "succeeded").collect();
        chance.pick(ends)?.output_sha256 = "0".repeat(64);
        Some(&["I3"])
    }),
    ("a grant beside a live attempt", |evidence, chance| {
        let (run, position) = pick_event(evidence, chance, |event| {
            event.r#type() == EventType::AttemptEnded && event.outcome == "failed" && event.step == "a"
        })?;
        // With a fault of nodes alone it would be a step too many, as well.
        evidence.faults.clear();
        change(evidence, &run, |run| remark(run, position));
        Some(&["I4"])
    }),
    ("a dead node repeats a step", |evidence, chance| {
        // Its worker was never hit; nobody but a node was.
        evidence.faults.retain(|fault| fault.of_servers_only());
        if evidence.faults.is_empty() || !evidence.ledger.iter().any(|line| line.event == LedgerEvent::Begin) {
            return None;
        }
        let (run, position) =
            pick_event(evidence, chance, |event| event.outcome == "failed" && event.step == "a" && event.due_at.is_some())?;
        change(evidence, &run, |run| run.events[position].outcome = "abandoned".to_owned());
        // It was given up within a second, and no lease is over so soon.
        Some(&["I4", "I5"])
    }),
    ("a run stops in the middle", |evidence, chance| {
        let (run, position) =
            pick_event(evidence, chance, |event| event.r#type() == EventType::RunEnded && event.run_status() == RunStatus::Succeeded)?;
        let last = evidence.replicas[0].runs.iter().find(|known| known.run_uid == run)?;
        let read = evidence
            .operations
            .iter()
            .filter_map(|operation| operation.answer())
            .any(|answer| answer.run_uid == run && answer.sequence > position as u64);
        if read || !last.parent_uid.is_empty() {
            return None;
        }
        change(evidence, &run, |run| remark(run, position));
        Some(&["I6"])
    }),
    ("two compensations change places", |evidence, chance| {
        let (run, _) = pick_event(evidence, chance, |event| event.phase == "compensating")?;
        let swap = |step: &mut String| {
            *step = match step.as_str() {
                "a:compensate" => "b:compensate".to_owned(),
                "b:compensate" => "a:compensate".to_owned(),
                other => other.to_owned(),
            };
        };
        change(evidence, &run, |run| run.events.iter_mut().for_each(|event| swap(&mut event.step)));
        evidence.ledger.iter_mut().filter(|line| line.run_uid == run).for_each(|line| swap(&mut line.step));
        Some(&["I7"])
    }),
    ("a compensation is left out", |evidence, chance| {
        let (run, _) = pick_event(evidence, chance, |event| event.phase == "compensating")?;
        change(evidence, &run, |run| {
            for position in 0..run.events.len() {
                if run.events[position].step == "a:compensate" {
                    remark(run, position);
                }
            }
        });
        evidence.ledger.retain(|line| line.run_uid != run || line.step != "a:compensate");
        Some(&["I7"])
    }),
    ("a step begins before the end of what it needs", |evidence, chance| {
        let lines = || evidence.ledger.iter().filter(|line| line.step == "b" && line.outcome == "succeeded");
        let pairs = lines().filter(|end| evidence.ledger.iter().any(|line| line.step == "c" && line.run_uid == end.run_uid));
        let (run, until) = chance.pick(pairs.map(|end| (end.run_uid.clone(), end.mono_us)).collect())?;
        let begin = evidence.ledger.iter_mut().find(|line| line.run_uid == run && line.step == "c")?;
        begin.mono_us = until - 1;
        // Granted as early, or the time of the grant would be wrong, as well.
        change(evidence, &run, |run| {
            let ended = run.events.iter().find(|event| event.step == "b" && event.r#type() == EventType::AttemptEnded).unwrap().time;
            let granted = |event: &&mut quorus_proto::v1::HistoryEvent| event.step == "c" && event.r#type() == EventType::StepLeased;
            run.events.iter_mut().filter(granted).for_each(|event| event.time = ended);
        });
        Some(&["I8"])
    }),
    ("a wait ends early", |evidence, chance| {
        let (run, position) = pick_event(evidence, chance, |event| event.r#type() == EventType::StepWaiting)?;
        change(evidence, &run, |run| {
            let due = run.events[position].due_at;
            let end = run.events.iter_mut().find(|event| event.step == "wait" && event.r#type() == EventType::StepEnded).unwrap();
            end.time = due.map(|due| prost_types::Timestamp { seconds: due.seconds - 1, ..due });
        });
        Some(&["I9"])
    }),
    ("a read goes back", |evidence, chance| {
        let (first, second) = {
            let reads = operations(evidence, |call| matches!(call, Call::Get { .. }));
            let pair = |later: &&Operation| {
                let uid = &later.answer()?.run_uid;
                let earlier =
                    reads.iter().find(|earlier| earlier.id < later.id && earlier.answer().is_some_and(|answer| answer.run_uid == *uid))?;
                Some((earlier.id, later.id))
            };
            chance.pick(reads.iter().filter_map(pair).collect())?
        };
        let before = evidence.operations.iter().find(|operation| operation.id == first)?.answer()?.clone();
        let start = Answer { sequence: 1, status: "RUN_STATUS_RUNNING".to_owned(), ..before };
        *answer(evidence.operations.iter_mut().find(|operation| operation.id == second)?)? = start;
        Some(&["I10"])
    }),
    ("a signal is lost", |evidence, chance| {
        let (run, position) = pick_event(evidence, chance, |event| event.r#type() == EventType::SignalReceived)?;
        change(evidence, &run, |run| remark(run, position));
        Some(&["I11"])
    }),
    ("a late outcome is accepted", |evidence, chance| {
        let template = chance.pick(operations(evidence, |call| matches!(call, Call::Start { .. })))?.clone();
        let run_uid = template.answer()?.run_uid.clone();
        let call = Call::Complete { run_uid, step: "a".to_owned(), attempt: 1, token: 99, repeated: false, late: true };
        let ending = Some(Ending::Ok(Answer { accepted: Some(true), ..Answer::default() }));
        evidence.operations.push(Operation { id: 999, call, ending, ..template });
        Some(&["I12"])
    }),
    ("a replica has another digest", |evidence, chance| {
        let at = chance.below(3);
        evidence.replicas[at].digest = "other".to_owned();
        Some(&["I13"])
    }),
    ("a token is used again", |evidence, chance| {
        let ends = evidence.ledger.iter().filter(|line| line.step == "b" && line.outcome == "succeeded");
        let run = chance.pick(ends.map(|line| line.run_uid.clone()).collect())?;
        let used = evidence.ledger.iter().find(|line| line.run_uid == run && line.step == "a")?.token;
        evidence.ledger.iter_mut().filter(|line| line.run_uid == run && line.step == "b").for_each(|line| line.token = used);
        // It was never granted for this step, and what is recorded has no line any more.
        Some(&["I2", "I3", "I16"])
    }),
];

fn operations(evidence: &Evidence, which: fn(&Call) -> bool) -> Vec<&Operation> {
    evidence.operations.iter().filter(|operation| which(&operation.call)).collect()
}

fn answer(operation: &mut Operation) -> Option<&mut Answer> {
    match &mut operation.ending {
        Some(Ending::Ok(answer)) => Some(answer),
        _ => None,
    }
}

/// The uid of a run with such an event, and where in its history that is.
fn pick_event(
    evidence: &Evidence,
    chance: &mut Chance,
    which: impl Fn(&quorus_proto::v1::HistoryEvent) -> bool,
) -> Option<(String, usize)> {
    let of_run = |run: &RecordedRun| {
        let found = run.events.iter().enumerate().filter(|(_, event)| which(event));
        found.map(|(position, _)| (run.run_uid.clone(), position)).collect::<Vec<_>>()
    };
    chance.pick(evidence.replicas[0].runs.iter().flat_map(of_run).collect())
}

/// Changes a run in all replicas alike.
fn change(evidence: &mut Evidence, uid: &str, change: impl Fn(&mut RecordedRun)) {
    evidence.replicas.iter_mut().flat_map(|replica| &mut replica.runs).filter(|run| run.run_uid == uid).for_each(change);
}

/// Puts a remark in the place of an event.
fn remark(run: &mut RecordedRun, position: usize) {
    let event = &mut run.events[position];
    *event = quorus_proto::v1::HistoryEvent {
        sequence: event.sequence,
        time: event.time,
        r#type: EventType::RunAnnotated.into(),
        ..quorus_proto::v1::HistoryEvent::default()
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_legal_evidence_is_valid(seed in any::<u64>()) {
        let results = judge(&legal(seed));
        let wrong: Vec<_> = results.invariants.iter().filter(|result| result.verdict == Verdict::Violated || result.verdict == Verdict::Unknown).collect();
        prop_assert!(results.verdict == Verdict::Valid, "{:#?}", wrong);
    }

    #[test]
    fn a_change_is_found_by_exactly_the_invariants_that_it_breaks(seed in any::<u64>(), change in 0..MUTATIONS.len()) {
        let (name, mutation) = MUTATIONS[change];
        let mut evidence = legal(seed);
        if let Some(expected) = mutation(&mut evidence, &mut Chance(seed ^ 1)) {
            let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
            prop_assert_eq!(violated(&evidence), expected, "{}", name);
        }
    }
}

#[test]
fn every_change_is_tried() {
    for (name, mutation) in MUTATIONS {
        let tried = (0..100).filter(|seed| mutation(&mut legal(*seed), &mut Chance(*seed)).is_some()).count();
        assert!(tried >= 10, "{name}: {tried} of 100");
    }
}
