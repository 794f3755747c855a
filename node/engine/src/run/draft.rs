//! The state while decisions are being made: the run as it is, and over it what their events change.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::documents::{self, Document, Part};
use super::index::{Index, Place, Standing};
use super::instance::{Instance, ScopeId};
use super::states::States;
use super::{Run, View};
use crate::expr::{BYTES_PER_ROUND, ROUNDS_MAX};
use crate::{Event, EventKind, Plan, RunHead, SignalKey, SignalState, StateMut, StepId, StepState, Timestamp, fold};

/// Decisions in the making. Copies only what they touch.
pub(crate) struct Draft<'a> {
    pub(crate) run: &'a Run,
    /// The instant of the current decision.
    pub(crate) now: Timestamp,
    changed: Changed<'a>,
    pub(crate) index: Index<'a>,
    /// Scopes in which something changed, so that something may follow in them.
    touched: BTreeSet<ScopeId>,
    events: Vec<Event>,
    /// Payload bytes of the events, roughly.
    bytes: usize,
    parsed: RefCell<BTreeMap<(StepId, Part), Document>>,
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

impl States for Changed<'_> {
    fn plan(&self) -> &Plan {
        self.run.plan()
    }

    fn head(&self) -> &RunHead {
        &self.head
    }

    fn entry(&self, id: &StepId) -> Option<&StepState> {
        self.steps.get(id).or_else(|| self.run.step(id))
    }
}

impl States for Draft<'_> {
    fn plan(&self) -> &Plan {
        self.run.plan()
    }

    fn head(&self) -> &RunHead {
        &self.changed.head
    }

    fn entry(&self, id: &StepId) -> Option<&StepState> {
        self.changed.entry(id)
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(run: &'a Run) -> Self {
        Self {
            run,
            now: Timestamp::default(),
            changed: Changed { run, head: run.head().clone(), steps: BTreeMap::new(), signals: BTreeMap::new() },
            index: run.index.draft(),
            touched: BTreeSet::new(),
            events: Vec::new(),
            bytes: 0,
            parsed: RefCell::default(),
            rounds: Cell::new(0.0),
            rounds_of_step: Cell::new(0.0),
        }
    }

    /// Adds an event, and folds it, so that what follows is decided on the state after it.
    pub(crate) fn push(&mut self, kind: EventKind) {
        self.bytes += kind.bytes();
        let event = Event { time: self.now, kind };
        let instance = event.step().and_then(|id| Instance::of(self.run.plan(), id));
        let before = instance.map(|instance| {
            let standing = Standing::of(&self.changed, &instance);
            (instance, standing)
        });
        let Ok(()) = fold(&mut self.changed, &event);
        if let Some((instance, _)) = &before {
            for part in [Part::Output, Part::Items] {
                self.parsed.get_mut().remove(&(instance.id.clone(), part));
            }
            self.touched.insert(instance.scope.clone());
            if instance.step.kind.is_container() {
                self.touched.insert(Some(instance.id.clone()));
            }
            if let Some(undone) = instance.id.undoes() {
                self.touched.insert(Some(undone));
            }
        } else {
            self.touched.insert(None);
        }
        self.index.follow(&self.changed, &event, self.changed.head.seq, before);
        self.events.push(event);
    }

    pub(crate) fn head(&self) -> &RunHead {
        &self.changed.head
    }

    /// The entry of a step, if it was started; in whatever generation.
    pub(crate) fn step(&self, id: &StepId) -> Option<&StepState> {
        self.entry(id)
    }

    /// The digest of the definition that the run goes on with.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.head().migrated.as_ref().map_or(self.run.info().digest, |migrated| migrated.digest)
    }

    /// The entry of a signal.
    pub(crate) fn signal(&self, key: &SignalKey) -> Option<&SignalState> {
        self.changed.signals.get(key).or_else(|| self.run.signal(key))
    }

    /// What the expressions of a step see.
    pub(crate) fn view(&self, instance: &Instance<'_>) -> View<'_, 'a> {
        let within = if instance.item.is_some() { Some(instance.id.clone()) } else { instance.within() };
        View { draft: self, within, undoes: instance.id.undoes(), given: None }
    }

    /// What the expressions of the run see.
    pub(crate) fn view_of_run(&self) -> View<'_, 'a> {
        View { draft: self, within: None, undoes: None, given: None }
    }

    /// The next step that may begin. What has begun goes on before something else begins: inner scopes first, each in plan order.
    pub(crate) fn next_ready(&self) -> Option<Place> {
        let (scope, _) = self.index.ready.last()?;
        self.index.ready.from(Bound::Included(&(scope.clone(), 0))).next().map(|(place, ())| place.clone())
    }

    /// The next scope in which something may follow.
    pub(crate) fn take_touched(&mut self) -> Option<ScopeId> {
        // Inner scopes first: what they come to is news for the outer ones.
        self.touched.pop_last()
    }

    /// Something may follow in a scope, though nothing happened.
    pub(crate) fn touch(&mut self, scope: ScopeId) {
        self.touched.insert(scope);
    }

    pub(crate) fn has_any_open(&self) -> bool {
        self.index.open.first().is_some()
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

    pub(super) fn spend(&self, rounds: f64) -> Result<(), String> {
        self.rounds.set(self.rounds.get() + rounds);
        self.rounds_of_step.set(self.rounds_of_step.get() + rounds);
        if self.rounds_of_step.get() > ROUNDS_MAX {
            return Err(format!("the expressions of the step could take more than {ROUNDS_MAX:.0} rounds together"));
        }
        Ok(())
    }

    pub(super) fn spend_parsing(&self, state: &StepState) -> Result<(), String> {
        let payloads = [&state.output, &state.input, &state.checkpoint];
        let bytes: usize = payloads.into_iter().flatten().map(|payload| payload.data.len()).sum();
        self.spend(bytes as f64 / BYTES_PER_ROUND)
    }

    /// A document of a step, parsed at most once.
    pub(super) fn document(&self, id: &StepId, part: Part, state: &StepState) -> Document {
        let is_recorded = !self.changed.steps.contains_key(id);
        if is_recorded && let Some(document) = self.run.documents.known(id, part) {
            return document;
        }
        let key = (id.clone(), part);
        if let Some(document) = self.parsed.borrow().get(&key) {
            return document.clone();
        }
        let payload = match part {
            Part::Output => &state.output,
            Part::Items => &state.input,
        };
        self.spend(payload.as_ref().map_or(0.0, |payload| payload.data.len() as f64 / BYTES_PER_ROUND))?;
        let document = match part {
            Part::Output => documents::output(state),
            Part::Items => documents::items(state),
        };
        if is_recorded {
            self.run.documents.keep(id, part, &document);
        }
        self.parsed.borrow_mut().insert(key, document.clone());
        document
    }

    /// A JSON payload that comes with a command.
    pub(crate) fn parse(&self, payload: Option<&crate::Payload>, what: &str) -> Document {
        let Some(payload) = payload else { return Ok(Arc::new(Value::Null)) };
        self.spend(payload.data.len() as f64 / BYTES_PER_ROUND)?;
        documents::parse(payload, what)
    }
}
