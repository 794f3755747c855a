//! [`Run`]: stored state plus what follows from it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::documents::Documents;
use super::index::{Index, Standing};
use super::instance::{self, Instance, ScopeId};
use super::states::States;
use crate::{
    Event, EventKind, Plan, PlannedStep, RunHead, RunInfo, RunStatus, SignalKey, SignalState, StateMut, StepId, StepState, StepStatus, fold,
};

/// The working state of one run. See the module.
#[derive(Debug)]
pub struct Run {
    info: Arc<RunInfo>,
    plan: Arc<Plan>,
    stored: Stored,
    pub(super) index: Index<'static>,
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

/// What is stored, with the plan that tells what it means.
struct Known<'a> {
    plan: &'a Plan,
    stored: &'a Stored,
}

impl States for Known<'_> {
    fn plan(&self) -> &Plan {
        self.plan
    }

    fn head(&self) -> &RunHead {
        &self.stored.head
    }

    fn entry(&self, id: &StepId) -> Option<&StepState> {
        self.stored.steps.get(id)
    }
}

impl Run {
    /// A run before its first event. Only [`crate::Command::Start`] makes sense for it.
    pub fn new(info: RunInfo, plan: Arc<Plan>) -> Self {
        Self::load(info, RunHead::default(), BTreeMap::new(), BTreeMap::new(), plan)
    }

    /// A run as it was stored. The plan is that of [`RunHead::migrated`], if there is one.
    pub fn load(
        info: RunInfo,
        head: RunHead,
        steps: BTreeMap<StepId, StepState>,
        signals: BTreeMap<SignalKey, SignalState>,
        plan: Arc<Plan>,
    ) -> Self {
        let stored = Stored { head, steps, signals };
        let index = Index::build(&Known { plan: &plan, stored: &stored }, stored.steps.iter(), stored.signals.iter());
        Self { info: Arc::new(info), plan, stored, index, documents: Documents::default() }
    }

    /// Goes on with another plan, after [`crate::EventKind::RunMigrated`] was applied.
    pub fn replan(self, plan: Arc<Plan>) -> Self {
        let Stored { head, steps, signals } = self.stored;
        Self::load((*self.info).clone(), head, steps, signals, plan)
    }

    /// Folds an event, and updates what follows from it: costs as much as its step has dependents.
    pub fn apply(&mut self, event: &Event) {
        let plan = self.plan.clone();
        let before = event.step().and_then(|id| Instance::of(&plan, id)).map(|instance| {
            let standing = Standing::of(&Known { plan: &plan, stored: &self.stored }, &instance);
            (instance, standing)
        });
        let Ok(()) = fold(&mut self.stored, event);
        if let EventKind::RunStarted(info) = &event.kind {
            self.info = Arc::new((**info).clone());
            self.documents = Documents::default();
        }
        if let Some(id) = event.step() {
            self.documents.forget(id);
        }
        self.index.follow(&Known { plan: &plan, stored: &self.stored }, event, self.stored.head.seq, before);
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

    /// The digest of the definition that it goes on with.
    pub fn digest(&self) -> [u8; 32] {
        self.head().migrated.as_ref().map_or(self.info.digest, |migrated| migrated.digest)
    }

    /// The entries of steps that were started; also those that are left from earlier generations.
    pub fn steps(&self) -> &BTreeMap<StepId, StepState> {
        &self.stored.steps
    }

    /// True if no attempt of the step begins now: the run is paused, or waits for people and the step would go forward.
    pub fn holds_back(&self, id: &StepId) -> bool {
        let head = self.head();
        head.paused_by.is_some() || head.status == RunStatus::NeedsAttention && instance::goes_forward(&self.plan, id)
    }

    /// The entry of a step, if it was started.
    pub fn step(&self, id: &StepId) -> Option<&StepState> {
        self.stored.steps.get(id)
    }

    /// The vertex of the plan that an entry is an instance of: of an item, its container.
    pub fn planned(&self, id: &StepId) -> Option<&PlannedStep> {
        Instance::of(&self.plan, id).map(|instance| instance.step)
    }

    /// True if an entry belongs to the current generation of its scope; others show what was before.
    pub fn is_current(&self, id: &StepId) -> bool {
        Instance::of(&self.plan, id).is_some_and(|instance| self.known().current(&instance).is_some())
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
            Some(state) if state.status != StepStatus::Pending && self.is_current(id) => state.status,
            _ if self.head().status.is_final() => StepStatus::Cancelled,
            _ => StepStatus::Pending,
        }
    }

    /// What was started and has not ended, scope by scope and in plan order: steps, and the containers and items that they are in.
    pub fn open_steps(&self) -> impl Iterator<Item = (&StepId, &StepState)> {
        self.index.open.from(std::ops::Bound::Unbounded).filter_map(|((scope, position), ())| {
            let id = instance::entry_at(&self.plan, scope, *position)?;
            self.stored.steps.get_key_value(&id)
        })
    }

    /// How many items of a container that is running have begun, ended well, and ended otherwise.
    pub fn progress(&self, id: &StepId) -> Option<Progress> {
        let tally = self.index.tallies.get(&Some(id.clone()))?;
        Some(Progress { started: tally.next, succeeded: tally.succeeded, failed: tally.failed })
    }

    /// The steps that were completed, or may have been, and have something that would undo them, the last end first. Containers stand for
    /// what is in them.
    pub fn undone_last_first(&self) -> Vec<StepId> {
        let scope: ScopeId = None;
        self.index.undo_in(&scope).filter_map(|position| instance::entry_at(&self.plan, &scope, position)).collect()
    }

    /// True if steps are ready that no decision has started yet, because a fan-out was too large for one. Every decision goes on with
    /// them; [`crate::Command::Advance`] does nothing else. Such a run has an open step, too, so it can't be forgotten.
    pub fn has_backlog(&self) -> bool {
        self.head().seq > 0 && !self.head().status.is_final() && self.index.ready.first().is_some()
    }

    fn known(&self) -> Known<'_> {
        Known { plan: &self.plan, stored: &self.stored }
    }

    /// How much follows from the stored state.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.index.len()
    }

    /// What follows from the stored state, to be compared with what a rebuilt run has.
    #[cfg(test)]
    pub(crate) fn derived(&self) -> impl PartialEq + std::fmt::Debug {
        self.index.entries()
    }
}

/// How far the items of a container are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Have begun.
    pub started: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended otherwise.
    pub failed: u32,
}
