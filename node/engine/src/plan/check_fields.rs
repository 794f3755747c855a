//! Fields: does the kind know them, and are their values possible?

use super::Problem;
use crate::{Definition, Kind, Millis, RetryDefinition, StepDefinition, Wait};

/// Unbounded retry does not exist.
const ATTEMPTS_MAX: i32 = 1_000;

/// Checks each step's fields.
pub(super) fn check(definition: &Definition, problems: &mut Vec<Problem>) {
    if definition.timeout == Some(Millis(0)) {
        problems.push(zero("spec.timeout".to_owned(), "timeout"));
    }
    for (index, step) in definition.steps.iter().enumerate() {
        let path = format!("spec.steps[{index}]");
        match &step.kind {
            None => {
                let message = format!("the step `{}` has no kind", step.id);
                problems.push(Problem::error(&path, "missing-kind", message).with_hint("give it exactly one of task, wait and set"));
            }
            Some(Kind::Task(known)) => task(&path, step, known.priority, problems),
            Some(Kind::Wait(wait)) => {
                only_for_tasks(&path, step, "wait", problems);
                check_wait(&path, wait, problems);
            }
            Some(Kind::Set(_)) => {
                only_for_tasks(&path, step, "set", problems);
                if step.timeout.is_some() {
                    let message = "a `set` step has no `timeout`: it ends when it becomes ready";
                    problems.push(
                        Problem::error(format!("{path}.timeout"), "field-not-allowed", message).with_hint("task and wait know `timeout`"),
                    );
                }
            }
            Some(_) => {}
        }
        if step.timeout == Some(Millis(0)) {
            problems.push(zero(format!("{path}.timeout"), "timeout"));
        }
    }
}

fn only_for_tasks(path: &str, step: &StepDefinition, kind: &str, problems: &mut Vec<Problem>) {
    let fields = [
        ("with", step.with.is_some()),
        ("retry", step.retry.is_some()),
        ("attempt_timeout", step.attempt_timeout.is_some()),
        ("schedule_timeout", step.schedule_timeout.is_some()),
        ("heartbeat_timeout", step.heartbeat_timeout.is_some()),
    ];
    for (field, present) in fields {
        if present {
            let problem = Problem::error(format!("{path}.{field}"), "field-not-allowed", format!("a `{kind}` step has no `{field}`"));
            problems.push(problem.with_hint(format!("only task knows `{field}`")));
        }
    }
}

fn task(path: &str, step: &StepDefinition, priority: i32, problems: &mut Vec<Problem>) {
    if !(0..=5).contains(&priority) {
        let message = format!("{priority} is not a priority");
        problems.push(
            Problem::error(format!("{path}.task.priority"), "invalid-priority", message)
                .with_hint("1 (first) to 5 (last); the default is 3"),
        );
    }
    for (field, value) in [
        ("attempt_timeout", step.attempt_timeout),
        ("schedule_timeout", step.schedule_timeout),
        ("heartbeat_timeout", step.heartbeat_timeout),
    ] {
        if value == Some(Millis(0)) {
            problems.push(zero(format!("{path}.{field}"), field));
        }
    }
    if let Some(retry) = &step.retry {
        check_retry(&format!("{path}.retry"), retry, problems);
    }
    if let (Some(heartbeat), Some(attempt)) = (step.heartbeat_timeout, step.attempt_timeout)
        && heartbeat > attempt
    {
        let message = "`heartbeat_timeout` is longer than `attempt_timeout`, so it never acts";
        problems.push(Problem::error(format!("{path}.heartbeat_timeout"), "useless-timeout", message).as_warning());
    }
    if let (Some(attempt), Some(timeout)) = (step.attempt_timeout, step.timeout)
        && attempt > timeout
    {
        let message = "`attempt_timeout` is longer than `timeout`, so it never acts";
        problems.push(Problem::error(format!("{path}.attempt_timeout"), "useless-timeout", message).as_warning());
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

fn check_wait(path: &str, wait: &Wait, problems: &mut Vec<Problem>) {
    match wait {
        Wait::Missing => {
            let message = "the wait says neither how long nor until when";
            problems.push(
                Problem::error(format!("{path}.wait"), "missing-wait", message).with_hint("give it exactly one of `for` and `until`"),
            );
        }
        // A wait of no time ends at once, as does a time in the past.
        Wait::For(_) | Wait::ForExpression(_) | Wait::Until(_) => {}
    }
}

fn zero(path: String, field: &str) -> Problem {
    Problem::error(path, "zero-timeout", format!("`{field}` can't be zero")).with_hint("leave it out for the default")
}
