//! The evidence, sorted and joined once, so that each invariant reads simply.
//!
//! Runs by uid; in a run the events by step, with attempts and generations; beside them what workers wrote down, by the same keys. Built in
//! O(n log n); everything borrows from the evidence.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use quorus_client::{LedgerEntry, LedgerEvent};
use quorus_proto::v1::{EventType, HistoryEvent};

use super::{
    coverage::Coverage,
    path::{self, Plan},
    testimony::{self, Clock, signed},
    verdict::Testimony,
};
use crate::record::{Answer, Call, Ending, Evidence, Fault, FaultPhase, Operation, RecordedRun, Replica, StepShape};

/// A moment for the scheduler of a machine that is busy with faults.
const QUANTUM_US: i64 = 250_000;

/// The nodes' own workers, which execute `http`, `gate` and `emit`; they write no ledger.
const BUILTIN_WORKER: &str = "/builtin";

/// All evidence, joined.
pub(super) struct Joined<'e> {
    pub(super) evidence: &'e Evidence,
    pub(super) clock: Clock,
    /// By uid, from the replica of each shard that has applied most.
    pub(super) runs: BTreeMap<&'e str, RunView<'e>>,
    /// Uids by run id.
    pub(super) uids: BTreeMap<&'e str, Vec<&'e str>>,
    /// Replicas by shard, those that applied most first. Without the system group.
    pub(super) shards: BTreeMap<u32, Vec<&'e Replica>>,
    /// What workers did, by uid and step, in the order of the begins.
    pub(super) executed: BTreeMap<(&'e str, &'e str), Vec<Execution<'e>>>,
    /// By the run that they are about, as they name it, in the order of invocation.
    pub(super) operations: BTreeMap<&'e str, Vec<&'e Operation>>,
    /// Faults with how long they were in force.
    pub(super) windows: Vec<Window<'e>>,
    coverage: OnceCell<Coverage>,
}

/// A run.
pub(super) struct RunView<'e> {
    pub(super) record: &'e RecordedRun,
    pub(super) shard: u32,
    /// What the workflow promises, if that is known.
    pub(super) plan: Option<Rc<Plan<'e>>>,
    pub(super) steps: BTreeMap<&'e str, StepView<'e>>,
}

/// A step, item or compensation of a run.
#[derive(Default)]
pub(super) struct StepView<'e> {
    /// In order, with the generation that each is of.
    pub(super) events: Vec<(u32, &'e HistoryEvent)>,
    /// In the order of the grants.
    pub(super) attempts: Vec<Attempt<'e>>,
}

/// The right to execute a step once.
pub(super) struct Attempt<'e> {
    pub(super) generation: u32,
    pub(super) leased: &'e HistoryEvent,
    pub(super) ended: Option<&'e HistoryEvent>,
}

/// What a worker did with an attempt, as it wrote itself.
pub(super) struct Execution<'e> {
    pub(super) attempt: u32,
    pub(super) token: u64,
    pub(super) worker: &'e str,
    pub(super) begin: Option<&'e LedgerEntry>,
    pub(super) effects: Vec<&'e LedgerEntry>,
    pub(super) end: Option<&'e LedgerEntry>,
}

/// A fault and how long it was in force.
pub(super) struct Window<'e> {
    pub(super) fault: &'e Fault,
    pub(super) from_us: i64,
    /// `i64::MAX` if nobody said that it was over.
    pub(super) to_us: i64,
}

impl<'e> Joined<'e> {
    /// Joins everything.
    pub(super) fn new(evidence: &'e Evidence) -> Self {
        let setup = &evidence.setup;
        let slack_us = i64::try_from(setup.clock_bound_ms).unwrap_or(i64::MAX / 2000) * 1000 + QUANTUM_US;
        let clock = Clock { wall_at_zero_ms: setup.wall_at_zero_ms, slack_us };
        let mut shards: BTreeMap<u32, Vec<&Replica>> = BTreeMap::new();
        for replica in evidence.replicas.iter().filter(|replica| replica.shard > 0) {
            shards.entry(replica.shard).or_default().push(replica);
        }
        for replicas in shards.values_mut() {
            // The first of those with the same index, as `Evidence::histories` takes it.
            replicas.sort_by_key(|replica| std::cmp::Reverse(replica.index));
        }
        let plans: BTreeMap<&str, Rc<Plan<'_>>> =
            evidence.shapes.values().map(|shape| (shape.workflow.as_str(), Rc::new(Plan::new(shape)))).collect();
        let strangers = evidence.strangers();
        let mut runs = BTreeMap::new();
        let mut uids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (shard, best) in shards.iter().filter_map(|(shard, replicas)| Some((*shard, *replicas.first()?))) {
            for record in best.runs.iter().filter(|record| !strangers.contains(record.run_uid.as_str())) {
                let view = RunView { record, shard, plan: plans.get(record.workflow.as_str()).cloned(), steps: steps_of(record) };
                if runs.insert(record.run_uid.as_str(), view).is_none() {
                    uids.entry(&record.run_id).or_default().push(&record.run_uid);
                }
            }
        }
        let mut operations: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in &evidence.operations {
            operations.entry(operation.call.run()).or_default().push(operation);
        }
        for operations in operations.values_mut() {
            operations.sort_by_key(|operation| (operation.invoked_us, operation.id));
        }
        let (executed, windows) = (executions(&evidence.ledger), windows(&evidence.faults));
        Self { evidence, clock, runs, uids, shards, executed, operations, windows, coverage: OnceCell::new() }
    }

    /// What was done and seen, counted once.
    pub(super) fn coverage(&self) -> &Coverage {
        self.coverage.get_or_init(|| Coverage::of(self))
    }

    /// What workers did with a step.
    pub(super) fn executions(&self, uid: &'e str, step: &'e str) -> &[Execution<'e>] {
        self.executed.get(&(uid, step)).map_or(&[], Vec::as_slice)
    }

    /// Calls that were done, with what they returned.
    pub(super) fn done(&self) -> impl Iterator<Item = (&'e Operation, &'e Answer)> {
        self.evidence.operations.iter().filter_map(|operation| Some((operation, operation.answer()?)))
    }

    /// The runs that an operation can be about: the one that its answer names, else all with its run id.
    pub(super) fn about(&self, operation: &'e Operation) -> Vec<&RunView<'e>> {
        let named = operation.answer().map(|answer| answer.run_uid.as_str()).filter(|uid| !uid.is_empty());
        if let Some(uid) = named {
            return self.runs.get(uid).into_iter().collect();
        }
        let run = operation.call.run();
        if let Some(run) = self.runs.get(run) {
            return vec![run];
        }
        self.uids.get(run).into_iter().flatten().filter_map(|uid| self.runs.get(uid)).collect()
    }

    /// True if the worker itself, and not only nodes, was hit at some time between.
    pub(super) fn worker_was_hit(&self, worker: &str, from_us: i64, to_us: i64) -> bool {
        let name = worker.split_once('/').map_or(worker, |(name, _)| name);
        let concerns = |window: &&Window<'_>| window.fault.targets.iter().any(|target| target == name);
        // A worker that was killed is lost from then on, until its leases are gone.
        self.windows.iter().filter(concerns).any(|window| window.from_us <= to_us && from_us <= window.to_us)
    }

    /// The faults that were in force at some time between, with their begin and their end.
    pub(super) fn faults_between(&self, from_us: i64, to_us: i64) -> Vec<Testimony> {
        let within = self.windows.iter().filter(|window| window.from_us <= to_us && from_us <= window.to_us);
        let ids: BTreeSet<u64> = within.take(4).map(|window| window.fault.id).collect();
        let lines = self.evidence.faults.iter().filter(|fault| ids.contains(&fault.id));
        lines.map(testimony::fault).collect()
    }

    /// The `lease` that the cluster was configured with.
    pub(super) fn lease_us(&self) -> i64 {
        i64::try_from(self.evidence.setup.lease_ms).unwrap_or(i64::MAX / 2000) * 1000
    }
}

impl<'e> RunView<'e> {
    pub(super) fn uid(&self) -> &'e str {
        &self.record.run_uid
    }

    /// As counterexamples name it.
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.record.run_id, self.record.run_uid)
    }

    /// Events of a kind.
    pub(super) fn of_type(&self, kind: EventType) -> impl Iterator<Item = &'e HistoryEvent> {
        self.record.events.iter().filter(move |event| event.r#type() == kind)
    }

    pub(super) fn has(&self, kind: EventType) -> bool {
        self.of_type(kind).next().is_some()
    }

    /// The first event.
    pub(super) fn started(&self) -> Option<&'e HistoryEvent> {
        self.record.events.first().filter(|event| event.r#type() == EventType::RunStarted)
    }

    /// What its maker says of a step.
    pub(super) fn planned(&self, path: &str) -> Option<&'e StepShape> {
        self.plan.as_ref()?.step(path)
    }

    /// The scope that something is in.
    pub(super) fn scope(&self, path: &str) -> String {
        path::scope(self.plan.as_deref(), path)
    }
}

impl<'e> StepView<'e> {
    /// Its events of a kind.
    pub(super) fn of_type(&self, kind: EventType) -> impl Iterator<Item = (u32, &'e HistoryEvent)> {
        self.events.iter().copied().filter(move |(_, event)| event.r#type() == kind)
    }
}

impl Attempt<'_> {
    /// True if a node's own worker executed it.
    pub(super) fn is_builtin(&self) -> bool {
        self.leased.worker.ends_with(BUILTIN_WORKER)
    }

    /// How it ended, in a word; empty if it did not.
    pub(super) fn outcome(&self) -> &str {
        self.ended.map_or("", |ended| ended.outcome.as_str())
    }
}

impl<'e> Execution<'e> {
    /// All lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'e LedgerEntry> {
        self.begin.into_iter().chain(self.effects.iter().copied()).chain(self.end)
    }

    pub(super) fn testimony(&self) -> impl Iterator<Item = Testimony> {
        self.lines().map(testimony::ledger)
    }

    /// Its first line.
    pub(super) fn begun_us(&self) -> i64 {
        self.lines().map(|line| signed(line.mono_us)).min().unwrap_or(0)
    }

    /// The last time that it did something: an end that only says that the lease was lost is no deed.
    pub(super) fn last_deed_us(&self) -> i64 {
        let deed = |line: &&LedgerEntry| line.event != LedgerEvent::End || matches!(line.outcome.as_str(), "succeeded" | "failed");
        self.lines().filter(deed).map(|line| signed(line.mono_us)).max().unwrap_or(0)
    }
}

impl Operation {
    /// What it returned, if it was done.
    pub(super) fn answer(&self) -> Option<&Answer> {
        match &self.ending {
            Some(Ending::Ok(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Why it was refused for good, if it was.
    pub(super) fn refusal(&self) -> Option<&str> {
        match &self.ending {
            Some(Ending::Fail { reason }) => Some(reason),
            _ => None,
        }
    }

    /// True if it was done, or may have been.
    pub(super) fn may_have_been_done(&self) -> bool {
        self.refusal().is_none()
    }

    /// When its caller knew.
    pub(super) fn acked_us(&self) -> i64 {
        signed(self.ended_us.unwrap_or(u64::MAX))
    }
}

/// The events of each step, its attempts, and the generation that each belongs to.
fn steps_of(record: &RecordedRun) -> BTreeMap<&str, StepView<'_>> {
    let mut steps: BTreeMap<&str, StepView<'_>> = BTreeMap::new();
    let mut generations: BTreeMap<&str, u32> = BTreeMap::new();
    for event in record.events.iter().filter(|event| !event.step.is_empty()) {
        let generation = generations.entry(event.step.as_str()).or_default();
        // A container that is tried again, or goes on, begins another generation like a step that begins anew.
        if matches!(event.r#type(), EventType::StepReopened | EventType::ScopeReopened | EventType::ScopeRetried) {
            *generation += 1;
        }
        let view = steps.entry(event.step.as_str()).or_default();
        view.events.push((*generation, event));
        match event.r#type() {
            EventType::StepLeased => view.attempts.push(Attempt { generation: *generation, leased: event, ended: None }),
            EventType::AttemptEnded => {
                let open = |attempt: &&mut Attempt<'_>| attempt.leased.attempt == event.attempt && attempt.ended.is_none();
                if let Some(attempt) = view.attempts.iter_mut().rev().find(open) {
                    attempt.ended = Some(event);
                }
            }
            _ => {}
        }
    }
    steps
}

/// Pairs the lines of each attempt. A second begin of the same attempt is a second execution.
fn executions(ledger: &[LedgerEntry]) -> BTreeMap<(&str, &str), Vec<Execution<'_>>> {
    let mut lines: Vec<&LedgerEntry> = ledger.iter().collect();
    lines.sort_by_key(|line| line.mono_us);
    let mut executed: BTreeMap<(&str, &str), Vec<Execution<'_>>> = BTreeMap::new();
    for line in lines {
        let of_step = executed.entry((&line.run_uid, &line.step)).or_default();
        let same =
            |known: &&mut Execution<'_>| known.attempt == line.attempt && known.token == line.token && is_by(&line.worker, known.worker);
        let known = of_step.iter_mut().rev().find(same).filter(|known| match line.event {
            LedgerEvent::Begin => false,
            LedgerEvent::Effect => true,
            LedgerEvent::End => known.end.is_none(),
        });
        let execution = match known {
            Some(known) => known,
            None => {
                let (attempt, token, worker) = (line.attempt, line.token, line.worker.as_str());
                of_step.push(Execution { attempt, token, worker, begin: None, effects: Vec::new(), end: None });
                let Some(new) = of_step.last_mut() else { continue };
                new
            }
        };
        match line.event {
            LedgerEvent::Begin => execution.begin = Some(line),
            LedgerEvent::Effect => execution.effects.push(line),
            LedgerEvent::End => execution.end = Some(line),
        }
    }
    executed
}

/// True if a line is by this worker. What a task writes itself has the worker's name without its incarnation.
fn is_by(line: &str, worker: &str) -> bool {
    line == worker || worker.split_once('/').is_some_and(|(name, _)| name == line)
}

/// From each begin of a fault to its end.
fn windows(faults: &[Fault]) -> Vec<Window<'_>> {
    let ends: BTreeMap<u64, i64> =
        faults.iter().filter(|fault| fault.phase == FaultPhase::Healed).map(|fault| (fault.id, signed(fault.at_us))).collect();
    let begun = faults.iter().filter(|fault| matches!(fault.phase, FaultPhase::Installed | FaultPhase::Indeterminate));
    begun.map(|fault| Window { fault, from_us: signed(fault.at_us), to_us: ends.get(&fault.id).copied().unwrap_or(i64::MAX) }).collect()
}

/// The run id of a start, with the rest of it.
pub(super) struct Start<'e> {
    pub(super) operation: &'e Operation,
    pub(super) run_id: &'e str,
    pub(super) request_id: &'e str,
    pub(super) workflow: &'e str,
    pub(super) input_sha256: &'e str,
}

impl<'e> Joined<'e> {
    /// All starts.
    pub(super) fn starts(&self) -> impl Iterator<Item = Start<'e>> {
        self.evidence.operations.iter().filter_map(|operation| match &operation.call {
            Call::Start { run_id, request_id, workflow, input_sha256, .. } => {
                Some(Start { operation, run_id, request_id, workflow, input_sha256 })
            }
            _ => None,
        })
    }
}
