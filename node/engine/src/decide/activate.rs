//! Starts a step that became ready.

use serde_json::Value;

use super::schedule::FirstTime;
use super::{Decider, reserved};
use crate::expr::{parse_duration, parse_timestamp};
use crate::{
    EvaluationError, EventKind, Failure, Payload, PlannedKind, PlannedStep, PlannedWait, SkipCause, StepStatus, Timestamp, failure_type,
};

impl Decider<'_, '_, '_> {
    /// Skips, ends, sleeps, queues or leases the step.
    pub(super) fn activate(&mut self, index: usize) {
        let plan = self.draft.run.plan();
        let step = &plan.steps[index];
        self.draft.begin_step();
        if self.draft.is_blocked(index) {
            return self.skip(step, SkipCause::Upstream);
        }
        match step.condition.as_ref().map(|condition| condition.evaluate_bool(self.draft)) {
            Some(Ok(false)) => return self.skip(step, SkipCause::If),
            Some(Err(error)) => return self.fail_step(&step.id, error.into_failure("if")),
            Some(Ok(true)) | None => {}
        }
        let step_deadline = step.timeout.map(|timeout| self.context.now.plus(timeout));
        match &step.kind {
            PlannedKind::Set(value) => match value.0.render(self.draft).map(|value| Payload::json(&value)) {
                Ok(output) if output.data.len() <= Payload::BYTES_MAX => self.succeed(step, Some(output)),
                Ok(_) | Err(EvaluationError::TooLarge) => {
                    self.fail_step(&step.id, permanent(failure_type::OUTPUT_TOO_LARGE, "set: the value is larger than 2 MiB"));
                }
                Err(error) => self.fail_step(&step.id, error.into_failure("set")),
            },
            PlannedKind::Wait(wait) => match self.wake_time(wait) {
                Ok(until) if until <= self.context.now => self.succeed(step, None),
                Ok(until) => self.push(EventKind::StepWaiting { step: step.id.clone(), until, step_deadline }),
                Err(failure) => self.fail_step(&step.id, failure),
            },
            PlannedKind::Task(task) => match task.with.as_ref().map(|with| with.render(self.draft)).transpose() {
                Ok(input) => {
                    let input = input.map(|input| Payload::json(&input));
                    if input.as_ref().is_some_and(|input| input.data.len() > Payload::BYTES_MAX) {
                        return self.fail_step(&step.id, permanent(failure_type::INPUT_TOO_LARGE, "with: the value is larger than 2 MiB"));
                    }
                    self.schedule(step, task, FirstTime { input, step_deadline });
                }
                Err(error) => self.fail_step(&step.id, error.into_failure("with")),
            },
            other => {
                let message = format!("`{}` steps can't be executed yet", other.name());
                self.fail_step(&step.id, permanent(failure_type::EXPRESSION, &message));
            }
        }
    }

    fn skip(&mut self, step: &PlannedStep, cause: SkipCause) {
        self.push(EventKind::StepEnded {
            step: step.id.clone(),
            status: StepStatus::Skipped,
            output: None,
            failure: None,
            skip: Some(cause),
            handled: false,
            undo: false,
        });
    }

    pub(super) fn succeed(&mut self, step: &PlannedStep, output: Option<Payload>) {
        self.push(EventKind::StepEnded { step: step.id.clone(), status: StepStatus::Succeeded, output, failure: None, skip: None, handled: false, undo: false });
    }

    fn wake_time(&self, wait: &PlannedWait) -> Result<Timestamp, Failure> {
        match wait {
            PlannedWait::For(duration) => Ok(self.context.now.plus(*duration)),
            PlannedWait::ForExpression(expression) => {
                let value = expression.0.evaluate(self.draft).map_err(|error| error.into_failure("wait.for"))?;
                let duration = text(&value).and_then(parse_duration);
                duration
                    .map(|duration| self.context.now.plus(duration))
                    .ok_or_else(|| permanent(failure_type::EXPRESSION, "wait.for: the value is not a duration such as \"90s\""))
            }
            PlannedWait::Until(template) => {
                let value = template.0.render(self.draft).map_err(|error| error.into_failure("wait.until"))?;
                text(&value)
                    .and_then(parse_timestamp)
                    .ok_or_else(|| permanent(failure_type::EXPRESSION, "wait.until: the value is not an RFC 3339 time"))
            }
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

/// Nothing was done yet, and another try would see the same.
fn permanent(kind: &str, message: &str) -> Failure {
    Failure { non_retryable: true, nothing_done: true, ..reserved(kind, message) }
}
