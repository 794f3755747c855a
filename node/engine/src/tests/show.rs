//! Events and states as lines of text.

use super::world::START;
use crate::{Event, EventKind, Failure, Outcome, Payload, Run, SkipCause, StepStatus, Timestamp};

pub(super) fn event(seq: u64, event: &Event) -> String {
    let what = match &event.kind {
        EventKind::RunStarted(info) => format!("run started{}", at("deadline", info.deadline)),
        EventKind::StepQueued { step, input, queue, priority, schedule_deadline, step_deadline } => {
            let priority = if *priority == 3 { String::new() } else { format!(" priority {priority}") };
            let times = at("leased by", *schedule_deadline) + &at("ended by", *step_deadline);
            format!("{step} queued in {queue}{priority}{}{times}", value("with", input.as_ref()))
        }
        EventKind::StepLeased { step, attempt, token, worker, queue: _, priority: _, lease: _, input, step_deadline, attempt_deadline } => {
            let times = at("attempt ends by", *attempt_deadline) + &at("step ends by", *step_deadline);
            format!("{step} leased to {} attempt {attempt} token {}{}{times}", worker.name, token.0, value("with", input.as_ref()))
        }
        EventKind::StepCheckpointed { step, attempt, checkpoint } => {
            format!("{step} checkpointed attempt {attempt}{}", value("as", Some(checkpoint)))
        }
        EventKind::AttemptEnded { step, attempt, outcome, retry_at } => {
            format!("{step} attempt {attempt} {}{}", self::outcome(outcome), at("retry at", *retry_at))
        }
        EventKind::StepWaiting { step, until, step_deadline } => {
            format!("{step} waiting{}{}", at("until", Some(*until)), at("ended by", *step_deadline))
        }
        EventKind::StepCancelRequested { step, deadline, reason } => {
            format!("{step} asked to stop{} because: {reason}", at("by", Some(*deadline)))
        }
        EventKind::StepEnded { step, status, output, failure, skip } => {
            let skip = match skip {
                None => "",
                Some(SkipCause::If) => " by if",
                Some(SkipCause::Upstream) => " by upstream",
            };
            format!("{step} {}{skip}{}{}", status.name(), value("with", output.as_ref()), self::failure(failure.as_ref()))
        }
        EventKind::RunFailing { failure } => format!("run failing{}", self::failure(Some(failure))),
        EventKind::RunCancelRequested { principal, reason } => format!("run cancelled by {} because: {reason}", principal.subject),
        EventKind::RunEnded { status, output, failure, principal, reason } => {
            let who = principal.as_ref().map(|principal| format!(" by {} because: {reason}", principal.subject)).unwrap_or_default();
            format!("run ended {status:?}{who}{}{}", value("with", output.as_ref()), self::failure(failure.as_ref()))
        }
    };
    format!("{seq:>4} {what}")
}

/// The run and every step of its plan.
pub(super) fn run(run: &Run) -> Vec<String> {
    let head = run.head();
    let mut lines = vec![format!(
        "  run {:?}, {} of {} steps ended{}",
        head.status,
        head.steps_ended,
        run.info().steps_total,
        failure(head.failure.as_ref())
    )];
    for step in &run.plan().steps {
        let status = run.step_status(&step.id);
        let Some(state) = run.step(&step.id) else {
            lines.push(format!("  {} {}", step.id, status.name()));
            continue;
        };
        let mut line = format!("  {} {}", step.id, status.name());
        for (name, count) in [("attempt", state.attempt), ("failures", state.failures), ("preemptions", state.preemptions)] {
            if count > 0 {
                line += &format!(", {name} {count}");
            }
        }
        if state.in_doubt {
            line += ", in doubt";
        }
        line += &value("checkpoint", state.checkpoint.as_ref());
        if status == StepStatus::Succeeded {
            line += &value("output", state.output.as_ref());
        }
        line += &failure(state.failure.as_ref());
        lines.push(line);
    }
    lines
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded(output) => format!("succeeded{}", value("with", output.as_ref())),
        Outcome::Failed(failure) => format!("failed{}", self::failure(Some(failure))),
        Outcome::TimedOut(failure) => format!("timed out{}", self::failure(Some(failure))),
        Outcome::Abandoned(reason) => format!("abandoned because: {reason}"),
        Outcome::Released(checkpoint) => format!("released{}", value("at", checkpoint.as_ref())),
        Outcome::Cancelled { nothing_done } => format!("cancelled{}", if *nothing_done { ", nothing done" } else { "" }),
    }
}

fn failure(failure: Option<&Failure>) -> String {
    let Some(failure) = failure else { return String::new() };
    let flag = |set: bool, word: &str| if set { format!(" ({word})") } else { String::new() };
    format!(
        " [{}: {}]{}{}",
        failure.kind,
        failure.message,
        flag(failure.non_retryable, "not retryable"),
        flag(failure.nothing_done, "nothing done")
    )
}

fn value(word: &str, payload: Option<&Payload>) -> String {
    payload
        .map(|payload| {
            let text = String::from_utf8_lossy(&payload.data);
            let text = if text.len() > 1_000 { format!("<{} bytes>", text.len()) } else { text.into_owned() };
            format!(" {word} {text}")
        })
        .unwrap_or_default()
}

fn at(word: &str, time: Option<Timestamp>) -> String {
    time.map(|time| format!(", {word} {}", relative(time))).unwrap_or_default()
}

/// Seconds since the start.
pub(super) fn relative(time: Timestamp) -> String {
    let millis = time.0 - START.0;
    let sign = if millis < 0 { "-" } else { "+" };
    let (seconds, rest) = (millis.abs() / 1000, millis.abs() % 1000);
    if rest == 0 { format!("{sign}{seconds}s") } else { format!("{sign}{seconds}.{rest:03}s") }
}
