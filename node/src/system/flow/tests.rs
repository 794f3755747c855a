//! Slots against a naive model, and what is kept of the rest.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use quorus_engine::{Millis, Principal, RunUid, Timestamp};
use quorus_raft::{
    Entry, StateMachine,
    disk::{Batch, Disk, Durability, MemoryDisk},
};

use super::*;
use crate::{
    codec::golden,
    limits::{BreakerSpec, LimitSpec, LimitTarget, OnExceeded, RateSpec},
    replica::state_digest,
    system::{SystemAnswer, SystemCommand, SystemReplica, SystemStore},
};

mod pauses;

/// A group 0 on one disk.
struct Group {
    disk: Arc<dyn Disk>,
    store: SystemStore,
    replica: SystemReplica,
    index: u64,
    time: Timestamp,
}

impl Group {
    fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let store = SystemStore::open(disk.clone()).unwrap();
        Self { disk, replica: SystemReplica::new(store.clone()), store, index: 0, time: Timestamp(1_000) }
    }

    fn apply_all(&mut self, commands: &[FlowCommand]) -> Vec<FlowAnswer> {
        let commands: Vec<_> = commands.iter().cloned().map(SystemCommand::Flow).collect();
        let answers = self.apply_records(&commands).into_iter().map(|answer| match answer {
            SystemAnswer::Flow(answer) => answer,
            other => panic!("{other:?}"),
        });
        answers.collect()
    }

    fn apply_records(&mut self, commands: &[SystemCommand]) -> Vec<SystemAnswer> {
        let entries: Vec<_> = commands
            .iter()
            .map(|command| {
                self.index += 1;
                self.time = self.time.plus(Millis(1));
                Entry { index: self.index, term: 1, record: command.encode(self.time) }
            })
            .collect();
        let mut batch = Batch::new();
        let answers = self.replica.apply(&entries, &mut batch).unwrap();
        self.disk.write(batch, Durability::Buffered).unwrap();
        self.replica.applied(self.index);
        answers.into_iter().map(|bytes| SystemAnswer::decode(bytes).unwrap()).collect()
    }

    fn apply(&mut self, command: FlowCommand) -> FlowAnswer {
        self.apply_all(&[command]).remove(0)
    }

    fn slot(&mut self, command: FlowCommand) -> SlotAnswer {
        match self.apply(command) {
            FlowAnswer::Slot(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn changed(&mut self, command: FlowCommand) -> bool {
        match self.apply(command) {
            FlowAnswer::Changed { changed, .. } => changed,
            other => panic!("{other:?}"),
        }
    }
}

fn key(name: &str) -> SlotKey {
    SlotKey { namespace: "default".into(), workflow: "deploy".into(), key: name.into() }
}

fn run(uid: u128, claim: u64) -> SlotRun {
    SlotRun { uid: RunUid(uid), run_id: format!("r{uid}"), shard: 1, claim, since: Timestamp(0) }
}

fn acquire(name: &str, limit: u32, uid: u128, claim: u64, on_conflict: SlotConflict) -> FlowCommand {
    FlowCommand::AcquireSlot { key: key(name), limit, run: run(uid, claim), on_conflict, begins: None }
}

/// The same, of a run that was started then and has not begun.
fn begin(name: &str, limit: u32, uid: u128, started: i64, on_conflict: SlotConflict) -> FlowCommand {
    FlowCommand::AcquireSlot { key: key(name), limit, run: run(uid, 0), on_conflict, begins: Some(Timestamp(started)) }
}

fn pause_workflow(workflow: &str, on: bool) -> FlowCommand {
    FlowCommand::SetWorkflowPaused {
        namespace: "default".into(),
        workflow: workflow.into(),
        on,
        principal: principal(),
        reason: "a bad build".into(),
    }
}

fn release(uid: u128, claim: u64) -> FlowCommand {
    FlowCommand::ReleaseSlot { uid: RunUid(uid), claim }
}

fn uids(runs: &[SlotRun]) -> Vec<u128> {
    runs.iter().map(|run| run.uid.0).collect()
}

#[test]
fn slots_go_in_order_and_the_grant_is_told() {
    let mut group = Group::new();
    let mut news = group.store.subscribe_slots();
    assert_eq!(group.slot(acquire("k", 1, 1, 1, SlotConflict::Queue)).status, SlotStatus::Held);
    for uid in [2, 3] {
        assert_eq!(group.slot(acquire("k", 1, uid, 1, SlotConflict::Queue)).status, SlotStatus::Waiting);
    }
    assert_eq!(group.slot(acquire("k", 1, 4, 1, SlotConflict::Reject)).status, SlotStatus::Refused);
    let third = group.store.slot_of(RunUid(3)).unwrap().unwrap();
    assert_eq!((third.status, third.ahead, third.key), (SlotStatus::Waiting, 1, key("k")));
    assert!(news.try_recv().is_err(), "an answer is no news");

    group.slot(release(1, 1));
    match news.try_recv().unwrap() {
        SlotNews::Granted { run, .. } => assert_eq!((run.uid, run.run_id.as_str()), (RunUid(2), "r2")),
        other => panic!("{other:?}"),
    }
    assert_eq!(uids(&group.store.slot_holders(&key("k"), 10).unwrap()), [2]);
    assert_eq!(uids(&group.store.slot_waiters(&key("k"), 10).unwrap()), [3]);
    let uses = group.store.slot_keys("default", "", None, 10).unwrap();
    assert_eq!(uses, [SlotUse { key: key("k"), limit: 1, held: 1, waiting: 1 }]);
    assert!(group.store.slot_keys("default", "other", None, 10).unwrap().is_empty());
}

#[test]
fn a_replacing_run_is_told_who_has_to_go_and_waits_for_their_end() {
    let mut group = Group::new();
    for uid in [1, 2] {
        group.slot(acquire("k", 2, uid, 1, SlotConflict::Replace));
    }
    let answer = group.slot(acquire("k", 2, 3, 1, SlotConflict::Replace));
    assert_eq!((answer.status, uids(&answer.replaces)), (SlotStatus::Waiting, vec![1]));
    let answer = group.slot(acquire("k", 2, 4, 1, SlotConflict::Replace));
    assert_eq!((answer.status, uids(&answer.replaces)), (SlotStatus::Waiting, vec![1, 2]));
    // The first one ends: the third gets its slot, and asking again says so.
    group.slot(release(1, 1));
    assert_eq!(group.slot(acquire("k", 2, 3, 1, SlotConflict::Replace)).status, SlotStatus::Held);
}

#[test]
fn what_comes_late_takes_nothing_and_gives_nothing_back() {
    let mut group = Group::new();
    // The release overtook the acquire.
    group.slot(release(1, 1));
    assert_eq!(group.slot(acquire("k", 1, 1, 1, SlotConflict::Queue)).status, SlotStatus::Released);
    // A repaired run asks anew.
    assert_eq!(group.slot(acquire("k", 1, 1, 2, SlotConflict::Queue)).status, SlotStatus::Held);
    group.slot(release(1, 1));
    assert_eq!(group.store.slot_of(RunUid(1)).unwrap().unwrap().status, SlotStatus::Held, "an old release");
    assert_eq!(group.slot(acquire("k", 1, 1, 1, SlotConflict::Queue)).status, SlotStatus::Released, "an old acquire");
}

#[test]
fn claims_that_are_over_are_forgotten_after_an_hour() {
    let mut group = Group::new();
    for uid in 1..=3 {
        group.slot(acquire("k", 1, uid, 1, SlotConflict::Reject));
        group.slot(release(uid, 1));
    }
    group.time = group.time.plus(Millis(59 * 60 * 1000));
    group.slot(acquire("other", 1, 9, 1, SlotConflict::Queue));
    assert!(group.store.slot_of(RunUid(3)).unwrap().is_some());
    group.time = group.time.plus(Millis(2 * 60 * 1000));
    group.slot(acquire("other", 1, 9, 1, SlotConflict::Queue));
    for uid in 1..=3 {
        assert_eq!(group.store.slot_of(RunUid(uid)).unwrap(), None);
    }
    assert!(group.store.slot_of(RunUid(9)).unwrap().is_some());
}

/// What a run wanted when it asked last, and when it was started.
#[derive(Clone)]
struct Wanted {
    name: String,
    limit: u32,
    on_conflict: SlotConflict,
    begins: Option<i64>,
}

/// The rules once more, as simply as possible.
#[derive(Default)]
struct Model {
    limits: BTreeMap<String, u32>,
    holders: BTreeMap<String, Vec<u128>>,
    waiters: BTreeMap<String, Vec<u128>>,
    claims: BTreeMap<u128, (u64, SlotStatus, String)>,
    wanted: BTreeMap<u128, Wanted>,
    paused: bool,
}

impl Model {
    /// Those who are parked, in the order of their starts.
    fn parked(&self) -> Vec<u128> {
        let parked = self.claims.iter().filter(|(_, (_, status, _))| *status == SlotStatus::Parked);
        let mut parked: Vec<_> = parked.map(|(uid, _)| (self.wanted[uid].begins, *uid)).collect();
        parked.sort_unstable();
        parked.into_iter().map(|(_, uid)| uid).collect()
    }

    fn pause(&mut self, on: bool) {
        if on && !self.paused {
            for uid in self.waiters.values().flatten().copied().collect::<Vec<_>>() {
                if self.wanted[&uid].begins.is_some() {
                    let (claim, _, at) = self.claims[&uid].clone();
                    self.leave(uid, &at);
                    self.claims.insert(uid, (claim, SlotStatus::Parked, at));
                }
            }
        }
        self.paused = on;
        if !on {
            for uid in self.parked() {
                let (wanted, claim) = (self.wanted[&uid].clone(), self.claims[&uid].0);
                self.enter(&wanted.name, wanted.limit, uid, claim, wanted.on_conflict);
            }
        }
    }

    fn acquire(&mut self, name: &str, limit: u32, uid: u128, claim: u64, on_conflict: SlotConflict, begins: Option<i64>) -> SlotStatus {
        if let Some((known, status, at)) = self.claims.get(&uid).cloned() {
            let live = status.is_live();
            if claim < known {
                return SlotStatus::Released;
            }
            if live && at == name {
                self.claims.insert(uid, (claim, status, at));
                self.wanted.entry(uid).and_modify(|wanted| (wanted.limit, wanted.on_conflict) = (limit, on_conflict));
                if status == SlotStatus::Parked {
                    return status;
                }
                self.limits.insert(name.into(), limit);
                self.fill(name);
                return self.claims[&uid].1;
            }
            if claim == known {
                return status;
            }
            if live {
                self.leave(uid, &at);
            }
        }
        self.wanted.insert(uid, Wanted { name: name.into(), limit, on_conflict, begins });
        if begins.is_some() && self.paused {
            self.claims.insert(uid, (claim, SlotStatus::Parked, name.into()));
            return SlotStatus::Parked;
        }
        self.enter(name, limit, uid, claim, on_conflict)
    }

    fn enter(&mut self, name: &str, limit: u32, uid: u128, claim: u64, on_conflict: SlotConflict) -> SlotStatus {
        self.limits.insert(name.into(), limit);
        let held = self.holders.entry(name.into()).or_default();
        let waiters = self.waiters.entry(name.into()).or_default();
        let status = if held.len() < limit as usize && waiters.is_empty() {
            held.push(uid);
            SlotStatus::Held
        } else if on_conflict == SlotConflict::Reject {
            SlotStatus::Refused
        } else {
            waiters.push(uid);
            SlotStatus::Waiting
        };
        self.claims.insert(uid, (claim, status, name.into()));
        self.fill(name);
        self.claims[&uid].1
    }

    fn release(&mut self, uid: u128, claim: u64) {
        let known = self.claims.get(&uid).cloned();
        if known.as_ref().is_some_and(|(known, ..)| *known > claim) {
            return;
        }
        let at = known.map(|(.., at)| at).unwrap_or_default();
        self.leave(uid, &at);
        self.claims.insert(uid, (claim, SlotStatus::Released, at));
    }

    fn leave(&mut self, uid: u128, name: &str) {
        self.holders.entry(name.into()).or_default().retain(|other| *other != uid);
        self.waiters.entry(name.into()).or_default().retain(|other| *other != uid);
        self.fill(name);
    }

    fn fill(&mut self, name: &str) {
        let limit = self.limits.get(name).copied().unwrap_or(1) as usize;
        let (held, waiters) = (self.holders.entry(name.into()).or_default(), self.waiters.entry(name.into()).or_default());
        while held.len() < limit && !waiters.is_empty() {
            let uid = waiters.remove(0);
            held.push(uid);
            if let Some(claim) = self.claims.get_mut(&uid) {
                claim.1 = SlotStatus::Held;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Acquire { name: &'static str, limit: u32, uid: u128, claim: u64, on_conflict: SlotConflict, begins: Option<i64> },
    Release { uid: u128, claim: u64 },
    Pause(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let conflict = prop_oneof![Just(SlotConflict::Queue), Just(SlotConflict::Reject), Just(SlotConflict::Replace)];
    let name = prop_oneof![Just("a"), Just("b")];
    prop_oneof![
        6 => (name, 1u32..4, 1u128..9, 1u64..4, conflict, proptest::option::of(0i64..20))
            .prop_map(|(name, limit, uid, claim, on_conflict, begins)| Op::Acquire { name, limit, uid, claim, on_conflict, begins }),
        4 => (1u128..9, 1u64..4).prop_map(|(uid, claim)| Op::Release { uid, claim }),
        1 => any::<bool>().prop_map(Op::Pause),
    ]
}

fn command(op: &Op) -> FlowCommand {
    match *op {
        Op::Acquire { name, limit, uid, claim, on_conflict, begins } => {
            let (key, run, begins) = (key(name), run(uid, claim), begins.map(Timestamp));
            FlowCommand::AcquireSlot { key, limit, run, on_conflict, begins }
        }
        Op::Release { uid, claim } => release(uid, claim),
        Op::Pause(on) => pause_workflow("deploy", on),
    }
}

proptest! {
    #[test]
    fn slots_do_what_the_model_does(ops in proptest::collection::vec(op(), 1..60)) {
        let mut group = Group::new();
        let mut model = Model::default();
        for op in &ops {
            match *op {
                Op::Acquire { name, limit, uid, claim, on_conflict, begins } => {
                    let answer = group.slot(command(op));
                    prop_assert_eq!(answer.status, model.acquire(name, limit, uid, claim, on_conflict, begins));
                    prop_assert!(!uids(&answer.replaces).contains(&uid), "nobody replaces itself");
                }
                Op::Release { uid, claim } => {
                    group.slot(command(op));
                    model.release(uid, claim);
                }
                Op::Pause(on) => {
                    prop_assert_eq!(group.changed(command(op)), model.paused != on);
                    model.pause(on);
                }
            }
            prop_assert_eq!(group.store.parked_runs("default", "deploy", 100).unwrap(), model.parked().len());
            for name in ["a", "b"] {
                let holders = uids(&group.store.slot_holders(&key(name), 100).unwrap());
                let waiters = uids(&group.store.slot_waiters(&key(name), 100).unwrap());
                prop_assert_eq!(&holders, &model.holders.get(name).cloned().unwrap_or_default());
                prop_assert_eq!(&waiters, &model.waiters.get(name).cloned().unwrap_or_default());
                let used = group.store.slot_keys("default", "deploy", None, 10).unwrap();
                let used = used.iter().find(|used| used.key == key(name));
                let counted = used.map_or((0, 0), |used| (used.held as usize, used.waiting as usize));
                prop_assert_eq!(counted, (holders.len(), waiters.len()));
            }
            for uid in 1..9 {
                let standing = group.store.slot_of(RunUid(uid)).unwrap();
                let known = model.claims.get(&uid).map(|(claim, status, _)| (*claim, *status));
                prop_assert_eq!(standing.map(|standing| (standing.run.claim, standing.status)), known);
            }
        }
        // How entries are grouped changes nothing.
        let commands: Vec<_> = ops.iter().map(command).collect();
        let mut at_once = Group::new();
        at_once.apply_all(&commands);
        prop_assert_eq!(state_digest(&*at_once.disk, 0).unwrap(), state_digest(&*group.disk, 0).unwrap());
    }
}

fn principal() -> Principal {
    Principal { subject: "ada".into(), ..Principal::default() }
}

fn limit() -> LimitSpec {
    LimitSpec {
        name: "api".into(),
        target: LimitTarget::TaskType("call".into()),
        key: "${input.region}".into(),
        rate: Some(RateSpec { count: 10, per: Millis(1_000), burst: 5 }),
        concurrency: Some(3),
        breaker: Some(BreakerSpec { failures: 5, ratio: 0.5, window: Millis(60_000), open_for: Millis(30_000), probes: 2 }),
        on_exceeded: OnExceeded::Fail,
        description: "d".into(),
    }
}

fn pause(queue: &str, on: bool) -> FlowCommand {
    FlowCommand::SetQueuePaused { queue: queue.into(), on, principal: principal(), reason: "fire".into() }
}

fn drain(worker: &str, on: bool) -> FlowCommand {
    FlowCommand::SetWorkerDrained { worker: worker.into(), on, principal: principal(), reason: String::new() }
}

#[test]
fn switches_and_limits_are_in_memory_and_survive_a_restart() {
    let mut group = Group::new();
    let mut watch = group.store.subscribe_flow();
    let put = || FlowCommand::PutLimit { limit: limit(), principal: principal() };
    assert!(group.changed(put()));
    assert!(!group.changed(put()), "the same again");
    assert!(group.changed(pause("q", true)));
    assert!(!group.changed(pause("q", true)));
    assert!(group.changed(drain("w", true)));
    assert!(watch.has_changed().unwrap());
    let state = watch.borrow_and_update().clone();
    assert_eq!(state.limits["api"].limit, limit());
    assert_eq!((state.limits["api"].revision, &state.limits["api"].changed_by), (1, &principal()));
    assert_eq!((state.paused_queues["q"].reason.as_str(), state.drained_workers.len()), ("fire", 1));
    assert_eq!(SystemStore::open(group.disk.clone()).unwrap().flow(), state);

    assert!(group.changed(pause("q", false)));
    assert!(group.changed(drain("w", false)));
    assert!(group.changed(FlowCommand::DeleteLimit { name: "api".into(), principal: principal() }));
    assert!(!group.changed(FlowCommand::DeleteLimit { name: "api".into(), principal: principal() }));
    assert_eq!(*group.store.flow(), FlowState::default());
}

#[test]
fn commands_and_state_keep_their_bytes() {
    let time = Timestamp(1_700_000_000_123);
    for (name, command) in [
        ("flow_acquire_slot_v1", acquire("k", 2, 7, 3, SlotConflict::Replace)),
        ("flow_acquire_slot_v2", begin("k", 2, 7, 1_700_000_000_000, SlotConflict::Queue)),
        ("flow_set_workflow_paused_v1", pause_workflow("deploy", true)),
        ("flow_release_slot_v1", release(7, 3)),
        ("flow_put_limit_v1", FlowCommand::PutLimit { limit: limit(), principal: principal() }),
        ("flow_delete_limit_v1", FlowCommand::DeleteLimit { name: "api".into(), principal: principal() }),
        ("flow_set_queue_paused_v1", pause("q", true)),
        ("flow_set_worker_drained_v1", drain("w", true)),
    ] {
        let command = SystemCommand::Flow(command);
        let bytes = command.encode(time);
        golden::check(name, &bytes);
        assert_eq!(SystemCommand::decode(bytes).unwrap(), (time, command));
    }
    for answer in [
        FlowAnswer::Slot(SlotAnswer { status: SlotStatus::Waiting, replaces: vec![run(1, 2)] }),
        FlowAnswer::Slot(SlotAnswer { status: SlotStatus::Parked, replaces: Vec::new() }),
        FlowAnswer::Changed { changed: true, revision: 7, more: true },
    ] {
        let answer = SystemAnswer::Flow(answer);
        assert_eq!(SystemAnswer::decode(answer.encode()).unwrap(), answer);
    }
}
