//! Begins a step that became ready.

use std::sync::Arc;

use serde_json::Value;

use super::schedule::FirstTime;
use super::{Decider, End, permanent};
use crate::expr::{parse_duration, parse_timestamp};
use crate::run::{Instance, States, Verdict, verdict};
use crate::{
    EvaluationError, EventKind, Failure, Payload, Phase, PlannedFail, PlannedKind, PlannedTask, PlannedTemplate, PlannedWait, RunOn,
    SkipCause, StepStatus, Timestamp, failure_type,
};

impl<'d> Decider<'_, 'd, '_> {
    /// Skips, ends, sleeps, waits, queues or leases the step, or begins what is in it.
    pub(super) fn activate(&mut self, instance: &Instance<'d>) {
        let step = instance.step;
        self.open_generation(instance);
        self.draft.begin_step();
        if instance.item.is_some() {
            return self.start_item(instance);
        }
        if let Verdict::Skip(cause) = self.verdict(instance) {
            return self.end(instance, End { skip: Some(cause), ..End::of(StepStatus::Skipped) });
        }
        if self.is_only_observed(instance) {
            return self.end(instance, End::of(StepStatus::Cancelled));
        }
        match step.condition.as_ref().map(|condition| condition.evaluate_bool(&self.draft.view(instance))) {
            Some(Ok(false)) => return self.end(instance, End { skip: Some(SkipCause::If), ..End::of(StepStatus::Skipped) }),
            Some(Err(error)) => return self.fail_step(instance, error.into_failure("if")),
            Some(Ok(true)) | None => {}
        }
        self.execute(instance);
    }

    fn execute(&mut self, instance: &Instance<'d>) {
        let step = instance.step;
        let step_deadline = self.step_deadline(instance);
        match &step.kind {
            PlannedKind::Set(value) => match self.render(instance, value, "set") {
                Ok(output) => self.succeed(instance, Some(output)),
                Err(failure) => self.fail_step(instance, failure),
            },
            PlannedKind::Wait(wait) => match self.wake_time(instance, wait) {
                Ok(until) if until <= self.context.now => self.succeed(instance, None),
                Ok(until) => self.push(EventKind::StepWaiting { step: instance.id.clone(), until, step_deadline }),
                Err(failure) => self.fail_step(instance, failure),
            },
            PlannedKind::Task(task) => match self.input(instance, task) {
                Ok(input) => self.schedule(instance, task, FirstTime { input, step_deadline }),
                Err(failure) => self.fail_step(instance, failure),
            },
            PlannedKind::Signal(signal) => self.await_signal(instance, signal, step_deadline),
            PlannedKind::Approval(_) => self.push(EventKind::StepAwaiting { step: instance.id.clone(), step_deadline }),
            PlannedKind::Group(_) | PlannedKind::ForEach(_) | PlannedKind::Repeat(_) => self.start_scope(instance),
            PlannedKind::Workflow(child) => self.request_child(instance, child),
            PlannedKind::Fail(fail) => {
                let failure = self.failure_of(instance, fail).unwrap_or_else(|failure| failure);
                self.fail_step(instance, failure);
            }
        }
    }

    /// An entry that is left from an earlier generation makes room for this one.
    pub(super) fn open_generation(&mut self, instance: &Instance<'d>) {
        let Some(epoch) = self.draft.epoch(instance) else { return };
        let generation = match self.draft.entry(&instance.id) {
            Some(state) if state.epoch == epoch => return,
            Some(state) => state.generation + 1,
            None if epoch == 0 => return,
            None => 0,
        };
        self.push(EventKind::StepReopened { step: instance.id.clone(), generation, epoch });
    }

    fn verdict(&self, instance: &Instance<'d>) -> Verdict {
        let plan = self.draft.run.plan();
        let nothing = Arc::new(crate::StepState::default());
        let needs = instance.step.needs.iter().map(|need| {
            let id = crate::run::in_scope(&instance.scope, &plan.steps[need.index]);
            (need.accept, self.draft.entry(&id).unwrap_or(&nothing))
        });
        verdict(instance.step.run_on, needs)
    }

    /// In a scope that fails only the steps begin that observe it.
    fn is_only_observed(&self, instance: &Instance<'d>) -> bool {
        instance.is_body() && instance.step.run_on == RunOn::Success && self.phase(&instance.scope) == Phase::Observing
    }

    /// From the first time that it was ready.
    pub(super) fn step_deadline(&self, instance: &Instance<'d>) -> Option<Timestamp> {
        let ready_at = self.draft.current(instance).and_then(|state| state.ready_at).unwrap_or(self.context.now);
        instance.step.timeout.map(|timeout| ready_at.plus(timeout))
    }

    /// Renders a template to an output.
    pub(super) fn render(&self, instance: &Instance<'d>, template: &PlannedTemplate, what: &str) -> Result<Payload, Failure> {
        output(template.0.render(&self.draft.view(instance)), what)
    }

    fn input(&self, instance: &Instance<'d>, task: &PlannedTask) -> Result<Option<Payload>, Failure> {
        let Some(with) = &task.with else { return Ok(None) };
        let input = with.render(&self.draft.view(instance)).map_err(|error| error.into_failure("with"))?;
        bounded_input(Payload::json(&input), "with").map(Some)
    }

    fn wake_time(&self, instance: &Instance<'d>, wait: &PlannedWait) -> Result<Timestamp, Failure> {
        let view = self.draft.view(instance);
        match wait {
            PlannedWait::For(duration) => Ok(self.context.now.plus(*duration)),
            PlannedWait::ForExpression(expression) => {
                let value = expression.0.evaluate(&view).map_err(|error| error.into_failure("wait.for"))?;
                let duration = value.as_str().and_then(parse_duration);
                duration
                    .map(|duration| self.context.now.plus(duration))
                    .ok_or_else(|| permanent(failure_type::EXPRESSION, "wait.for: the value is not a duration such as \"90s\""))
            }
            PlannedWait::Until(template) => {
                let value = template.0.render(&view).map_err(|error| error.into_failure("wait.until"))?;
                value
                    .as_str()
                    .and_then(parse_timestamp)
                    .ok_or_else(|| permanent(failure_type::EXPRESSION, "wait.until: the value is not an RFC 3339 time"))
            }
        }
    }

    fn failure_of(&self, instance: &Instance<'d>, fail: &PlannedFail) -> Result<Failure, Failure> {
        let view = self.draft.view(instance);
        let text = |template: &PlannedTemplate, what: &str| match template.0.render(&view) {
            Ok(Value::String(text)) => Ok(text),
            Ok(other) => Ok(other.to_string()),
            Err(error) => Err(error.into_failure(what)),
        };
        let (kind, message) = (text(&fail.failure_type, "fail.type")?, text(&fail.message, "fail.message")?);
        Ok(permanent(&kind, &message))
    }
}

/// A value that is to be an output.
pub(super) fn output(value: Result<Value, EvaluationError>, what: &str) -> Result<Payload, Failure> {
    let too_large = || permanent(failure_type::OUTPUT_TOO_LARGE, &format!("{what}: the value is larger than 2 MiB"));
    match value.map(|value| Payload::json(&value)) {
        Ok(output) if output.data.len() <= Payload::BYTES_MAX => Ok(output),
        Ok(_) | Err(EvaluationError::TooLarge) => Err(too_large()),
        Err(error) => Err(error.into_failure(what)),
    }
}

/// A value that is to be given to something.
pub(super) fn bounded_input(input: Payload, what: &str) -> Result<Payload, Failure> {
    if input.data.len() > Payload::BYTES_MAX {
        return Err(permanent(failure_type::INPUT_TOO_LARGE, &format!("{what}: the value is larger than 2 MiB")));
    }
    Ok(input)
}
