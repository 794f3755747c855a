//! What a run did, as tests look at it: gathered from its events.

use std::fmt::Write;

use quorus_engine::{Event, EventKind, StepId, Timestamp};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Steps whose attempts began, in order, without compensations.
    pub(crate) attempts: Vec<String>,
    /// Steps that were undone, in order.
    pub(crate) compensations: Vec<String>,
    /// Steps that ended, in order.
    pub(crate) ends: Vec<String>,
    /// A line per thing that happened, for people.
    lines: Vec<String>,
    started_at: Timestamp,
}

impl Trace {
    pub(crate) fn add(&mut self, event: &Event) {
        let step = event.step().map(|step| step.as_str().to_owned()).unwrap_or_default();
        match &event.kind {
            EventKind::RunStarted(_) => {
                self.started_at = event.time;
                self.line(event, "run", "started");
            }
            EventKind::StepLeased { attempt, .. } => {
                match undone(&step) {
                    Some(of) => self.compensation(of),
                    None => self.attempts.push(step.clone()),
                }
                self.line(event, &step, &format!("attempt {attempt} began"));
            }
            EventKind::AttemptEnded { attempt, outcome, retry_at, .. } => {
                let retry = retry_at.map(|at| format!(", the next one is due at +{}", since(self.started_at, at))).unwrap_or_default();
                let why = match outcome {
                    quorus_engine::Outcome::Failed(failure) | quorus_engine::Outcome::TimedOut(failure) => {
                        format!(" with {}: {}", failure.kind, failure.message)
                    }
                    _ => String::new(),
                };
                self.line(event, &step, &format!("attempt {attempt} {}{why}{retry}", outcome.kind().name()));
            }
            EventKind::StepEnded { status, failure, .. } => {
                self.ends.push(step.clone());
                let why = failure.as_ref().map(|failure| format!(" with {}: {}", failure.kind, failure.message)).unwrap_or_default();
                self.line(event, &step, &format!("{}{why}", status.name()));
            }
            EventKind::RunEnded { status, .. } => self.line(event, "run", &format!("ended as {}", word(status))),
            EventKind::RunFailing { failure } => self.line(event, "run", &format!("is failing: {}", failure.message)),
            EventKind::RunCancelRequested { reason, .. } => self.line(event, "run", &format!("was cancelled: {reason}")),
            EventKind::StepWaiting { until, .. } => {
                self.line(event, &step, &format!("sleeps until +{}", since(self.started_at, *until)));
            }
            EventKind::StepQueued { queue, .. } => self.line(event, &step, &format!("waits in queue {queue}")),
            EventKind::StepCancelRequested { .. } => self.line(event, &step, "was asked to stop"),
            EventKind::StepCheckpointed { .. } => self.line(event, &step, "checkpointed"),
        }
    }

    /// A step is undone.
    fn compensation(&mut self, of: String) {
        // Its later attempts are not another compensation.
        if self.compensations.last() != Some(&of) {
            self.compensations.push(of);
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

/// The step that a compensation is of.
fn undone(step: &str) -> Option<String> {
    step.strip_suffix(":compensate").map(str::to_owned)
}

/// True for what undoes a step.
pub(crate) fn is_compensation(step: &StepId) -> bool {
    step.as_str().ends_with(":compensate")
}

/// `RunStatus::NeedsAttention` is `needs_attention`.
pub(crate) fn word(status: &quorus_engine::RunStatus) -> String {
    let mut word = String::new();
    for c in format!("{status:?}").chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(c.to_lowercase());
    }
    word
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
        assert_eq!(word(&quorus_engine::RunStatus::Running), "running");
        assert_eq!(since(Timestamp(1_000), Timestamp(62_500)), "1m1.5s");
    }
}
