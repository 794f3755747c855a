//! What a run did, as tests look at it: gathered from its events.

use std::fmt::Write;

use quorus_engine::{Event, EventKind, Failure, Outcome, RunStatus, SkipCause, StepId, Timestamp};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Steps whose attempts began, in order, without compensations.
    pub(crate) attempts: Vec<String>,
    /// Steps that were undone, in order.
    pub(crate) compensations: Vec<String>,
    /// Steps that ended, in order.
    pub(crate) ends: Vec<String>,
    /// Those of them that were not begun anew.
    compensating: Vec<String>,
    /// A line per thing that happened, for people.
    lines: Vec<String>,
    started_at: Timestamp,
}

impl Trace {
    pub(crate) fn add(&mut self, event: &Event) {
        let id = event.step().cloned().unwrap_or_else(|| StepId::from(""));
        let step = id.as_str().to_owned();
        match &event.kind {
            EventKind::RunStarted(_) => {
                self.started_at = event.time;
                self.line(event, "run", "started");
            }
            EventKind::StepLeased { attempt, .. } => {
                match id.undoes() {
                    Some(of) => self.compensation(of.as_str()),
                    None => self.attempts.push(step.clone()),
                }
                self.line(event, &step, &format!("attempt {attempt} began"));
            }
            EventKind::ChildRequested { attempt, workflow, .. } => {
                self.attempts.push(step.clone());
                self.line(event, &step, &format!("attempt {attempt} starts a run of {workflow}"));
            }
            EventKind::ChildCompensationRequested { .. } => {
                let of = id.undoes().map_or_else(|| step.clone(), |of| of.as_str().to_owned());
                self.compensation(&of);
                self.line(event, &step, "asks the child run to undo what it did");
            }
            EventKind::AttemptEnded { attempt, outcome, retry_at, .. } => {
                let retry = retry_at.map(|at| format!(", the next one is due at +{}", since(self.started_at, at))).unwrap_or_default();
                let why = match outcome {
                    Outcome::Failed(failure) | Outcome::TimedOut(failure) => because(Some(failure)),
                    _ => String::new(),
                };
                self.line(event, &step, &format!("attempt {attempt} {}{why}{retry}", outcome.kind().name()));
            }
            EventKind::StepEnded { status, failure, skip, .. } => {
                self.ends.push(step.clone());
                let skip = skip.map(|cause| format!(" because of `{}`", skip_word(cause))).unwrap_or_default();
                self.line(event, &step, &format!("{}{skip}{}", status.name(), because(failure.as_ref())));
            }
            EventKind::StepReopened { .. } => {
                if let Some(of) = id.undoes() {
                    self.compensating.retain(|known| known != of.as_str());
                }
                self.line(event, &step, "begins anew");
            }
            EventKind::StepWaiting { until, .. } => self.line(event, &step, &format!("sleeps until +{}", since(self.started_at, *until))),
            EventKind::StepQueued { queue, .. } => self.line(event, &step, &format!("waits in queue {queue}")),
            EventKind::StepCancelRequested { .. } => self.line(event, &step, "was asked to stop"),
            EventKind::StepCheckpointed { .. } => self.line(event, &step, "checkpointed"),
            EventKind::StepAwaiting { .. } => self.line(event, &step, "waits for somebody"),
            EventKind::SignalConsumed { signal, .. } => self.line(event, &step, &format!("took signal {}", signal.name)),
            EventKind::ApprovalRecorded { approval, .. } => {
                let what = if approval.approve { "approved" } else { "rejected" };
                self.line(event, &step, &format!("was {what} by {}", approval.principal.subject));
            }
            EventKind::ScopeRetried { failure, .. } => self.line(event, &step, &format!("is tried again{}", because(Some(failure)))),
            EventKind::ScopeStarted { .. } => self.line(event, &step, "began"),
            EventKind::RunEnded { status, failure, .. } => {
                self.line(event, "run", &format!("ended as {}{}", word(*status), because(failure.as_ref())));
            }
            EventKind::RunFailing { failure } => self.line(event, "run", &format!("is failing: {}", failure.message)),
            EventKind::RunCancelRequested { reason, .. } => self.line(event, "run", &format!("was cancelled: {reason}")),
            EventKind::PhaseChanged { scope, phase, .. } => {
                let about = scope.as_ref().map_or("run", |scope| scope.as_str()).to_owned();
                self.line(event, &about, &format!("is now {}", lower(&format!("{phase:?}"))));
            }
            EventKind::SignalReceived { name, .. } => self.line(event, "run", &format!("received signal {name}")),
            EventKind::AttentionRequested { cause, failure, .. } => {
                self.line(event, "run", &format!("needs attention: {}{}", lower(&format!("{cause:?}")), because(failure.as_ref())));
            }
            EventKind::Repaired { repair, reason, .. } => {
                self.line(event, "run", &format!("is repaired by {}: {reason}", lower(&format!("{repair:?}"))));
            }
            EventKind::RunPaused { reason, .. } => self.line(event, "run", &format!("was paused: {reason}")),
            EventKind::RunResumed { .. } => self.line(event, "run", "was resumed"),
            EventKind::ChildEnded { status, failure, .. } => {
                self.line(event, &step, &format!("its child ended as {}{}", word(*status), because(failure.as_ref())));
            }
            EventKind::NoReturnBound { .. } => self.line(event, &step, "is past the point of no return"),
            // What only the cluster cares about.
            EventKind::ScopeReopened { .. }
            | EventKind::ChildStarted { .. }
            | EventKind::ChildCancelRequested { .. }
            | EventKind::ParentNotified
            | EventKind::SlotRequested { .. }
            | EventKind::SlotGranted
            | EventKind::SlotReleased
            | EventKind::NoReturnLifted { .. }
            | EventKind::RunReopened { .. }
            | EventKind::RunMigrated { .. }
            | EventKind::RunAnnotated { .. }
            | EventKind::PoolChanged { .. } => {}
        }
    }

    /// A step is undone; later attempts of that are not another time.
    fn compensation(&mut self, of: &str) {
        if !self.compensating.iter().any(|known| known == of) {
            self.compensating.push(of.to_owned());
            self.compensations.push(of.to_owned());
        }
    }

    fn line(&mut self, event: &Event, about: &str, what: &str) {
        let mut line = String::new();
        let _ = write!(line, "+{:<8} {about:<24} {what}", since(self.started_at, event.time));
        self.lines.push(line);
    }

    /// The lines, or the last ones of many.
    pub(crate) fn lines(&self, max: usize) -> String {
        let left_out = self.lines.len().saturating_sub(max);
        let mut text = if left_out > 0 { format!("  ... {left_out} lines before\n") } else { String::new() };
        for line in &self.lines[left_out..] {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// `RunStatus::NeedsAttention` is `needs_attention`.
pub(crate) fn word(status: RunStatus) -> String {
    lower(&format!("{status:?}"))
}

/// The word for a cause that people see.
pub(crate) fn skip_word(cause: SkipCause) -> &'static str {
    match cause {
        SkipCause::If => "if",
        SkipCause::Upstream | SkipCause::UpstreamFailure => "upstream",
        SkipCause::RunOn => "run_on",
        SkipCause::Operator => "operator",
    }
}

fn lower(name: &str) -> String {
    let mut word = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(c.to_lowercase());
    }
    word
}

fn because(failure: Option<&Failure>) -> String {
    match failure {
        Some(failure) if failure.message.is_empty() => format!(" with {}", failure.kind),
        Some(failure) => format!(" with {}: {}", failure.kind, failure.message),
        None => String::new(),
    }
}

/// The time between, as durations are written.
pub(crate) fn since(start: Timestamp, at: Timestamp) -> String {
    let ms = at.0.saturating_sub(start.0).max(0);
    quorus_spec::format_duration(&prost_types::Duration { seconds: ms / 1000, nanos: i32::try_from(ms % 1000 * 1_000_000).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_ones_of_the_wire() {
        assert_eq!(word(RunStatus::NeedsAttention), "needs_attention");
        assert_eq!(since(Timestamp(1_000), Timestamp(62_500)), "1m1.5s");
    }
}
