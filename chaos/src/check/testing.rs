//! Makes evidence tersely: a cluster that does everything right, of which tests then change a little.
//!
//! One shard with three replicas, one worker, one client; time passes by a few milliseconds with each fact.

use std::collections::BTreeSet;

use quorus_client::{LedgerEntry, LedgerEvent, content_digest};
use quorus_proto::v1::{EventType, Failure, HistoryEvent, Payload, Principal, RunStatus, StepStatus};

use super::{judge, standing, verdict::InvariantResult, verdict::Verdict};
use crate::record::{Answer, Call, Ending, Evidence, Fault, FaultPhase, Operation, RecordedRun, Replica, Shape};

const WALL_AT_ZERO_MS: i64 = 1_700_000_000_000;

/// An event in the making.
pub(super) struct Told {
    event: HistoryEvent,
    due_in: Option<u64>,
}

/// Begins an event.
pub(super) fn event(kind: EventType) -> Told {
    Told { event: HistoryEvent { r#type: kind.into(), ..HistoryEvent::default() }, due_in: None }
}

impl From<HistoryEvent> for Told {
    fn from(event: HistoryEvent) -> Self {
        Self { event, due_in: None }
    }
}

impl Told {
    fn set(mut self, set: impl FnOnce(&mut HistoryEvent)) -> Self {
        set(&mut self.event);
        self
    }

    pub(super) fn step(self, step: &str) -> Self {
        self.set(|event| event.step = step.to_owned())
    }

    pub(super) fn attempt(self, attempt: u32) -> Self {
        self.set(|event| event.attempt = attempt)
    }

    pub(super) fn outcome(self, outcome: &str) -> Self {
        self.set(|event| event.outcome = outcome.to_owned())
    }

    pub(super) fn phase(self, phase: &str) -> Self {
        self.set(|event| event.phase = phase.to_owned())
    }

    pub(super) fn signal(self, signal: &str) -> Self {
        self.set(|event| event.signal = signal.to_owned())
    }

    /// Of a concurrency slot.
    pub(super) fn key(self, key: &str) -> Self {
        self.set(|event| event.key = key.to_owned())
    }

    pub(super) fn step_status(self, status: StepStatus) -> Self {
        self.set(|event| event.step_status = status.into())
    }

    pub(super) fn run_status(self, status: RunStatus) -> Self {
        self.set(|event| event.run_status = status.into())
    }

    pub(super) fn failure(self, kind: &str) -> Self {
        self.set(|event| event.failure = Some(Failure { r#type: kind.to_owned(), ..Failure::default() }))
    }

    /// Milliseconds after the event.
    pub(super) fn due_in(self, ms: u64) -> Self {
        Self { due_in: Some(ms), ..self }
    }
}

fn payload(text: &str) -> Payload {
    Payload { data: text.to_owned().into(), encoding: String::new() }
}

fn timestamp(ms: u64) -> prost_types::Timestamp {
    let wall = WALL_AT_ZERO_MS + i64::try_from(ms).unwrap();
    prost_types::Timestamp { seconds: wall / 1000, nanos: i32::try_from(wall % 1000 * 1_000_000).unwrap() }
}

/// A cluster that does everything right.
#[derive(Clone)]
pub(super) struct Scene {
    evidence: Evidence,
    now_ms: u64,
    runs: Vec<RecordedRun>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let mut evidence = Evidence::default();
        evidence.setup.title = "a scene".to_owned();
        evidence.setup.seed = 7;
        evidence.setup.commit = "0123456789ab".to_owned();
        evidence.setup.lease_ms = 30_000;
        evidence.setup.clock_bound_ms = 500;
        evidence.setup.wall_at_zero_ms = WALL_AT_ZERO_MS;
        Self { evidence, now_ms: 1_000, runs: Vec::new() }
    }

    /// Everything, with three equal replicas.
    pub(super) fn evidence(mut self) -> Evidence {
        self.settle();
        self.evidence
    }

    fn settle(&mut self) {
        let setup = &mut self.evidence.setup;
        if setup.exported_us == 0 {
            (setup.healed_us, setup.exported_us) = (self.now_ms * 1000, self.now_ms * 1000);
        }
        let index = self.runs.iter().map(|run| run.events.len() as u64).sum::<u64>() + 10;
        for run in &mut self.runs {
            run.status = standing::statuses(&run.events).last().copied().unwrap_or_default().as_str_name().to_owned();
        }
        let replica = |node| Replica { node, shard: 1, term: 2, index, digest: "digest".to_owned(), runs: self.runs.clone() };
        self.evidence.replicas = (1..=3).map(replica).collect();
    }

    /// All faults are over, and a long time passes until the export.
    pub(super) fn heal(&mut self) {
        self.pass(5_000);
        self.evidence.setup.healed_us = self.now_ms * 1000;
        self.pass(200_000);
        self.evidence.setup.exported_us = self.now_ms * 1000;
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// A wall time.
    pub(super) fn wall(&self, in_ms: u64) -> prost_types::Timestamp {
        timestamp(self.now_ms + in_ms)
    }

    pub(super) fn shape(&mut self, shape: Shape) {
        self.evidence.shapes.insert(shape.workflow.clone(), shape);
    }

    fn call(&mut self, call: Call, ending: Ending) {
        let id = self.evidence.operations.len() as u64 + 1;
        let (invoked_us, ended_us) = (self.now_ms * 1000 - 1_000, Some(self.now_ms * 1000 + 1_000));
        self.evidence.operations.push(Operation { id, client: "client-1".to_owned(), call, invoked_us, ended_us, ending: Some(ending) });
        self.pass(5);
    }

    fn run(&mut self, uid: &str) -> &mut RecordedRun {
        self.runs.iter_mut().find(|run| run.run_uid == uid).unwrap()
    }

    fn run_id(&mut self, uid: &str) -> String {
        self.run(uid).run_id.clone()
    }

    fn begin(&mut self, run_id: &str, workflow: &str, parent_uid: &str) -> String {
        let uid = format!("uid-{}", self.runs.len() + 1);
        self.runs.push(RecordedRun {
            namespace: "default".to_owned(),
            run_id: run_id.replace("UID", &uid),
            run_uid: uid.clone(),
            workflow: workflow.to_owned(),
            parent_uid: parent_uid.to_owned(),
            ..RecordedRun::default()
        });
        let started = event(EventType::RunStarted).run_status(RunStatus::Running).set(|event| event.payload = Some(payload("{\"n\":1}")));
        self.push(&uid, started);
        uid
    }

    /// A start that is acknowledged; returns the run's uid.
    pub(super) fn start(&mut self, run_id: &str, workflow: &str) -> String {
        let uid = self.begin(run_id, workflow, "");
        let answer = Answer {
            run_uid: uid.clone(),
            status: RunStatus::Running.as_str_name().to_owned(),
            sequence: 1,
            shard: 1,
            ..Answer::default()
        };
        self.call(self.start_of(run_id, workflow), Ending::Ok(answer));
        uid
    }

    fn start_of(&self, run_id: &str, workflow: &str) -> Call {
        Call::Start {
            run_id: run_id.to_owned(),
            request_id: format!("request-{}", self.evidence.operations.len() + 1),
            workflow: workflow.to_owned(),
            input_sha256: content_digest(Some(&payload("{\"n\":1}"))),
            retried: false,
        }
    }

    /// A start that is refused.
    pub(super) fn refused(&mut self, run_id: &str, reason: &str) {
        self.call(self.start_of(run_id, "w"), Ending::Fail { reason: reason.to_owned() });
    }

    /// An event, a few milliseconds after the last fact.
    pub(super) fn push(&mut self, uid: &str, told: impl Into<Told>) {
        let Told { mut event, due_in } = told.into();
        let now = self.now_ms;
        let run = self.run(uid);
        event.sequence = run.events.len() as u64 + 1;
        event.time = Some(timestamp(now));
        if let Some(due_in) = due_in {
            event.due_at = Some(timestamp(now + due_in));
        }
        if event.r#type() == EventType::StepLeased {
            event.token = event.sequence;
        }
        run.events.push(event);
        // What waits for a time may be due exactly then.
        if due_in.is_none() {
            self.pass(1);
        }
    }

    fn line(&mut self, uid: &str, event: LedgerEvent, step: &str, outcome: &str) {
        let run = self.run(uid);
        let leased = run.events.iter().rfind(|event| event.r#type() == EventType::StepLeased && event.step == step).unwrap().clone();
        let entry = LedgerEntry {
            event,
            namespace: run.namespace.clone(),
            run_id: run.run_id.clone(),
            run_uid: uid.to_owned(),
            step: step.to_owned(),
            attempt: leased.attempt,
            token: leased.token,
            worker: format!("{}/incarnation", leased.worker),
            time_ms: 0,
            mono_us: self.now_ms * 1000,
            input_sha256: if event == LedgerEvent::Begin { content_digest(Some(&payload("\"in\""))) } else { String::new() },
            output_sha256: if outcome == "succeeded" { content_digest(Some(&payload("\"out\""))) } else { String::new() },
            outcome: outcome.to_owned(),
        };
        self.evidence.ledger.push(entry);
        self.pass(2);
    }

    /// A worker gets a lease, and begins.
    pub(super) fn lease(&mut self, uid: &str, step: &str) {
        let granted = self.run(uid).events.iter().filter(|event| event.r#type() == EventType::StepLeased && event.step == step).count();
        let attempt = u32::try_from(granted).unwrap() + 1;
        let told = event(EventType::StepLeased).step(step).attempt(attempt).set(|event| {
            event.worker = "worker-1".to_owned();
            // Only the first event of a generation carries the input.
            event.payload = (attempt == 1).then(|| payload("\"in\""));
        });
        self.push(uid, told);
        self.line(uid, LedgerEvent::Begin, step, "");
    }

    fn attempt_of(&mut self, uid: &str, step: &str) -> u32 {
        self.run(uid).events.iter().rfind(|event| event.r#type() == EventType::StepLeased && event.step == step).unwrap().attempt
    }

    /// The attempt that was leased last succeeds, and with it the step.
    pub(super) fn finish(&mut self, uid: &str, step: &str) {
        self.line(uid, LedgerEvent::End, step, "succeeded");
        let attempt = self.attempt_of(uid, step);
        let with_output = |told: Told| told.set(|event| event.payload = Some(payload("\"out\"")));
        self.push(uid, with_output(event(EventType::AttemptEnded).step(step).attempt(attempt).outcome("succeeded")));
        self.push(uid, with_output(event(EventType::StepEnded).step(step).step_status(StepStatus::Succeeded)));
    }

    /// A step that works at once, or after what came before.
    pub(super) fn task(&mut self, uid: &str, step: &str) {
        self.lease(uid, step);
        self.finish(uid, step);
    }

    /// An attempt that fails, and the pause after it.
    pub(super) fn fail_attempt(&mut self, uid: &str, step: &str, pause_ms: u64) {
        self.lease(uid, step);
        self.line(uid, LedgerEvent::End, step, "failed");
        let attempt = self.attempt_of(uid, step);
        self.push(uid, event(EventType::AttemptEnded).step(step).attempt(attempt).outcome("failed").failure("Broken").due_in(pause_ms));
        self.pass(pause_ms);
    }

    /// A step that fails for good.
    pub(super) fn fail(&mut self, uid: &str, step: &str, nothing_done: bool) {
        self.lease(uid, step);
        self.line(uid, LedgerEvent::End, step, "failed");
        let attempt = self.attempt_of(uid, step);
        let because = |told: Told| told.failure("Broken").set(|event| event.failure.as_mut().unwrap().nothing_done = nothing_done);
        self.push(uid, because(event(EventType::AttemptEnded).step(step).attempt(attempt).outcome("failed")));
        self.push(uid, because(event(EventType::StepEnded).step(step).step_status(StepStatus::Failed)));
    }

    /// A worker gets a lease and begins, and is given up.
    pub(super) fn abandon(&mut self, uid: &str, step: &str, after_ms: u64) {
        self.lease(uid, step);
        self.pass(after_ms);
        let attempt = self.attempt_of(uid, step);
        self.push(uid, event(EventType::AttemptEnded).step(step).attempt(attempt).outcome("abandoned"));
    }

    pub(super) fn end(&mut self, uid: &str, status: RunStatus) {
        self.push(uid, event(EventType::RunEnded).run_status(status));
    }

    pub(super) fn succeed(&mut self, uid: &str) {
        self.end(uid, RunStatus::Succeeded);
    }

    pub(super) fn signal(&mut self, uid: &str, signal: &str, id: &str) {
        self.push(uid, event(EventType::SignalReceived).signal(signal).set(|event| event.signal_id = id.to_owned()));
        let (run_id, signal, signal_id) = (self.run_id(uid), signal.to_owned(), id.to_owned());
        self.call(Call::Signal { run_id, signal, signal_id }, Ending::Ok(Answer::default()));
    }

    pub(super) fn approve(&mut self, uid: &str, step: &str, subject: &str) {
        let principal = Principal { subject: subject.to_owned(), ..Principal::default() };
        self.push(uid, event(EventType::ApprovalRecorded).step(step).outcome("approved").set(|event| event.principal = Some(principal)));
        let (run_id, step, subject) = (self.run_id(uid), step.to_owned(), subject.to_owned());
        self.call(Call::Approve { run_id, step, subject, approve: true }, Ending::Ok(Answer::default()));
    }

    pub(super) fn cancel(&mut self, uid: &str) {
        self.push(uid, event(EventType::RunCancelRequested).run_status(RunStatus::Cancelling));
        // Without a status: whether that is true is another invariant's.
        let answer = Answer { status: String::new(), ..self.answer(uid) };
        let run_id = self.run_id(uid);
        self.call(Call::Cancel { run_id }, Ending::Ok(answer));
    }

    pub(super) fn terminate(&mut self, uid: &str) {
        self.push(
            uid,
            event(EventType::RunEnded).run_status(RunStatus::Terminated).set(|event| event.principal = Some(Principal::default())),
        );
        let run_id = self.run_id(uid);
        self.call(Call::Terminate { run_id }, Ending::Ok(Answer::default()));
    }

    /// A read that tells the truth.
    pub(super) fn get(&mut self, uid: &str, stale: bool) {
        let answer = self.answer(uid);
        let run_id = self.run_id(uid);
        self.call(Call::Get { run_id, stale }, Ending::Ok(answer));
    }

    /// The run as it is.
    fn answer(&mut self, uid: &str) -> Answer {
        let run = self.run(uid);
        let status = standing::statuses(&run.events).last().unwrap().as_str_name().to_owned();
        Answer { run_uid: uid.to_owned(), status, sequence: run.events.len() as u64, shard: 1, ..Answer::default() }
    }

    /// A completion that comes late, or again.
    pub(super) fn complete(&mut self, uid: &str, step: &str, attempt: u32, repeated: bool, accepted: bool) {
        let is_it = |event: &&HistoryEvent| event.r#type() == EventType::StepLeased && event.step == step && event.attempt == attempt;
        let token = self.run(uid).events.iter().find(is_it).map_or(999, |event| event.token);
        let (run_uid, step) = (uid.to_owned(), step.to_owned());
        let answer = Answer { accepted: Some(accepted), ..Answer::default() };
        self.call(Call::Complete { run_uid, step, attempt, token, repeated, late: !repeated }, Ending::Ok(answer));
    }

    /// A step starts a child; returns the child's uid.
    pub(super) fn child(&mut self, parent: &str, step: &str) -> String {
        let uid = format!("uid-{}", self.runs.len() + 1);
        self.push(parent, event(EventType::ChildRequested).step(step).attempt(1).set(|event| event.child_run_uid.clone_from(&uid)));
        let child = self.begin("child-UID", "w", parent);
        self.push(parent, event(EventType::ChildStarted).step(step));
        child
    }

    pub(super) fn child_ended(&mut self, parent: &str, step: &str, _child: &str) {
        self.push(parent, event(EventType::ChildEnded).step(step).run_status(RunStatus::Succeeded));
        self.push(parent, event(EventType::StepEnded).step(step).step_status(StepStatus::Succeeded));
    }

    /// A fault from now on.
    pub(super) fn fault(&mut self, kind: &str, target: &str, lasts_ms: u64) {
        self.fault_on(kind, target, lasts_ms, Vec::new());
    }

    /// A fault on the leader of the shard.
    pub(super) fn leader_fault(&mut self, kind: &str, target: &str, lasts_ms: u64) {
        self.fault_on(kind, target, lasts_ms, vec![1]);
    }

    fn fault_on(&mut self, kind: &str, target: &str, lasts_ms: u64, led_shards: Vec<u32>) {
        let id = self.evidence.faults.len() as u64 + 1;
        for (phase, at_ms) in [(FaultPhase::Installed, self.now_ms), (FaultPhase::Healed, self.now_ms + lasts_ms)] {
            self.evidence.faults.push(Fault {
                id,
                kind: kind.to_owned(),
                targets: vec![target.to_owned()],
                phase,
                at_us: at_ms * 1000,
                led_shards: led_shards.clone(),
                note: String::new(),
            });
        }
        self.pass(1);
    }

    /// The last event of a run, to be changed.
    pub(super) fn last_event(&mut self, uid: &str) -> &mut HistoryEvent {
        self.run(uid).events.last_mut().unwrap()
    }

    pub(super) fn nth_event(&mut self, uid: &str, position: usize) -> &HistoryEvent {
        &self.run(uid).events[position]
    }
}

/// Ids of the invariants that are violated.
pub(super) fn violated(evidence: &Evidence) -> BTreeSet<String> {
    let results = judge(evidence);
    results.invariants.into_iter().filter(|result| result.verdict == Verdict::Violated).map(|result| result.id).collect()
}

/// Asserts that exactly these are violated.
#[track_caller]
pub(super) fn assert_only(evidence: &Evidence, ids: &[&str]) {
    let results = judge(evidence);
    let wrong: Vec<_> = results.invariants.iter().filter(|result| result.verdict == Verdict::Violated).collect();
    let found: BTreeSet<&str> = wrong.iter().map(|result| result.id.as_str()).collect();
    assert_eq!(found, ids.iter().copied().collect(), "{:#?}", wrong.iter().flat_map(|result| &result.violations).collect::<Vec<_>>());
    for result in wrong {
        assert!(result.checked >= result.violated.min(1) && !result.violations.is_empty(), "{result:?}");
    }
}

/// How one invariant stands.
pub(super) fn result(evidence: &Evidence, id: &str) -> InvariantResult {
    judge(evidence).invariants.into_iter().find(|result| result.id == id).unwrap()
}

/// Changes events in all replicas alike.
pub(super) fn each_event(evidence: &mut Evidence, mut change: impl FnMut(&mut HistoryEvent)) {
    evidence.replicas.iter_mut().flat_map(|replica| &mut replica.runs).flat_map(|run| &mut run.events).for_each(&mut change);
}

/// The first event of a kind happens again at the end, in all replicas alike.
pub(super) fn duplicate_event(evidence: &mut Evidence, kind: EventType) {
    for run in evidence.replicas.iter_mut().flat_map(|replica| &mut replica.runs) {
        let Some(mut again) = run.events.iter().find(|event| event.r#type() == kind).cloned() else { continue };
        let last = run.events.last().unwrap();
        (again.sequence, again.time) = (last.sequence + 1, last.time);
        run.events.push(again);
    }
}

/// In all replicas alike a remark is in the place of these events.
pub(super) fn remove_event(evidence: &mut Evidence, mut which: impl FnMut(&HistoryEvent) -> bool) {
    each_event(evidence, |event| {
        if which(event) {
            let kind = EventType::RunAnnotated.into();
            *event = HistoryEvent { sequence: event.sequence, time: event.time, r#type: kind, ..HistoryEvent::default() };
        }
    });
}
