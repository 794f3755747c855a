//! The state while decisions are being made: the run as it is, and over it what their events change.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value;

use super::documents::{self, Document};
use super::{Join, Run};
use crate::expr::{BYTES_PER_ROUND, ROUNDS_MAX, Root, Scope, format_timestamp};
use crate::{Event, EventKind, RunHead, RunStatus, SignalKey, SignalState, StateMut, StepId, StepState, StepStatus, Timestamp, fold};

/// Decisions in the making. Copies only what they touch.
pub(crate) struct Draft<'a> {
    pub(crate) run: &'a Run,
    /// The instant of the current decision.
    pub(crate) now: Timestamp,
    changed: Changed<'a>,
    joins: BTreeMap<usize, Join>,
    /// Became ready in this decision.
    ready: BTreeSet<usize>,
    /// Where to go on in the run's own backlog.
    backlog: usize,
    open: usize,
    leased: usize,
    events: Vec<Event>,
    /// Payload bytes of the events, roughly.
    bytes: usize,
    outputs: RefCell<BTreeMap<usize, Document>>,
    /// Rounds that expressions may have taken: in all, and for the step that is being started.
    rounds: Cell<f64>,
    rounds_of_step: Cell<f64>,
}

struct Changed<'a> {
    run: &'a Run,
    head: RunHead,
    steps: BTreeMap<StepId, StepState>,
    signals: BTreeMap<SignalKey, SignalState>,
}

impl StateMut for Changed<'_> {
    type Error = Infallible;

    fn head(&mut self) -> Result<&mut RunHead, Infallible> {
        Ok(&mut self.head)
    }

    fn step(&mut self, id: &StepId) -> Result<&mut StepState, Infallible> {
        let run = self.run;
        Ok(self.steps.entry(id.clone()).or_insert_with(|| run.step(id).cloned().unwrap_or_default()))
    }

    fn signal(&mut self, key: &SignalKey) -> Result<&mut SignalState, Infallible> {
        let run = self.run;
        Ok(self.signals.entry(key.clone()).or_insert_with(|| run.signal(key).cloned().unwrap_or_default()))
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(run: &'a Run) -> Self {
        Self {
            run,
            now: Timestamp::default(),
            changed: Changed { run, head: run.head().clone(), steps: BTreeMap::new(), signals: BTreeMap::new() },
            joins: BTreeMap::new(),
            ready: BTreeSet::new(),
            backlog: 0,
            open: run.open.len(),
            leased: run.leased,
            events: Vec::new(),
            bytes: 0,
            outputs: RefCell::default(),
            rounds: Cell::new(0.0),
            rounds_of_step: Cell::new(0.0),
        }
    }

    /// Adds an event, and folds it, so that what follows is decided on the state after it.
    pub(crate) fn push(&mut self, kind: EventKind) {
        self.bytes += bytes(&kind);
        let event = Event { time: self.now, kind };
        let before = event.step().map_or(StepStatus::Pending, |id| self.status(id));
        let Ok(()) = fold(&mut self.changed, &event);
        if let Some(id) = event.step()
            && let Some(index) = self.run.plan().index(id)
            && let Some(state) = self.changed.steps.get(id)
        {
            self.open = self.open + usize::from(state.status.is_open()) - usize::from(before.is_open());
            self.leased = self.leased + usize::from(state.status == StepStatus::Leased) - usize::from(before == StepStatus::Leased);
            if state.status.is_final() && !before.is_final() {
                for &dependent in &self.run.plan().steps[index].dependents {
                    let join = self.joins.entry(dependent).or_insert_with(|| self.run.joins[dependent]);
                    if join.settle(state) {
                        self.ready.insert(dependent);
                    }
                }
            }
        }
        self.events.push(event);
    }

    pub(crate) fn head(&self) -> &RunHead {
        &self.changed.head
    }

    pub(crate) fn is_running(&self) -> bool {
        self.head().status == RunStatus::Running
    }

    /// The entry of a step, if it was started.
    pub(crate) fn step(&self, id: &StepId) -> Option<&StepState> {
        self.changed.steps.get(id).or_else(|| self.run.step(id))
    }

    fn status(&self, id: &StepId) -> StepStatus {
        self.step(id).map_or(StepStatus::Pending, |state| state.status)
    }

    /// True if a need of the step ended in a way that the step does not accept.
    pub(crate) fn is_blocked(&self, index: usize) -> bool {
        self.joins.get(&index).unwrap_or(&self.run.joins[index]).blocked
    }

    /// The next step that is ready and was not started, in plan order.
    pub(crate) fn take_ready(&mut self) -> Option<usize> {
        let waiting = self.run.ready.range(self.backlog..).next().copied();
        match (self.ready.first().copied(), waiting) {
            (None, None) => None,
            (Some(new), waiting) if waiting.is_none_or(|waiting| new < waiting) => self.ready.pop_first(),
            (_, waiting) => {
                self.backlog = waiting? + 1;
                waiting
            }
        }
    }

    /// Started and not ended, in plan order.
    pub(crate) fn open_steps(&self) -> Vec<usize> {
        let plan = self.run.plan();
        let touched = self.changed.steps.keys().filter_map(|id| plan.index(id));
        let candidates: BTreeSet<usize> = self.run.open.iter().copied().chain(touched).collect();
        candidates.into_iter().filter(|&index| self.status(&plan.steps[index].id).is_open()).collect()
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn leased_count(&self) -> usize {
        self.leased
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if the expressions so far have taken what those of one step may.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.rounds.get() >= ROUNDS_MAX
    }

    /// The expressions of the next step have a budget of their own.
    pub(crate) fn begin_step(&self) {
        self.rounds_of_step.set(0.0);
    }

    /// The events since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn spend_parsing(&self, state: &StepState) -> Result<(), String> {
        self.spend(state.output.as_ref().map_or(0.0, |output| output.data.len() as f64 / BYTES_PER_ROUND))
    }

    fn output(&self, index: usize) -> Document {
        let id = &self.run.plan().steps[index].id;
        match (self.changed.steps.get(id), self.run.step(id)) {
            (Some(state), _) => {
                if let Some(document) = self.outputs.borrow().get(&index) {
                    return document.clone();
                }
                self.spend_parsing(state)?;
                self.outputs.borrow_mut().entry(index).or_insert_with(|| documents::output(state)).clone()
            }
            (None, Some(state)) => {
                if !self.run.documents.has_output(index) {
                    self.spend_parsing(state)?;
                }
                self.run.documents.output(index, state)
            }
            (None, None) => Ok(Arc::new(Value::Null)),
        }
    }
}

impl Scope for Draft<'_> {
    fn document(&self, root: Root) -> Document {
        let state = |index: usize| self.step(&self.run.plan().steps[index].id);
        match root {
            Root::Input => self.run.documents.input(self.run.info()),
            Root::Run => self.run.documents.run(self.run.info(), self.started_at()),
            Root::Now => Ok(Arc::new(Value::String(format_timestamp(self.now)))),
            Root::Output(index) => self.output(index),
            Root::Status(index) => Ok(Arc::new(Value::from(state(index).map_or(StepStatus::Pending, |state| state.status).name()))),
            Root::Error(index) => Ok(Arc::new(state(index).map_or(Value::Null, documents::error))),
            Root::RunStatus | Root::RunError | Root::Item(_) | Root::Index(_) | Root::Signal | Root::This | Root::Named(_) => {
                Err("it is not available here".to_owned())
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn started_at(&self) -> Timestamp {
        self.head().started_at
    }

    fn spend(&self, rounds: f64) -> Result<(), String> {
        self.rounds.set(self.rounds.get() + rounds);
        self.rounds_of_step.set(self.rounds_of_step.get() + rounds);
        if self.rounds_of_step.get() > ROUNDS_MAX {
            return Err(format!("the expressions of the step could take more than {ROUNDS_MAX:.0} rounds together"));
        }
        Ok(())
    }
}

/// Roughly what an event takes in the log.
fn bytes(kind: &EventKind) -> usize {
    let payload = match kind {
        EventKind::RunStarted(info) => Some(&info.input),
        EventKind::StepQueued { input, .. } | EventKind::StepLeased { input, .. } => input.as_ref(),
        EventKind::StepCheckpointed { checkpoint, .. } => Some(checkpoint),
        EventKind::StepEnded { output, .. } | EventKind::RunEnded { output, .. } => output.as_ref(),
        _ => None,
    };
    100 + payload.map_or(0, |payload| payload.data.len())
}
