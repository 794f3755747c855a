//! Events and states as lines of text.

use super::world::START;
use crate::{Event, EventKind, Failure, Outcome, Payload, Run, SkipCause, StepId, StepState, StepStatus, Timestamp, UNBOUNDED_KEY};

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
        EventKind::StepEnded { step, status, output, failure, skip, handled, undo } => {
            let skip = match skip {
                None => "",
                Some(SkipCause::If) => " by if",
                Some(SkipCause::Upstream) => " by upstream",
                Some(SkipCause::UpstreamFailure) => " by a failure upstream",
                Some(SkipCause::RunOn) => " by run_on",
                Some(SkipCause::Operator) => " by an operator",
            };
            let flags = format!("{}{}", flag(*handled, "handled"), flag(*undo, "to be undone"));
            format!("{step} {}{skip}{}{}{flags}", status.name(), value("with", output.as_ref()), self::failure(failure.as_ref()))
        }
        EventKind::RunFailing { failure } => format!("run failing{}", self::failure(Some(failure))),
        EventKind::RunCancelRequested { principal, reason, compensate } => {
            let without = flag(!compensate, "without compensation");
            format!("run cancelled by {} because: {reason}{without}", principal.subject)
        }
        EventKind::RunEnded { status, output, failure, principal, reason } => {
            let who = principal.as_ref().map(|principal| format!(" by {} because: {reason}", principal.subject)).unwrap_or_default();
            format!("run ended {status:?}{who}{}{}", value("with", output.as_ref()), self::failure(failure.as_ref()))
        }
        EventKind::ScopeStarted { step, attempt, input, total, step_deadline } => {
            let attempt = if *attempt > 1 { format!(" attempt {attempt}") } else { String::new() };
            let total = if *total > 0 { format!(" of {total}") } else { String::new() };
            format!("{step} started{attempt}{total}{}{}", value("with", input.as_ref()), at("ended by", *step_deadline))
        }
        EventKind::PhaseChanged { scope, phase, failure, deadline } => {
            let scope = scope.as_ref().map_or("run", StepId::as_str);
            format!("{scope} is {phase:?}{}{}", self::failure(failure.as_ref()), at("done by", *deadline))
        }
        EventKind::ScopeRetried { step, failure, retry_at } => {
            format!("{step} tried again{}{}", self::failure(Some(failure)), at("at", Some(*retry_at)))
        }
        EventKind::StepReopened { step, generation, epoch } => format!("{step} begins anew as generation {generation} of {epoch}"),
        EventKind::ScopeReopened { step } => format!("{step} goes on"),
        EventKind::StepAwaiting { step, step_deadline } => format!("{step} awaiting{}", at("ended by", *step_deadline)),
        EventKind::SignalReceived { name, id, payload, principal } => {
            format!("signal {name} {id} from {}{}", principal.subject, value("with", payload.as_ref()))
        }
        EventKind::SignalConsumed { signal, step } => format!("{step} took signal {} of {}", signal.name, signal.seq),
        EventKind::ApprovalRecorded { step, approval } => {
            let word = if approval.approve { "approved" } else { "rejected" };
            let unverified = flag(!approval.principal.verified, "UNVERIFIED");
            format!("{step} {word} by {} because: {}{unverified}", approval.principal.subject, approval.reason)
        }
        EventKind::ChildRequested { step, attempt, child: _, run_id: _, workflow, version, input, step_deadline } => {
            let attempt = if *attempt > 1 { format!(" attempt {attempt}") } else { String::new() };
            let version = version.map_or(" latest".to_owned(), |version| format!(" version {version}"));
            format!("{step} asks for {workflow}{version}{attempt}{}{}", value("with", input.as_ref()), at("ended by", *step_deadline))
        }
        EventKind::ChildStarted { step } => format!("{step} has its child"),
        EventKind::ChildCancelRequested { step, reason } => format!("{step} cancels its child because: {reason}"),
        EventKind::ChildCompensationRequested { step, .. } => format!("{step} asks its child to undo"),
        EventKind::ChildEnded { step, status, failure } => format!("{step} child ended {status:?}{}", self::failure(failure.as_ref())),
        EventKind::ParentNotified => "parent notified".to_owned(),
        EventKind::SlotRequested { key, .. } if key == UNBOUNDED_KEY => "run asks whether it may begin".to_owned(),
        EventKind::SlotRequested { key, limit, on_conflict, deadline } => {
            format!("slot {key} of {limit} requested, else {on_conflict:?}{}", at("by", *deadline))
        }
        EventKind::SlotGranted => "slot granted".to_owned(),
        EventKind::SlotReleased => "slot released".to_owned(),
        EventKind::RunPaused { principal, reason } => format!("run paused by {} because: {reason}", principal.subject),
        EventKind::RunResumed { principal, reason } => format!("run resumed by {} because: {reason}", principal.subject),
        EventKind::NoReturnBound { step } => format!("{step} is a point of no return"),
        EventKind::NoReturnLifted { step } => format!("{step} is no point of no return any more"),
        EventKind::AttentionRequested { cause, step, failure } => {
            let step = step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
            format!("run needs attention: {cause:?}{step}{}", self::failure(failure.as_ref()))
        }
        EventKind::Repaired { repair, step, principal, reason, overrides } => {
            let step = step.as_ref().map(|step| format!(" {step}")).unwrap_or_default();
            format!("{repair:?}{step} by {} because: {reason}{}", principal.subject, flag(*overrides, "OVERRIDE"))
        }
        EventKind::RunReopened { phase, deadline, notify: _ } => format!("run goes on: {phase:?}{}", at("until", *deadline)),
        EventKind::RunMigrated { version, digest: _, steps_total } => format!("run goes on with version {version}, {steps_total} steps"),
        EventKind::RunAnnotated { principal, text } => format!("{} notes: {text}", principal.subject),
        EventKind::PoolChanged { step, pool } => format!("{step} moves to pool {pool}"),
    };
    format!("{seq:>4} {what}")
}

/// The run, every step of its plan, and all other entries.
pub(super) fn run(run: &Run) -> Vec<String> {
    let head = run.head();
    let attention = head.attention.as_ref().map(|attention| format!(", attention: {:?}", attention.cause)).unwrap_or_default();
    let unread = if head.signals_unread > 0 { format!(", {} signals unread", head.signals_unread) } else { String::new() };
    let mut lines = vec![format!(
        "  run {:?}, {} of {} steps ended{attention}{unread}{}",
        head.status,
        head.steps_ended,
        run.info().steps_total,
        failure(head.failure.as_ref())
    )];
    let planned = run.plan().steps.iter().filter(|step| step.id.is_plain()).map(|step| step.id.clone());
    let planned: Vec<_> =
        planned.filter(|id| run.step(id).is_some() || run.planned(id).is_some_and(|step| step.parent.is_none())).collect();
    let others = run.steps().keys().filter(|id| !planned.contains(id));
    for id in planned.iter().chain(others) {
        let status = run.step_status(id);
        match run.step(id) {
            Some(state) if run.is_current(id) => lines.push(step(id, status, state)),
            _ => lines.push(format!("  {id} {}", status.name())),
        }
    }
    lines
}

fn step(id: &StepId, status: StepStatus, state: &StepState) -> String {
    let mut line = format!("  {id} {}", status.name());
    for (name, count) in
        [("generation", state.generation), ("attempt", state.attempt), ("failures", state.failures), ("preemptions", state.preemptions)]
    {
        if count > 0 && (name != "attempt" || state.scope.is_none()) {
            line += &format!(", {name} {count}");
        }
    }
    line += if state.in_doubt { ", in doubt" } else { "" };
    line += &value("checkpoint", state.checkpoint.as_ref());
    if status == StepStatus::Succeeded || state.skip == Some(SkipCause::Operator) {
        line += &value("output", state.output.as_ref());
    }
    line + &failure(state.failure.as_ref())
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
    format!(
        " [{}: {}]{}{}",
        failure.kind,
        failure.message,
        flag(failure.non_retryable, "not retryable"),
        flag(failure.nothing_done, "nothing done")
    )
}

fn flag(set: bool, word: &str) -> String {
    if set { format!(" ({word})") } else { String::new() }
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
