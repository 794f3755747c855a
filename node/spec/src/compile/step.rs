//! Steps and what surrounds their kinds.

use quorus_engine::{AcceptedEnd, CompensationDefinition, ErrorMatch, NeedDefinition, RetryDefinition, RunOn, StepDefinition};
use quorus_proto::v1::{self, Compensation, Jitter, Need, RetryPolicy, Step};

use super::Compiler;

impl Compiler {
    /// `path` is that of the list.
    pub(super) fn steps(&mut self, path: &str, steps: &[Step]) -> Vec<StepDefinition> {
        steps.iter().enumerate().map(|(index, step)| self.step(&format!("{path}[{index}]"), step)).collect()
    }

    fn step(&mut self, path: &str, step: &Step) -> StepDefinition {
        let at = |name: &str| format!("{path}.{name}");
        StepDefinition {
            id: step.id.clone(),
            needs: step.needs.iter().enumerate().map(|(index, need)| self.need(&format!("{path}.needs[{index}]"), need)).collect(),
            condition: given(&step.r#if),
            with: self.template(&at("with"), step.with.as_ref()),
            kind: step.kind.as_ref().map(|kind| self.kind(path, kind)),
            retry: step.retry.as_ref().map(|retry| self.retry(&at("retry"), retry)),
            timeout: self.millis(&at("timeout"), step.timeout.as_ref()),
            attempt_timeout: self.millis(&at("attempt_timeout"), step.attempt_timeout.as_ref()),
            schedule_timeout: self.millis(&at("schedule_timeout"), step.schedule_timeout.as_ref()),
            heartbeat_timeout: self.millis(&at("heartbeat_timeout"), step.heartbeat_timeout.as_ref()),
            labels: step.labels.clone(),
            run_on: match self.choice(&at("run_on"), step.run_on) {
                v1::RunOn::Unspecified | v1::RunOn::Success => RunOn::Success,
                v1::RunOn::Failure => RunOn::Failure,
                v1::RunOn::Always => RunOn::Always,
            },
            continue_on_error: step
                .continue_on_error
                .as_ref()
                .map(|errors| ErrorMatch { any: errors.any, types: errors.types.clone() })
                .unwrap_or_default(),
            compensate: step.compensate.as_ref().map(|compensation| Box::new(self.compensation(&at("compensate"), compensation))),
            point_of_no_return: step.point_of_no_return,
            limits: step.limits.clone(),
            output_schema: self.json(&at("output_schema"), step.output_schema.as_ref()),
        }
    }

    fn need(&mut self, path: &str, need: &Need) -> NeedDefinition {
        let mut accept = Vec::with_capacity(need.accept.len());
        for (index, end) in need.accept.iter().enumerate() {
            match self.choice(&format!("{path}.accept[{index}]"), *end) {
                v1::Accept::Unspecified => {}
                v1::Accept::Succeeded => accept.push(AcceptedEnd::Succeeded),
                v1::Accept::Failed => accept.push(AcceptedEnd::Failed),
                v1::Accept::Skipped => accept.push(AcceptedEnd::Skipped),
            }
        }
        NeedDefinition { step: need.step.clone(), accept }
    }

    fn compensation(&mut self, path: &str, compensation: &Compensation) -> CompensationDefinition {
        let at = |name: &str| format!("{path}.{name}");
        CompensationDefinition {
            condition: given(&compensation.r#if),
            with: self.template(&at("with"), compensation.with.as_ref()),
            kind: compensation.kind.as_ref().map(|kind| self.compensation_kind(path, kind)),
            retry: compensation.retry.as_ref().map(|retry| self.retry(&at("retry"), retry)),
            timeout: self.millis(&at("timeout"), compensation.timeout.as_ref()),
            attempt_timeout: self.millis(&at("attempt_timeout"), compensation.attempt_timeout.as_ref()),
            schedule_timeout: self.millis(&at("schedule_timeout"), compensation.schedule_timeout.as_ref()),
            heartbeat_timeout: self.millis(&at("heartbeat_timeout"), compensation.heartbeat_timeout.as_ref()),
            labels: compensation.labels.clone(),
            limits: compensation.limits.clone(),
        }
    }

    fn retry(&mut self, path: &str, retry: &RetryPolicy) -> RetryDefinition {
        RetryDefinition {
            max_attempts: retry.max_attempts,
            initial_interval: self.millis(&format!("{path}.initial_interval"), retry.initial_interval.as_ref()),
            backoff_coefficient: retry.backoff_coefficient,
            max_interval: self.millis(&format!("{path}.max_interval"), retry.max_interval.as_ref()),
            jitter_none: self.choice::<Jitter>(&format!("{path}.jitter"), retry.jitter) == Jitter::None,
            non_retryable: retry.non_retryable.clone(),
        }
    }
}

/// Empty is how the message says "not set".
pub(super) fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
