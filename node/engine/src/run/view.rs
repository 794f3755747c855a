//! What the expressions of one step see: the state of a draft, from where the step is.

use std::sync::Arc;

use serde_json::Value;

use super::Draft;
use super::documents::{self, Document, Part};
use super::instance::{self, Instance};
use super::states::States;
use crate::expr::{Root, Scope, format_timestamp};
use crate::{StepId, StepState, StepStatus, Timestamp};

/// See the module.
pub(crate) struct View<'v, 'd> {
    pub(crate) draft: &'v Draft<'d>,
    /// The items around the reader.
    pub(crate) within: Option<StepId>,
    /// What the reader undoes.
    pub(crate) undoes: Option<StepId>,
    /// A document of the moment: the signal that is matched, or what a child returned.
    pub(crate) given: Option<Arc<Value>>,
}

impl View<'_, '_> {
    fn step(&self, index: usize) -> Option<(StepId, &StepState)> {
        let plan = self.draft.run.plan();
        let id = instance::seen_from(plan, self.within.as_ref(), &plan.steps[index]);
        let instance = Instance::of(plan, &id)?;
        let state = self.draft.current(&instance)?;
        Some((id, state))
    }

    fn output(&self, index: usize) -> Document {
        let Some((id, state)) = self.step(index) else { return Ok(Arc::new(Value::Null)) };
        if !state.status.is_final() {
            return Ok(Arc::new(Value::Null));
        }
        self.draft.document(&id, Part::Output, state)
    }

    /// The container's item that the reader is in.
    fn item(&self, container: usize) -> Document {
        let plan = self.draft.run.plan();
        let Some((id, position)) = instance::item_around(plan, self.within.as_ref(), &plan.steps[container]) else {
            return Err("there is no item here".to_owned());
        };
        let Some(state) = self.draft.entry(&id) else { return Ok(Arc::new(Value::Null)) };
        let items = self.draft.document(&id, Part::Items, state)?;
        Ok(Arc::new(items.get(position as usize).cloned().unwrap_or_default()))
    }

    fn undone(&self) -> Document {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let plan = self.draft.run.plan();
        let Some((id, state)) = self.undoes.as_ref().and_then(|id| Some((id, self.draft.entry(id)?))) else {
            return Ok(Arc::new(Value::Null));
        };
        let around = Instance::of(plan, id).and_then(|instance| {
            instance::ancestors(plan, instance.step).find(|container| instance::has_items(container)).map(|container| container.index)
        });
        self.draft.spend_parsing(state)?;
        documents::undone(state, around.map_or_else(|| Ok(Arc::new(Value::Null)), |container| self.item(container)))
    }
}

impl Scope for View<'_, '_> {
    fn document(&self, root: Root) -> Document {
        let plan = self.draft.run.plan();
        let value = |value: Value| Ok(Arc::new(value));
        match root {
            Root::Input => self.draft.run.documents.input(self.draft.run.info()),
            Root::Run => self.draft.run.documents.run(self.draft.run.info(), self.started_at()),
            Root::RunStatus => value(documents::run_status(self.draft.head()).into()),
            Root::RunError => value(documents::run_error(self.draft.head())),
            Root::Now => value(format_timestamp(self.draft.now).into()),
            Root::Output(index) => self.output(index),
            Root::Status(index) => value(self.step(index).map_or(StepStatus::Pending, |(_, state)| state.status).name().into()),
            Root::Error(index) => value(self.step(index).map_or(Value::Null, |(_, state)| documents::error(state))),
            Root::Item(container) => self.item(container),
            Root::Index(container) => {
                let item = instance::item_around(plan, self.within.as_ref(), &plan.steps[container]);
                item.map_or_else(|| Err("there is no item here".to_owned()), |(_, position)| value(position.into()))
            }
            Root::Signal => self.given.clone().ok_or_else(|| "there is no signal here".to_owned()),
            Root::This => self.undone(),
            Root::Named(_) => Err("it is not available here".to_owned()),
        }
    }

    fn now(&self) -> Timestamp {
        self.draft.now
    }

    fn started_at(&self) -> Timestamp {
        self.draft.head().started_at
    }

    fn spend(&self, rounds: f64) -> Result<(), String> {
        self.draft.spend(rounds)
    }
}
