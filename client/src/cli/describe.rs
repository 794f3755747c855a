//! A run with everything about it, for people.

use std::fmt::Write;

use quorus_client::v1::{CompensationState, Decision, Run, StepState, StepStatus};

use super::{
    lifecycle_view, table,
    text::{age, between, cut, failure, now, painted, payload, run_status, run_style, span, step_status, step_style, time},
    tree,
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
        ("Paused", run.paused_by.as_ref().filter(|_| run.paused).map(decision).unwrap_or_default()),
        ("Failure", failure(run.failure.as_ref())),
        ("Stopped by", run.stopped_by.as_ref().map(decision).unwrap_or_default()),
        ("Compensation", lifecycle_view::compensation(run.compensation()).to_owned()),
        ("Not undone", run.undone.join(", ")),
        ("Started", format!("{} ({} ago)", time(run.started_at.as_ref()), age(run.started_at.as_ref()))),
        ("Ended", time(run.ended_at.as_ref())),
        ("Duration", duration),
        ("Started by", started_by.unwrap_or_default()),
        ("Parent", run.parent.as_ref().map(|parent| format!("{}, step {}", parent.run_id, parent.step)).unwrap_or_default()),
        ("Unread signals", if run.unread_signals == 0 { String::new() } else { run.unread_signals.to_string() }),
        ("Labels", labels.join(", ")),
        ("Shard", run.shard.to_string()),
        ("Trace", run.traceparent.clone()),
        ("Input", run.input.as_ref().map(|input| payload(input, VALUE_MAX)).unwrap_or_default()),
        ("Output", run.output.as_ref().map(|output| payload(output, VALUE_MAX)).unwrap_or_default()),
        ("Steps", format!("{} of {} ended", run.steps_ended, run.steps_total)),
    ]);
    let steps = table::table(["STEP", "KIND", "STATUS", "ATTEMPT", "DURATION", "DETAIL"], tree::ordered(&run.steps).into_iter().map(step));
    let _ = write!(text, "\n{steps}");
    text
}

fn step((depth, step): (usize, &StepState)) -> [String; 6] {
    let until = step.ended_at.unwrap_or_else(now);
    let duration = between(step.started_at.or(step.ready_at).as_ref(), Some(&until)).map(span).unwrap_or_default();
    let attempt = if step.attempt == 0 { String::new() } else { step.attempt.to_string() };
    let status = painted(step_style(step.status()), &step_status(step.status()));
    let name = format!("{}{}", "  ".repeat(depth), tree::label(step));
    [name, step.kind.clone(), status, attempt, duration, detail(step)]
}

fn decision(decision: &Decision) -> String {
    let by = decision.principal.as_ref().map(|principal| principal.subject.as_str()).unwrap_or_default();
    if decision.reason.is_empty() { by.to_owned() } else { format!("{by}: {}", decision.reason) }
}

/// What a person wants to know about a step in this state.
fn detail(step: &StepState) -> String {
    let due = step.due_at.as_ref().map(|due| format!("until {}", time(Some(due)))).unwrap_or_default();
    let failure = failure(step.failure.as_ref());
    let mut text = match step.status() {
        StepStatus::Leased => format!("on {}", step.worker),
        StepStatus::Waiting => waits_for(step, due),
        StepStatus::BackingOff => format!("{due}; {failure}"),
        StepStatus::Skipped => format!("because of {}", step.skip_cause),
        StepStatus::Succeeded => step.output.as_ref().map(|output| payload(output, 80)).unwrap_or_default(),
        _ => failure,
    };
    let mut add = |more: String| {
        if !more.is_empty() {
            text = if text.is_empty() { more } else { format!("{text}; {more}") };
        }
    };
    add(scope(step));
    if step.compensation() != CompensationState::Unspecified {
        add(format!("compensation {}", lifecycle_view::compensation(step.compensation())));
    }
    if step.generation > 0 {
        add(format!("generation {}", step.generation));
    }
    if step.in_doubt {
        add("in doubt".to_owned());
    }
    cut(&text, 120)
}

/// What a waiting step waits for.
fn waits_for(step: &StepState, due: String) -> String {
    if let Some(approval) = &step.approval {
        let given = approval.decisions.iter().filter(|decision| decision.approved).count();
        return format!("{given} of {} approvals by {}", approval.required, approval.approvers.join(", "));
    }
    match (&step.child, step.signal.as_str()) {
        (Some(child), _) => format!("child {} is {}", child.run_id, run_status(child.status())),
        (None, "") => due,
        (None, signal) => format!("signal {signal}"),
    }
}

/// The items or steps of a container, folded into counts.
fn scope(step: &StepState) -> String {
    let Some(counts) = &step.scope else { return String::new() };
    if counts.total == 0 {
        return String::new();
    }
    let failed = if counts.failed == 0 { String::new() } else { format!(", {} failed", counts.failed) };
    format!("{}/{} done{failed}", counts.succeeded, counts.total)
}
