//! The message to what the engine reads.
//!
//! Only what the message itself can get wrong is reported here (a template that is no JSON, a duration out of range, an enum value nobody
//! knows): a text can't hold any of these, but a program can send them. Everything else is the planner's.

use std::collections::BTreeMap;

use quorus_engine::{Definition, Kind, Millis, RetryDefinition, StepDefinition, Wait};
use quorus_proto::v1::{Jitter, RetryPolicy, Step, Template, WaitStep, Workflow, step, wait_step};

use crate::engine::Problem;

/// What an empty namespace means.
pub const DEFAULT_NAMESPACE: &str = "default";
/// About 10,000 years, as on the wire.
const SECONDS_MAX: i64 = 315_576_000_000;

/// Turns a message into a definition, which is not checked any further.
///
/// # Errors
/// Lists every part that has no meaning as a definition.
pub fn compile(workflow: &Workflow) -> Result<Definition, Vec<Problem>> {
    match lenient(workflow) {
        (definition, problems) if problems.is_empty() => Ok(definition),
        (_, problems) => Err(problems),
    }
}

/// The definition without the parts that have no meaning, so that the planner can find more.
pub(crate) fn lenient(workflow: &Workflow) -> (Definition, Vec<Problem>) {
    let mut compiler = Compiler::default();
    let metadata = workflow.metadata.clone().unwrap_or_default();
    let spec = workflow.spec.as_ref();
    let definition = Definition {
        namespace: if metadata.namespace.is_empty() { DEFAULT_NAMESPACE.into() } else { metadata.namespace },
        name: metadata.name,
        labels: metadata.labels,
        timeout: spec.and_then(|spec| compiler.millis("spec.timeout", spec.timeout.as_ref())),
        steps: spec.map_or_else(Vec::new, |spec| {
            spec.steps.iter().enumerate().map(|(index, step)| compiler.step(&format!("spec.steps[{index}]"), step)).collect()
        }),
        output: spec.and_then(|spec| compiler.template("spec.output", spec.output.as_ref())),
    };
    (definition, compiler.problems)
}

#[derive(Default)]
struct Compiler {
    problems: Vec<Problem>,
}

impl Compiler {
    fn step(&mut self, path: &str, step: &Step) -> StepDefinition {
        let at = |name: &str| format!("{path}.{name}");
        StepDefinition {
            id: step.id.clone(),
            needs: step.needs.iter().map(|need| need.step.clone()).collect(),
            condition: (!step.r#if.is_empty()).then(|| step.r#if.clone()),
            with: self.template(&at("with"), step.with.as_ref()),
            kind: step.kind.as_ref().map(|kind| self.kind(path, kind)),
            retry: step.retry.as_ref().map(|retry| self.retry(&at("retry"), retry)),
            timeout: self.millis(&at("timeout"), step.timeout.as_ref()),
            attempt_timeout: self.millis(&at("attempt_timeout"), step.attempt_timeout.as_ref()),
            schedule_timeout: self.millis(&at("schedule_timeout"), step.schedule_timeout.as_ref()),
            heartbeat_timeout: self.millis(&at("heartbeat_timeout"), step.heartbeat_timeout.as_ref()),
            labels: step.labels.clone().into_iter().collect::<BTreeMap<_, _>>(),
        }
    }

    fn kind(&mut self, path: &str, kind: &step::Kind) -> Kind {
        match kind {
            step::Kind::Task(task) => Kind::Task { task_type: task.r#type.clone(), queue: task.queue.clone(), priority: task.priority },
            step::Kind::Wait(wait) => Kind::Wait(self.wait(&format!("{path}.wait"), wait)),
            step::Kind::Set(template) => Kind::Set(self.template(&format!("{path}.set"), Some(template)).unwrap_or_default()),
        }
    }

    fn wait(&mut self, path: &str, wait: &WaitStep) -> Wait {
        match &wait.when {
            None => Wait::Missing,
            Some(wait_step::When::For(duration)) => self.millis(&format!("{path}.for"), Some(duration)).map_or(Wait::Missing, Wait::For),
            Some(wait_step::When::ForExpression(source)) => Wait::ForExpression(source.clone()),
            Some(wait_step::When::Until(time)) => Wait::Until(time.clone()),
        }
    }

    fn retry(&mut self, path: &str, retry: &RetryPolicy) -> RetryDefinition {
        if Jitter::try_from(retry.jitter).is_err() {
            let message = format!("{} is no kind of jitter", retry.jitter);
            self.problems.push(Problem::error(format!("{path}.jitter"), "unknown-value", message).with_hint("one of: `full`, `none`"));
        }
        RetryDefinition {
            max_attempts: retry.max_attempts,
            initial_interval: self.millis(&format!("{path}.initial_interval"), retry.initial_interval.as_ref()),
            backoff_coefficient: retry.backoff_coefficient,
            max_interval: self.millis(&format!("{path}.max_interval"), retry.max_interval.as_ref()),
            jitter_none: retry.jitter() == Jitter::None,
            non_retryable: retry.non_retryable.clone(),
        }
    }

    /// Durations are kept in whole milliseconds; what is shorter becomes one, so that a timeout never becomes none.
    fn millis(&mut self, path: &str, duration: Option<&prost_types::Duration>) -> Option<Millis> {
        let duration = duration?;
        let in_range = (0..=SECONDS_MAX).contains(&duration.seconds) && (0..1_000_000_000).contains(&duration.nanos);
        if !in_range {
            let message = format!("`{path}` is negative, or longer than 10,000 years");
            self.problems.push(Problem::error(path, "bad-duration", message));
            return None;
        }
        let seconds = u64::try_from(duration.seconds).unwrap_or_default();
        let nanos = u64::try_from(duration.nanos).unwrap_or_default();
        Some(Millis(seconds * 1000 + nanos.div_ceil(1_000_000)))
    }

    fn template(&mut self, path: &str, template: Option<&Template>) -> Option<serde_json::Value> {
        match serde_json::from_str(&template?.json) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(Problem::error(path, "bad-json", format!("`{path}` is not JSON: {error}")));
                None
            }
        }
    }
}
