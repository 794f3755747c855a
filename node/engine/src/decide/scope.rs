//! Begins what is in a container: a group, items, iterations.

use serde_json::Value;

use super::activate::bounded_input;
use super::{Decider, permanent};
use crate::run::{Instance, States};
use crate::{EventKind, Failure, Payload, PlannedForEach, PlannedKind, Timestamp, failure_type};

impl<'d> Decider<'_, 'd, '_> {
    /// For its first try, or again.
    pub(super) fn start_scope(&mut self, instance: &Instance<'d>) {
        let (input, total) = match &instance.step.kind {
            PlannedKind::ForEach(items) => match self.items(instance, items) {
                Ok((list, total)) => (Some(list), total),
                Err(failure) => return self.fail_step(instance, failure),
            },
            PlannedKind::Repeat(repeat) => (None, repeat.max_iterations),
            _ => (None, 0),
        };
        let step_deadline = self.step_deadline(instance);
        self.push_scope(instance, input, total, step_deadline);
    }

    /// An item waits for its distance to the one before, an iteration for the pause.
    pub(super) fn start_item(&mut self, instance: &Instance<'d>) {
        match self.earliest(instance).filter(|earliest| *earliest > self.context.now) {
            Some(until) => self.push(EventKind::StepWaiting { step: instance.id.clone(), until, step_deadline: None }),
            None => self.push_scope(instance, None, 0, None),
        }
    }

    fn push_scope(&mut self, instance: &Instance<'d>, input: Option<Payload>, total: u32, step_deadline: Option<Timestamp>) {
        let attempt = self.draft.current(instance).map_or(0, |state| state.attempt) + 1;
        self.push(EventKind::ScopeStarted { step: instance.id.clone(), attempt, input, total, step_deadline });
    }

    /// The list is evaluated once, and recorded.
    fn items(&self, instance: &Instance<'d>, items: &PlannedForEach) -> Result<(Payload, u32), Failure> {
        let value = items.items.0.render(&self.draft.view(instance)).map_err(|error| error.into_failure("for_each.in"))?;
        let Value::Array(list) = &value else {
            let is = match value {
                Value::Null => "null",
                Value::Bool(_) => "a bool",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                Value::Object(_) | Value::Array(_) => "an object",
            };
            return Err(permanent(failure_type::NOT_A_LIST, &format!("for_each.in: the value is {is}, not a list")));
        };
        let total = u32::try_from(list.len()).unwrap_or(u32::MAX);
        Ok((bounded_input(Payload::json(&value), "for_each.in")?, total))
    }

    /// When an item may begin.
    fn earliest(&self, instance: &Instance<'d>) -> Option<Timestamp> {
        let (container, position) = instance.id.as_item()?;
        let before = Instance::of(self.draft.run.plan(), &container.item(position.checked_sub(1)?))?;
        let before = self.draft.current(&before)?;
        match &instance.step.kind {
            PlannedKind::ForEach(items) => Some(before.started_at?.plus(items.stagger?)),
            PlannedKind::Repeat(repeat) => Some(before.ended_at?.plus(repeat.interval?)),
            _ => None,
        }
    }
}
