//! From a definition to a plan.

use std::collections::BTreeMap;

use serde_json::Value;

use super::PlannedTask;
use super::check_graph::{self, Ancestors};
use super::expressions::Compiler;
use super::types::{Accept, PlannedExpression, PlannedNeed, PlannedTemplate, Role};
use super::{Plan, PlannedKind, PlannedStep, PlannedWait, Problem, RetryPolicy, check_fields, check_names};
use crate::expr::{Template, parse_timestamp};
use crate::{Definition, Kind, Millis, RetryDefinition, StepDefinition, StepId, TaskDefinition, Wait};

/// An attempt that says nothing for this long has lost its purpose.
const ATTEMPT_TIMEOUT: Millis = Millis(60 * 60 * 1_000);
/// A queue without workers is somebody's mistake; a day is enough to notice.
const SCHEDULE_TIMEOUT: Millis = Millis(24 * 60 * 60 * 1_000);
const QUEUE: &str = "default";
const PRIORITY: u8 = 3;

/// Checks a definition and makes a plan of it. An error has everything that is wrong, and the warnings, in the order of the definition;
/// the warnings of a good definition are in [`Plan::warnings`].
pub fn plan(definition: &Definition) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let by_id = check_names::check(definition, &mut problems);
    let needs = check_names::needs(definition, &by_id, &mut problems);
    check_fields::check(definition, &mut problems);
    check_graph::cycles(definition, &needs, &mut problems);
    let graph = check_graph::order(&needs);

    let mut compiler = Compiler::new(&by_id);
    let compiled: Vec<_> =
        definition.steps.iter().enumerate().map(|(index, step)| compile(index, step, &mut compiler, &mut problems)).collect();
    let output = definition.output.as_ref().map(|output| compiler.template(None, "spec.output", output, &mut problems));
    // Within a cycle nobody comes before anybody, which would only repeat the news.
    if graph.order.len() == needs.len() {
        let ids: Vec<&str> = definition.steps.iter().map(|step| step.id.as_str()).collect();
        compiler.check_reads(&ids, &mut Ancestors::new(&needs, &graph.order), &mut problems);
    }
    problems.sort_by_cached_key(place);
    if problems.iter().any(|problem| !problem.warning) {
        return Err(problems);
    }

    let mut steps = Vec::with_capacity(compiled.len());
    let mut ids = BTreeMap::new();
    let rest = needs.into_iter().zip(graph.dependents).zip(graph.levels);
    for (index, ((step, (condition, kind)), ((needs, dependents), level))) in definition.steps.iter().zip(compiled).zip(rest).enumerate() {
        let id = StepId::from(step.id.as_str());
        ids.insert(id.clone(), index);
        // Without errors every step has its kind.
        let Some(kind) = kind else { continue };
        steps.push(PlannedStep {
            id,
            index,
            path: format!("spec.steps[{index}]"),
            parent: None,
            role: Role::Body,
            body: Vec::new(),
            needs: needs.into_iter().map(|index| PlannedNeed { index, accept: Accept::default() }).collect(),
            dependents,
            level,
            kind,
            retry: None,
            timeout: step.timeout,
            run_on: step.run_on,
            continue_on_error: step.continue_on_error.clone(),
            point_of_no_return: step.point_of_no_return,
            compensation: None,
            limits: step.limits.clone(),
            labels: step.labels.clone(),
            condition,
        });
    }
    Ok(Plan {
        namespace: definition.namespace.clone(),
        name: definition.name.clone(),
        labels: definition.labels.clone(),
        timeout: definition.timeout,
        compensation_timeout: definition.compensation_timeout,
        retention: definition.retention,
        on_failure: definition.on_failure,
        concurrency: None,
        budget: definition.budget.clone(),
        input_schema: definition.input_schema.clone(),
        signals: definition.signals.clone(),
        body: (0..steps.len()).collect(),
        finally: Vec::new(),
        on_attention: Vec::new(),
        steps,
        warnings: problems,
        output,
        by_id: ids,
    })
}

type Compiled = (Option<crate::expr::Expression>, Option<PlannedKind>);

fn compile(index: usize, step: &StepDefinition, compiler: &mut Compiler<'_>, problems: &mut Vec<Problem>) -> Compiled {
    let path = format!("spec.steps[{index}]");
    let reader = Some(index);
    let condition = step.condition.as_ref().and_then(|source| compiler.expression(reader, &format!("{path}.if"), source, problems));
    let with = step.with.as_ref().map(|with| compiler.template(reader, &format!("{path}.with"), with, problems));
    let kind = match &step.kind {
        None => None,
        Some(Kind::Task(TaskDefinition { task_type, queue, priority, selectors, .. })) => Some(PlannedKind::Task(Box::new(PlannedTask {
            task_type: task_type.clone(),
            queue: if queue.is_empty() { QUEUE.to_owned() } else { queue.clone() },
            priority: u8::try_from(*priority).ok().filter(|priority| *priority > 0).unwrap_or(PRIORITY),
            retry: step.retry.as_ref().map(retry).unwrap_or_default(),
            attempt_timeout: step.attempt_timeout.unwrap_or(ATTEMPT_TIMEOUT),
            schedule_timeout: step.schedule_timeout.unwrap_or(SCHEDULE_TIMEOUT),
            heartbeat_timeout: step.heartbeat_timeout,
            selectors: selectors.clone(),
            pools: Vec::new(),
            builtin: None,
            secrets: Vec::new(),
            with,
        }))),
        Some(Kind::Wait(wait)) => compile_wait(reader, &path, wait, compiler, problems).map(PlannedKind::Wait),
        Some(Kind::Set(value)) => {
            Some(PlannedKind::Set(PlannedTemplate(compiler.template(reader, &format!("{path}.set"), value, problems))))
        }
        Some(other) => {
            problems.push(Problem::error(&path, "unsupported", format!("{other:?} can't be planned yet")));
            None
        }
    };
    (condition, kind)
}

fn compile_wait(
    reader: Option<usize>,
    path: &str,
    wait: &Wait,
    compiler: &mut Compiler<'_>,
    problems: &mut Vec<Problem>,
) -> Option<PlannedWait> {
    match wait {
        Wait::Missing => None,
        Wait::For(duration) => Some(PlannedWait::For(*duration)),
        Wait::ForExpression(source) => {
            let expression = compiler.expression(reader, &format!("{path}.wait.for"), source, problems)?;
            Some(PlannedWait::ForExpression(PlannedExpression(expression)))
        }
        Wait::Until(text) => {
            let path = format!("{path}.wait.until");
            let template = compiler.template(reader, &path, &Value::String(text.clone()), problems);
            if matches!(template, Template::Literal(Value::String(_))) && parse_timestamp(text).is_none() {
                let problem = Problem::error(path, "invalid-time", format!("`{}` is not an RFC 3339 time", text.escape_debug()));
                problems.push(problem.with_hint("for example 2026-01-31T18:00:00Z"));
            }
            Some(PlannedWait::Until(PlannedTemplate(template)))
        }
    }
}

fn retry(written: &RetryDefinition) -> RetryPolicy {
    let default = RetryPolicy::default();
    RetryPolicy {
        max_attempts: u32::try_from(written.max_attempts).ok().filter(|attempts| *attempts > 0).unwrap_or(default.max_attempts),
        initial_interval: written.initial_interval.unwrap_or(default.initial_interval),
        backoff_coefficient: if written.backoff_coefficient == 0.0 { default.backoff_coefficient } else { written.backoff_coefficient },
        max_interval: written.max_interval.unwrap_or(default.max_interval),
        jitter: !written.jitter_none,
        non_retryable: written.non_retryable.clone(),
    }
}

/// Sorts problems by step, so that a reader can follow the definition from top to bottom.
fn place(problem: &Problem) -> (bool, usize) {
    let step = problem.path.strip_prefix("spec.steps[").and_then(|rest| rest.split(']').next()).and_then(|index| index.parse().ok());
    let is_output = problem.path.starts_with("spec.output");
    (is_output, step.map_or(0, |step: usize| step + 1))
}
