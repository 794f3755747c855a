//! [`Run`]: stored state plus what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use super::{Documents, Join};
use crate::{Event, EventKind, Plan, PlannedStep, RunHead, RunInfo, SignalKey, SignalState, StateMut, StepId, StepState, StepStatus, fold};

/// The working state of one run. See the module.
#[derive(Debug)]
pub struct Run {
    info: Arc<RunInfo>,
    plan: Arc<Plan>,
    stored: Stored,
    /// Per step of the plan.
    pub(super) joins: Vec<Join>,
    /// Started and not ended, by position.
    pub(super) open: BTreeSet<usize>,
    /// Those of `open` whose attempt holds a lease.
    pub(super) leased: usize,
    /// Without an entry, and not waiting for any need. Empty between decisions, unless a fan-out was too large for one.
    pub(super) ready: BTreeSet<usize>,
    pub(super) documents: Documents,
}

/// What is stored.
#[derive(Debug, Default)]
struct Stored {
    head: RunHead,
    steps: BTreeMap<StepId, StepState>,
    signals: BTreeMap<SignalKey, SignalState>,
}

impl StateMut for Stored {
    type Error = Infallible;

    fn head(&mut self) -> Result<&mut RunHead, Infallible> {
        Ok(&mut self.head)
    }

    fn step(&mut self, id: &StepId) -> Result<&mut StepState, Infallible> {
        Ok(self.steps.entry(id.clone()).or_default())
    }

    fn signal(&mut self, key: &SignalKey) -> Result<&mut SignalState, Infallible> {
        Ok(self.signals.entry(key.clone()).or_default())
    }
}

impl Run {
    /// A run before its first event. Only [`crate::Command::Start`] makes sense for it.
    pub fn new(info: RunInfo, plan: Arc<Plan>) -> Self {
        Self::load(info, RunHead::default(), BTreeMap::new(), BTreeMap::new(), plan)
    }

    /// A run as it was stored.
    pub fn load(info: RunInfo, head: RunHead, steps: BTreeMap<StepId, StepState>, signals: BTreeMap<SignalKey, SignalState>, plan: Arc<Plan>) -> Self {
        let mut joins: Vec<Join> =
            plan.steps.iter().map(|step| Join { missing: u32::try_from(step.needs.len()).unwrap_or(u32::MAX), blocked: false }).collect();
        let mut open = BTreeSet::new();
        let mut leased = 0;
        for step in &plan.steps {
            let Some(state) = steps.get(&step.id) else { continue };
            if state.status.is_final() {
                for &dependent in &step.dependents {
                    joins[dependent].settle(state);
                }
            } else if state.status.is_open() {
                open.insert(step.index);
                leased += usize::from(state.status == StepStatus::Leased);
            }
        }
        let is_ready = |step: &&PlannedStep| joins[step.index].missing == 0 && !steps.contains_key(&step.id);
        let ready = plan.steps.iter().filter(is_ready).map(|step| step.index).collect();
        let documents = Documents::new(plan.steps.len());
        Self { info: Arc::new(info), plan, stored: Stored { head, steps, signals }, joins, open, leased, ready, documents }
    }

    /// Folds an event, and updates what follows from it: costs as much as its step has dependents.
    pub fn apply(&mut self, event: &Event) {
        let before = event.step().map_or(StepStatus::Pending, |id| self.step(id).map_or(StepStatus::Pending, |state| state.status));
        let Ok(()) = fold(&mut self.stored, event);
        if let EventKind::RunStarted(info) = &event.kind {
            self.info = Arc::new((**info).clone());
            self.documents = Documents::new(self.plan.steps.len());
        }
        let Some((index, id)) = event.step().and_then(|id| self.plan.index(id).map(|index| (index, id))) else { return };
        let Some(state) = self.stored.steps.get(id) else { return };
        self.ready.remove(&index);
        self.leased = self.leased + usize::from(state.status == StepStatus::Leased) - usize::from(before == StepStatus::Leased);
        if state.status.is_open() {
            self.open.insert(index);
        } else {
            self.open.remove(&index);
        }
        if state.status.is_final() && !before.is_final() {
            for &dependent in &self.plan.steps[index].dependents {
                if self.joins[dependent].settle(state) {
                    self.ready.insert(dependent);
                }
            }
        }
    }

    /// What never changes.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Where it stands.
    pub fn head(&self) -> &RunHead {
        &self.stored.head
    }

    /// What it executes.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The entries of steps that were started.
    pub fn steps(&self) -> &BTreeMap<StepId, StepState> {
        &self.stored.steps
    }

    /// The entry of a step, if it was started.
    pub fn step(&self, id: &StepId) -> Option<&StepState> {
        self.stored.steps.get(id)
    }

    /// The entry of a signal.
    pub fn signal(&self, key: &SignalKey) -> Option<&SignalState> {
        self.stored.signals.get(key)
    }

    /// The signals that the run received, by name and in order.
    pub fn signals(&self) -> &BTreeMap<SignalKey, SignalState> {
        &self.stored.signals
    }

    /// Where a step stands for people: without an entry it is pending, or cancelled once the run has ended.
    pub fn step_status(&self, id: &StepId) -> StepStatus {
        match self.step(id) {
            Some(state) => state.status,
            None if self.head().status.is_final() => StepStatus::Cancelled,
            None => StepStatus::Pending,
        }
    }

    /// The steps that were started and have not ended (queued, leased, waiting, backing off), in plan order.
    pub fn open_steps(&self) -> impl Iterator<Item = (&PlannedStep, &StepState)> {
        self.open.iter().filter_map(|&index| {
            let step = &self.plan.steps[index];
            self.step(&step.id).map(|state| (step, state))
        })
    }

    /// True if steps are ready that no decision has started yet, because a fan-out was too large for one. Every decision goes on with
    /// them; [`crate::Command::Advance`] does nothing else. Such a run has an open step, too, so it can't be forgotten.
    pub fn has_backlog(&self) -> bool {
        self.head().status == crate::RunStatus::Running && self.head().seq > 0 && !self.ready.is_empty()
    }

    /// What follows from the stored state, to be compared with what a rebuilt run has.
    #[cfg(test)]
    pub(crate) fn derived(&self) -> impl PartialEq + std::fmt::Debug {
        (self.joins.clone(), self.open.clone(), self.leased, self.ready.clone())
    }
}
