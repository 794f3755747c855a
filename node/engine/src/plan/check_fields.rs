//! Fields around the kind: does the kind know them, and are their values possible?

use super::check_names::word;
use super::flatten::{Flat, Source, Vertex};
use super::matrix::{FIELDS, kind_name};
use super::types::Role;
use super::{Problem, did_you_mean};
use crate::{Definition, Kind, Millis, OnConflict, RetryDefinition, RunOn, StepDefinition};

/// Unbounded retry does not exist.
const ATTEMPTS_MAX: i32 = 1_000;

/// Checks the workflow's own fields, and each step's.
pub(super) fn check(definition: &Definition, flat: &Flat<'_>, problems: &mut Vec<Problem>) {
    for (field, value) in [("timeout", definition.timeout), ("compensation_timeout", definition.compensation_timeout)] {
        if value == Some(Millis(0)) {
            problems.push(zero(format!("spec.{field}"), field));
        }
    }
    concurrency(definition, problems);
    if let Some(budget) = &definition.budget {
        word("spec.budget.unit", "the unit", &budget.unit, "invalid-budget", problems);
        if !(budget.limit.is_finite() && budget.limit > 0.0) {
            let message = format!("{} can't be a budget", budget.limit);
            problems.push(Problem::error("spec.budget.limit", "invalid-budget", message).with_hint("a number above 0"));
        } else {
            problems.push(not_enforced("spec.budget".to_owned(), "budget"));
        }
    }
    for vertex in &flat.vertices {
        match vertex.source {
            Source::Step(step) => check_step(vertex, step, problems),
            Source::Compensation(undo, _) => {
                let path = &vertex.path;
                if undo.kind.is_none() {
                    let message = "the compensation has no kind";
                    let hint = "give it exactly one of task, http, gate and emit";
                    problems.push(Problem::error(path, "missing-kind", message).with_hint(hint));
                }
                if undo.with.is_some() && !matches!(undo.kind, Some(Kind::Task(_)) | None) {
                    not_allowed(path, "with", undo.kind.as_ref().map_or("", kind_name), &["task"], problems);
                }
                if undo.heartbeat_timeout.is_some() && !matches!(undo.kind, Some(Kind::Task(_)) | None) {
                    not_allowed(path, "heartbeat_timeout", undo.kind.as_ref().map_or("", kind_name), &["task"], problems);
                }
                let times = Times {
                    timeout: undo.timeout,
                    attempt: undo.attempt_timeout,
                    schedule: undo.schedule_timeout,
                    heartbeat: undo.heartbeat_timeout,
                };
                check_times(path, &times, problems);
                if let Some(retry) = &undo.retry {
                    check_retry(&format!("{path}.retry"), retry, problems);
                }
                check_limits(path, &undo.limits, problems);
            }
            Source::Guard(_) => {}
        }
    }
    check_accepted(flat, problems);
}

fn concurrency(definition: &Definition, problems: &mut Vec<Problem>) {
    let Some(concurrency) = &definition.concurrency else { return };
    if concurrency.key.is_empty() {
        let message = "the key that runs share is missing";
        problems.push(Problem::error("spec.concurrency.key", "missing-key", message).with_hint("for example \"${input.service}\""));
    }
    if concurrency.max_wait.is_some() && concurrency.on_conflict != OnConflict::Queue {
        let message = "only `on_conflict: queue` waits, so `max_wait` has no meaning";
        problems.push(Problem::error("spec.concurrency.max_wait", "field-not-allowed", message));
    }
}

fn check_step(vertex: &Vertex<'_>, step: &StepDefinition, problems: &mut Vec<Problem>) {
    let path = &vertex.path;
    match &step.kind {
        None => {
            let message = format!("the step `{}` has no kind", step.id);
            let hint = format!("give it exactly one of {}", super::KINDS.join(", "));
            problems.push(Problem::error(path, "missing-kind", message).with_hint(hint));
        }
        Some(kind) => {
            let name = kind_name(kind);
            for (field, kinds) in FIELDS {
                if is_present(step, field) && !kinds.contains(&name) {
                    not_allowed(path, field, name, kinds, problems);
                }
            }
        }
    }
    if vertex.role != Role::Body {
        for (field, present) in [("compensate", step.compensate.is_some()), ("point_of_no_return", step.point_of_no_return)] {
            if present {
                let message = format!("a step of `{}` has no `{field}`: nothing is undone after it", vertex.role.name());
                problems.push(Problem::error(format!("{path}.{field}"), "field-not-allowed", message));
            }
        }
    }
    if step.run_on != RunOn::Success && step.needs.is_empty() {
        let message = "`run_on` is about how the needs end, and there are none";
        problems.push(Problem::error(format!("{path}.run_on"), "run-on-without-needs", message).with_hint("add `needs`"));
    }
    for (index, kind) in step.continue_on_error.types.iter().enumerate() {
        if kind.is_empty() {
            let path = format!("{path}.continue_on_error.types[{index}]");
            problems.push(Problem::error(path, "invalid-error-type", "a failure type can't be empty"));
        }
    }
    let times =
        Times { timeout: step.timeout, attempt: step.attempt_timeout, schedule: step.schedule_timeout, heartbeat: step.heartbeat_timeout };
    check_times(path, &times, problems);
    if let Some(retry) = &step.retry {
        check_retry(&format!("{path}.retry"), retry, problems);
    }
    check_limits(path, &step.limits, problems);
    if let Some(Kind::Task(task)) = &step.kind {
        for (index, _) in task.pools.iter().enumerate().filter(|(_, pool)| pool.move_when_remaining.is_some()) {
            problems.push(not_enforced(format!("{path}.task.pools[{index}].move_when_remaining"), "move_when_remaining"));
        }
    }
}

/// What the language has and this version does not act on. Silence would be taken for a promise.
fn not_enforced(path: String, field: &str) -> Problem {
    Problem::error(path, "not-enforced", format!("this version accepts `{field}`, but does not act on it yet")).as_warning()
}

fn is_present(step: &StepDefinition, field: &str) -> bool {
    match field {
        "with" => step.with.is_some(),
        "retry" => step.retry.is_some(),
        "timeout" => step.timeout.is_some(),
        "attempt_timeout" => step.attempt_timeout.is_some(),
        "schedule_timeout" => step.schedule_timeout.is_some(),
        "heartbeat_timeout" => step.heartbeat_timeout.is_some(),
        "compensate" => step.compensate.is_some(),
        "point_of_no_return" => step.point_of_no_return,
        "limits" => !step.limits.is_empty(),
        "output_schema" => step.output_schema.is_some(),
        _ => false,
    }
}

fn not_allowed(path: &str, field: &str, kind: &str, kinds: &[&str], problems: &mut Vec<Problem>) {
    let problem = Problem::error(format!("{path}.{field}"), "field-not-allowed", format!("a `{kind}` step has no `{field}`"));
    let hint = match kinds {
        [only] => format!("only {only} knows `{field}`"),
        many => format!("only {} know `{field}`", many.join(", ")),
    };
    problems.push(problem.with_hint(hint));
}

/// A need that asks for an end which never comes.
fn check_accepted(flat: &Flat<'_>, problems: &mut Vec<Problem>) {
    for vertex in &flat.vertices {
        for (position, need) in vertex.step().map(|step| step.needs.as_slice()).unwrap_or_default().iter().enumerate() {
            let Some(needed) = flat.by_id.get(need.step.as_str()).and_then(|index| flat.vertices[*index].step()) else { continue };
            let handled = needed.continue_on_error.any || !needed.continue_on_error.types.is_empty();
            if need.accept == [crate::AcceptedEnd::Failed] && !handled {
                let message = format!("no failure of `{}` is handled, so this step is never reached", need.step);
                let problem = Problem::error(format!("{}.needs[{position}]", vertex.path), "never-accepted", message);
                problems.push(problem.with_hint(format!("give `{}` a `continue_on_error`", need.step)).as_warning());
            }
        }
    }
}

struct Times {
    timeout: Option<Millis>,
    attempt: Option<Millis>,
    schedule: Option<Millis>,
    heartbeat: Option<Millis>,
}

fn check_times(path: &str, times: &Times, problems: &mut Vec<Problem>) {
    for (field, value) in [
        ("timeout", times.timeout),
        ("attempt_timeout", times.attempt),
        ("schedule_timeout", times.schedule),
        ("heartbeat_timeout", times.heartbeat),
    ] {
        if value == Some(Millis(0)) {
            problems.push(zero(format!("{path}.{field}"), field));
        }
    }
    if let (Some(heartbeat), Some(attempt)) = (times.heartbeat, times.attempt)
        && heartbeat > attempt
    {
        let message = "`heartbeat_timeout` is longer than `attempt_timeout`, so it never acts";
        problems.push(Problem::error(format!("{path}.heartbeat_timeout"), "useless-timeout", message).as_warning());
    }
    if let (Some(attempt), Some(timeout)) = (times.attempt, times.timeout)
        && attempt > timeout
    {
        let message = "`attempt_timeout` is longer than `timeout`, so it never acts";
        problems.push(Problem::error(format!("{path}.attempt_timeout"), "useless-timeout", message).as_warning());
    }
}

fn check_limits(path: &str, limits: &[String], problems: &mut Vec<Problem>) {
    for (index, limit) in limits.iter().enumerate() {
        let path = format!("{path}.limits[{index}]");
        if let Some(first) = limits[..index].iter().position(|known| known == limit) {
            problems.push(Problem::error(path, "duplicate-limit", format!("`{limit}` is already in limits[{first}]")));
        } else {
            super::check_names::name(&path, "the name of a limit", limit, "invalid-limit", problems);
        }
    }
}

fn check_retry(path: &str, retry: &RetryDefinition, problems: &mut Vec<Problem>) {
    if !(0..=ATTEMPTS_MAX).contains(&retry.max_attempts) {
        let message = format!("{} is not a number of attempts", retry.max_attempts);
        let hint = format!("1 (no retry) to {ATTEMPTS_MAX}; the default is 3");
        problems.push(Problem::error(format!("{path}.max_attempts"), "invalid-retry", message).with_hint(hint));
    }
    // Zero is how the message says "not set".
    let coefficient = retry.backoff_coefficient;
    if coefficient != 0.0 && !(coefficient.is_finite() && coefficient >= 1.0) {
        let message = format!("{coefficient} would make delays shorter or endless");
        problems.push(
            Problem::error(format!("{path}.backoff_coefficient"), "invalid-retry", message).with_hint("at least 1; the default is 2"),
        );
    }
    if retry.max_interval == Some(Millis(0)) {
        problems.push(zero(format!("{path}.max_interval"), "max_interval"));
    } else if let (Some(initial), Some(max)) = (retry.initial_interval, retry.max_interval)
        && initial > max
    {
        let message = "`initial_interval` is longer than `max_interval`, which caps it";
        problems.push(Problem::error(format!("{path}.initial_interval"), "useless-interval", message).as_warning());
    }
    for (index, kind) in retry.non_retryable.iter().enumerate() {
        if kind.is_empty() {
            problems.push(Problem::error(format!("{path}.non_retryable[{index}]"), "invalid-retry", "a failure type can't be empty"));
        }
    }
}

/// A timeout of no time.
pub(super) fn zero(path: String, field: &str) -> Problem {
    Problem::error(path, "zero-timeout", format!("`{field}` can't be zero")).with_hint("leave it out for the default")
}

/// The signals that a workflow declares must be those that its steps wait for.
pub(super) fn declared_signal(definition: &Definition, path: &str, name: &str, problems: &mut Vec<Problem>) {
    if definition.signals.is_empty() || definition.signals.contains_key(name) {
        return;
    }
    let problem = Problem::error(path, "unknown-signal", format!("`signals` does not declare `{name}`, so it never comes"));
    let hint = did_you_mean(name, definition.signals.keys().map(String::as_str)).unwrap_or_else(|| "add it to `signals`".to_owned());
    problems.push(problem.with_hint(hint));
}
