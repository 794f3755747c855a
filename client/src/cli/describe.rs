//! A run with everything about it, for people.

use std::fmt::Write;

use quorus_client::v1::{Run, StepState, StepStatus};

use super::{
    table,
    text::{age, between, cut, failure, now, painted, payload, run_status, run_style, span, step_status, step_style, time},
};

/// How much of a value is shown.
const VALUE_MAX: usize = 200;

pub(crate) fn run(run: &Run) -> String {
    let duration = between(run.started_at.as_ref(), Some(&run.ended_at.unwrap_or_else(now))).map(span).unwrap_or_default();
    let started_by = run.started_by.as_ref().map(|principal| {
        let verified = if principal.verified { "" } else { " (unverified)" };
        format!("{}{verified}", principal.subject)
    });
    let labels: Vec<_> = run.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut text = table::facts([
        ("Run", run.run_id.clone()),
        ("Uid", run.run_uid.clone()),
        ("Namespace", run.namespace.clone()),
        ("Workflow", format!("{}, version {}", run.workflow, run.workflow_version)),
        ("Status", painted(run_style(run.status()), &run_status(run.status()))),
        ("Failure", failure(run.failure.as_ref())),
        ("Started", format!("{} ({} ago)", time(run.started_at.as_ref()), age(run.started_at.as_ref()))),
        ("Ended", time(run.ended_at.as_ref())),
        ("Duration", duration),
        ("Started by", started_by.unwrap_or_default()),
        ("Labels", labels.join(", ")),
        ("Shard", run.shard.to_string()),
        ("Trace", run.traceparent.clone()),
        ("Input", run.input.as_ref().map(|input| payload(input, VALUE_MAX)).unwrap_or_default()),
        ("Output", run.output.as_ref().map(|output| payload(output, VALUE_MAX)).unwrap_or_default()),
        ("Steps", format!("{} of {} ended", run.steps_ended, run.steps_total)),
    ]);
    let steps = table::table(["STEP", "KIND", "STATUS", "ATTEMPT", "DURATION", "DETAIL"], run.steps.iter().map(step));
    let _ = write!(text, "\n{steps}");
    text
}

fn step(step: &StepState) -> [String; 6] {
    let until = step.ended_at.unwrap_or_else(now);
    let duration = between(step.started_at.or(step.ready_at).as_ref(), Some(&until)).map(span).unwrap_or_default();
    let attempt = if step.attempt == 0 { String::new() } else { step.attempt.to_string() };
    let status = painted(step_style(step.status()), &step_status(step.status()));
    [step.step.clone(), step.kind.clone(), status, attempt, duration, detail(step)]
}

/// What a person wants to know about a step in this state.
fn detail(step: &StepState) -> String {
    let due = step.due_at.as_ref().map(|due| format!("until {}", time(Some(due)))).unwrap_or_default();
    let failure = failure(step.failure.as_ref());
    let text = match step.status() {
        StepStatus::Leased => format!("on {}", step.worker),
        StepStatus::Waiting => due,
        StepStatus::BackingOff => format!("{due}; {failure}"),
        StepStatus::Skipped => format!("because of {}", step.skip_cause),
        StepStatus::Succeeded => step.output.as_ref().map(|output| payload(output, 80)).unwrap_or_default(),
        _ => failure,
    };
    cut(&text, 120)
}
