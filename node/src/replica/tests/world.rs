//! A leader in small: decides random commands with the engine, and keeps the records that it would propose, with the answers that it expects.

mod language;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use quorus_engine::{
    AttemptRef, Command, Context, Credits, Definition, Failure, Kind, Millis, Outcome, Payload, Plan, Principal, RetryDefinition, Run,
    RunInfo, RunUid, StepDefinition, StepId, StepStatus, TaskDefinition, Timestamp, Wait, WorkerId, decide, plan,
};
use quorus_proto::log;
use quorus_raft::Entry;
use serde_json::json;

use super::shard::entry;
use crate::{
    codec::encode_event,
    replica::{BatchAnswer, RecordAnswer},
};

pub(super) const NAMESPACE: &str = "ns";

/// A choice of the property test; what it means depends on where the world stands.
#[derive(Clone, Debug)]
pub(super) struct Op {
    kind: u8,
    pick: u16,
    variant: u8,
    millis: i64,
}

pub(super) fn ops(count: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = (0u8..67, any::<u16>(), any::<u8>(), 0i64..4_000);
    proptest::collection::vec(op.prop_map(|(kind, pick, variant, millis)| Op { kind, pick, variant, millis }), 1..count)
}

pub(super) struct World {
    now: Timestamp,
    term: u64,
    plans: Vec<Arc<Plan>>,
    pub(super) runs: BTreeMap<RunUid, Run>,
    /// Newest run by run id.
    pub(super) ids: BTreeMap<String, RunUid>,
    /// Runs that were removed.
    pub(super) purged: Vec<RunUid>,
    pending: log::Record,
    pending_answers: Vec<BatchAnswer>,
    sent: Vec<log::RunBatch>,
    pub(super) entries: Vec<Entry>,
    pub(super) answers: Vec<RecordAnswer>,
}

/// Has room now and then.
struct SomeCredits(u8);

impl Credits for SomeCredits {
    fn take(&mut self, _queue: &str) -> Option<WorkerId> {
        self.0 = self.0.rotate_left(1);
        (self.0 & 1 == 1).then(worker)
    }
}

impl World {
    /// What a sequence of choices leads to.
    pub(super) fn of(ops: &[Op]) -> Self {
        let mut world = Self {
            now: Timestamp(1_700_000_000_000),
            term: 0,
            plans: definitions().iter().map(|definition| Arc::new(plan(definition).unwrap())).chain(language::plans()).collect(),
            runs: BTreeMap::new(),
            ids: BTreeMap::new(),
            purged: Vec::new(),
            pending: log::Record::default(),
            pending_answers: Vec::new(),
            sent: Vec::new(),
            entries: Vec::new(),
            answers: Vec::new(),
        };
        world.open_epoch();
        for op in ops {
            world.choose(op);
            if op.variant.is_multiple_of(3) {
                world.flush();
            }
        }
        world.flush();
        world
    }

    fn choose(&mut self, op: &Op) {
        self.now = Timestamp(self.now.0 + op.millis);
        match op.kind {
            0..=3 => self.start(op),
            4..=6 => self.on_step(op, StepStatus::Queued, |step, _, _| Command::Lease { step, worker: worker() }),
            7..=11 => self.on_step(op, StepStatus::Leased, |_, attempt, variant| Command::Complete { attempt, outcome: outcome(variant) }),
            12 => self.on_step(op, StepStatus::Leased, |_, attempt, _| Command::Checkpoint { attempt, checkpoint: payload(3) }),
            13 => self.on_step(op, StepStatus::Leased, |_, attempt, _| Command::Abandon { attempt, reason: "lost".into() }),
            14 => self.on_step(op, StepStatus::Leased, |_, attempt, _| Command::AttemptTimeout { attempt }),
            15..=18 => self.fire_timer(op),
            19 => self.on_run(
                op,
                Command::Cancel { principal: Principal::default(), reason: "enough".into(), compensate: !op.variant.is_multiple_of(3) },
            ),
            20 if op.variant.is_multiple_of(2) => {
                self.on_run(op, Command::Terminate { principal: Principal::default(), reason: "now".into() })
            }
            21 => self.resend(op),
            22 => {
                self.flush();
                self.open_epoch();
            }
            23 if op.variant.is_multiple_of(4) => self.now = Timestamp(self.now.0 + 8 * 24 * 3600 * 1000),
            64.. => self.purge(op),
            _ => self.live(op),
        }
    }

    fn start(&mut self, op: &Op) {
        let run_id = format!("run-{}", op.pick % 4);
        let held_by = self.ids.get(&run_id).copied();
        if held_by.is_some_and(|uid| !self.runs[&uid].head().status.is_final()) {
            return;
        }
        // The wide one seldom, since it costs as much as all others together.
        let kind = if op.variant == 255 { 3 } else { [0, 1, 2, 4, 5, 6][usize::from(op.variant) % 6] };
        let plan = self.plans[kind].clone();
        // Spread, so that the order of uids is not the order of starts.
        let uid = RunUid(
            ((self.runs.len() + self.purged.len()) as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_0c83_u128) & (u128::MAX >> 8),
        );
        let info = RunInfo {
            namespace: NAMESPACE.into(),
            run_id: run_id.clone(),
            uid,
            workflow: format!("workflow-{kind}"),
            version: 1,
            digest: [kind as u8; 32],
            input: if op.variant.is_multiple_of(2) { payload(op.variant.into()) } else { Payload::default() },
            request_id: if op.pick.is_multiple_of(3) { String::new() } else { format!("req-{}", op.pick % 5) },
            steps_total: plan.steps.len() as u32,
            deadline: Some(self.now.plus(Millis(60_000))),
            ..RunInfo::default()
        };
        let info = language::with_language(info, op);
        self.pending.definitions.push(log::StoredDefinition {
            digest: Bytes::copy_from_slice(&info.digest),
            workflow: Bytes::copy_from_slice(format!("definition {kind}").as_bytes()),
        });
        self.runs.insert(uid, Run::new(info.clone(), plan));
        self.ids.insert(run_id, uid);
        self.command(uid, Command::Start(Box::new(info)), op, held_by);
    }

    fn on_step(&mut self, op: &Op, status: StepStatus, command: impl Fn(StepId, AttemptRef, u8) -> Command) {
        let steps: Vec<(RunUid, StepId, AttemptRef)> = self
            .runs
            .iter()
            .flat_map(|(uid, run)| run.steps().iter().map(move |(id, state)| (uid, id, state)))
            .filter(|(_, _, state)| state.status == status)
            .map(|(uid, id, state)| {
                let token = state.lease.as_ref().map(|lease| lease.token).unwrap_or_default();
                (*uid, id.clone(), AttemptRef { step: id.clone(), attempt: state.attempt, token })
            })
            .collect();
        if let Some((uid, step, attempt)) = pick(steps, op) {
            self.command(uid, command(step, attempt, op.variant), op, None);
        }
    }

    fn on_run(&mut self, op: &Op, command: Command) {
        let runs: Vec<_> = self.runs.iter().filter(|(_, run)| !run.head().status.is_final()).map(|(uid, _)| *uid).collect();
        if let Some(uid) = pick(runs, op) {
            self.command(uid, command, op, None);
        }
    }

    fn fire_timer(&mut self, op: &Op) {
        let mut timers = Vec::new();
        for (uid, run) in &self.runs {
            timers.extend(run.head().timers().map(|(kind, due)| (due, *uid, kind, None)));
            for (id, state) in run.steps() {
                timers.extend(state.timers().map(|(kind, due)| (due, *uid, kind, Some(id.clone()))));
            }
        }
        timers.sort();
        timers.truncate(3);
        if let Some((due, uid, kind, step)) = pick(timers, op) {
            self.now = self.now.max(due);
            self.command(uid, Command::FireTimer { step, kind, due }, op, None);
        }
    }

    /// Decides, and puts the decision into the record that is being made.
    fn command(&mut self, uid: RunUid, command: Command, op: &Op, replaces: Option<RunUid>) {
        let Some(run) = self.runs.get_mut(&uid) else { return };
        let expected_seq = run.head().seq;
        let mut context = Context {
            now: self.now,
            seed: op.pick.into(),
            lease: Millis(30_000),
            cancel_grace: Millis(10_000),
            allow_unverified: true,
            parks: false,
            credits: &mut SomeCredits(op.variant),
        };
        let Ok(decision) = decide(run, &command, &mut context) else { return };
        if decision.events.is_empty() {
            return;
        }
        quorus_engine::apply(run, &decision.events);
        let batch = log::RunBatch {
            namespace: run.info().namespace.clone(),
            run_id: run.info().run_id.clone(),
            run_uid: Bytes::copy_from_slice(&uid.to_bytes()),
            expected_seq,
            events: decision.events.iter().map(encode_event).collect(),
            replaces_uid: replaces.map(|uid| Bytes::copy_from_slice(&uid.to_bytes())).unwrap_or_default(),
            request_ids: if op.kind >= 24 && op.pick.is_multiple_of(2) { vec![format!("change-{}", op.pick % 7)] } else { Vec::new() },
        };
        self.sent.push(batch.clone());
        self.pending.batches.push(batch);
        self.pending_answers.push(BatchAnswer::Applied);
        self.replan(uid, op, &decision.events);
    }

    /// Removes a run, if it has ended and owes nothing; now and then by somebody who saw it earlier.
    fn purge(&mut self, op: &Op) {
        self.flush();
        let Some(uid) = pick(self.runs.keys().copied().collect(), op) else { return };
        let run = &self.runs[&uid];
        let head = run.head();
        let owes = head.owes().next().is_some() || run.steps().values().any(|step| step.owes().is_some());
        let late = op.variant.is_multiple_of(7);
        let expected_seq = if late { head.seq - 1 } else { head.seq };
        let purge = log::PurgeRun { run_uid: Bytes::copy_from_slice(&uid.to_bytes()), expected_seq };
        let gone = head.status.is_final() && !late && !owes;
        let answer = if gone { BatchAnswer::Applied } else { BatchAnswer::StaleSequence };
        // Twice in a record: the second finds nothing.
        let purges = vec![purge.clone(), purge];
        self.push(
            &log::Record { term: self.term, purges, ..log::Record::default() },
            RecordAnswer::Batches(vec![answer, BatchAnswer::StaleSequence]),
        );
        if gone {
            self.runs.remove(&uid);
            self.ids.retain(|_, holder| *holder != uid);
            self.sent.retain(|batch| batch.run_uid.as_ref() != uid.to_bytes());
            self.purged.push(uid);
        }
    }

    /// A batch that was applied already, as a confused leader might send it again.
    fn resend(&mut self, op: &Op) {
        let Some(batch) = pick(self.sent.clone(), op) else { return };
        // The id of a start can be free again, if the run that had it after this one was removed.
        let taken = batch.expected_seq == 0 && (self.ids.contains_key(&batch.run_id) || !batch.replaces_uid.is_empty());
        self.pending_answers.push(if taken { BatchAnswer::IdTaken } else { BatchAnswer::StaleSequence });
        self.pending.batches.push(batch);
    }

    fn open_epoch(&mut self) {
        // A record of the old leader arrives late, with something that would be valid.
        let purges = vec![log::PurgeRun::default()];
        let late = log::Record { term: self.term, batches: vec![log::RunBatch::default()], purges, ..log::Record::default() };
        self.term += 2;
        let epoch = log::OpenEpoch { node_id: self.term % 3, boot_id: "boot".into(), time_ms: self.now.0 };
        self.push(
            &log::Record { term: self.term, open_epoch: Some(epoch), ..log::Record::default() },
            RecordAnswer::Epoch { opened: true },
        );
        self.push(&late, RecordAnswer::Batches(vec![BatchAnswer::StaleTerm; 2]));
    }

    fn flush(&mut self) {
        let record = log::Record { term: self.term, ..std::mem::take(&mut self.pending) };
        let answers = std::mem::take(&mut self.pending_answers);
        if !record.batches.is_empty() {
            self.push(&record, RecordAnswer::Batches(answers));
        }
    }

    fn push(&mut self, record: &log::Record, answer: RecordAnswer) {
        // Gaps, as membership changes leave them.
        let index = self.entries.len() as u64 * 2 + 1;
        self.entries.push(entry(index, record));
        self.answers.push(answer);
    }
}

pub(super) fn worker() -> WorkerId {
    WorkerId { name: "w".into(), incarnation: "i".into() }
}

fn pick<T>(mut candidates: Vec<T>, op: &Op) -> Option<T> {
    (!candidates.is_empty()).then(|| candidates.swap_remove(usize::from(op.pick) % candidates.len()))
}

/// Small or, now and then, larger than what a cache keeps.
fn payload(size: usize) -> Payload {
    let size = if size.is_multiple_of(7) { 5000 } else { size };
    Payload::json(&json!({ "data": "x".repeat(size) }))
}

fn outcome(variant: u8) -> Outcome {
    let failure = Failure { kind: "Broken".into(), message: "it broke".into(), details: Some(payload(9)), ..Failure::default() };
    match variant % 8 {
        4 if variant.is_multiple_of(3) => Outcome::Failed(Failure { nothing_done: true, non_retryable: true, ..failure }),
        0..=3 => Outcome::Succeeded(Some(payload(variant.into()))),
        4 | 5 => Outcome::Failed(failure),
        6 => Outcome::Released(Some(payload(5))),
        _ => Outcome::Failed(Failure { non_retryable: true, ..failure }),
    }
}

fn definitions() -> Vec<Definition> {
    let chain = vec![
        StepDefinition { with: Some(json!({ "n": 1 })), timeout: Some(Millis(40_000)), ..task("first", &[]) },
        wait("nap", &["first"]),
        StepDefinition { kind: Some(Kind::Set(json!({ "n": 2 }))), ..step("value", &["nap"]) },
        StepDefinition { condition: Some("false".into()), ..task("never", &["first"]) },
        task("last", &["value"]),
    ];
    let mut fan = vec![task("root", &[])];
    fan.extend((0..5).map(|n| StepDefinition { schedule_timeout: Some(Millis(20_000)), ..task(&format!("leaf{n}"), &["root"]) }));
    fan.push(task("join", &["leaf0", "leaf1", "leaf2", "leaf3", "leaf4"]));
    // More steps than a replica remembers of a run.
    let wide = (0..70).map(|n| task(&format!("wide{n}"), &[])).collect();
    let naps = vec![StepDefinition { timeout: Some(Millis(5_000)), ..wait("short", &[]) }, wait("long", &["short"])];
    [("chain", chain), ("fan", fan), ("naps", naps), ("wide", wide)].map(|(name, steps)| definition(name, steps)).into()
}

fn definition(name: &str, steps: Vec<StepDefinition>) -> Definition {
    Definition {
        namespace: NAMESPACE.into(),
        name: name.into(),
        timeout: Some(Millis(60_000)),
        output: Some(json!({ "done": true })),
        steps,
        ..Definition::default()
    }
}

fn step(id: &str, needs: &[&str]) -> StepDefinition {
    StepDefinition { id: id.into(), needs: needs.iter().map(|need| (*need).into()).collect(), ..StepDefinition::default() }
}

fn task(id: &str, needs: &[&str]) -> StepDefinition {
    StepDefinition {
        kind: Some(Kind::Task(TaskDefinition { task_type: "t".into(), queue: "q".into(), ..TaskDefinition::default() })),
        retry: Some(RetryDefinition { max_attempts: 2, initial_interval: Some(Millis(1_000)), ..RetryDefinition::default() }),
        ..step(id, needs)
    }
}

fn wait(id: &str, needs: &[&str]) -> StepDefinition {
    StepDefinition { kind: Some(Kind::Wait(Wait::For(Millis(8_000)))), ..step(id, needs) }
}
