//! Where a run stood after each of its events, by a small fold of its own: it must not share mistakes with the engine's.

use std::collections::BTreeMap;

use quorus_proto::v1::{EventType, HistoryEvent, RunStatus};

use super::{joined::RunView, testimony::due_ms};

/// The run's status after each event; the first is after sequence 1.
pub(super) fn statuses(events: &[HistoryEvent]) -> Vec<RunStatus> {
    let mut status = RunStatus::Unspecified;
    let mut cancelled = false;
    // What it goes on with when it has its slot.
    let mut before_slot = RunStatus::Unspecified;
    let mut seen = Vec::with_capacity(events.len());
    for event in events {
        let stopping = if cancelled { RunStatus::Cancelling } else { RunStatus::Failing };
        status = match event.r#type() {
            EventType::RunStarted => RunStatus::Running,
            EventType::SlotRequested => {
                before_slot = status;
                RunStatus::Queued
            }
            EventType::SlotGranted if status == RunStatus::Queued => before_slot,
            EventType::RunFailing => RunStatus::Failing,
            EventType::RunCancelRequested => {
                cancelled = true;
                RunStatus::Cancelling
            }
            EventType::PhaseChanged if event.step.is_empty() => match event.phase.as_str() {
                "compensating" | "rewinding" => RunStatus::Compensating,
                "compensated" => stopping,
                "running" => RunStatus::Running,
                _ => status,
            },
            EventType::AttentionRequested => RunStatus::NeedsAttention,
            EventType::RunReopened => match event.phase.as_str() {
                "compensating" => RunStatus::Compensating,
                "rewinding" => {
                    cancelled = false;
                    RunStatus::Compensating
                }
                "running" => {
                    cancelled = false;
                    RunStatus::Running
                }
                _ => stopping,
            },
            EventType::RunEnded => {
                cancelled = cancelled || event.principal.is_some();
                event.run_status()
            }
            _ => status,
        };
        seen.push(status);
    }
    seen
}

/// True for what nothing but a repair changes.
pub(super) fn is_final(status: RunStatus) -> bool {
    matches!(status, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::Terminated)
}

/// What a step that has not ended waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits<'e> {
    /// A worker that takes it.
    Worker,
    /// The worker that has it.
    Outcome { attempt: u32, token: u64 },
    /// A point in time, in milliseconds since 1970.
    Time(i64),
    /// A signal, or people.
    Somebody,
    /// What is in it.
    Inside,
    /// A child run, by uid.
    Child(&'e str),
    /// An event of the same decision, that is not there.
    Nothing,
}

/// The steps of a run that have begun and not ended, with what they wait for and since which event.
pub(super) fn open<'e>(run: &RunView<'e>) -> Vec<(&'e str, Waits<'e>, &'e HistoryEvent)> {
    let mut open: BTreeMap<&str, (Waits<'e>, &'e HistoryEvent)> = BTreeMap::new();
    for event in &run.record.events {
        let step = event.step.as_str();
        let waits = match event.r#type() {
            EventType::StepQueued => Waits::Worker,
            EventType::StepLeased => Waits::Outcome { attempt: event.attempt, token: event.token },
            EventType::AttemptEnded | EventType::PoolChanged => due_ms(event).map_or(Waits::Nothing, Waits::Time),
            EventType::StepWaiting | EventType::ScopeRetried => Waits::Time(due_ms(event).unwrap_or(0)),
            EventType::StepAwaiting => Waits::Somebody,
            EventType::ScopeStarted | EventType::ScopeReopened => Waits::Inside,
            EventType::ChildRequested | EventType::ChildCompensationRequested => Waits::Child(&event.child_run_uid),
            EventType::StepEnded | EventType::StepReopened => {
                open.remove(step);
                continue;
            }
            _ => continue,
        };
        open.insert(step, (waits, event));
    }
    open.into_iter().map(|(step, (waits, event))| (step, waits, event)).collect()
}

/// True if the run is paused at its end.
pub(super) fn is_paused(run: &RunView<'_>) -> bool {
    let turn = |event: &&HistoryEvent| matches!(event.r#type(), EventType::RunPaused | EventType::RunResumed);
    run.record.events.iter().rfind(turn).is_some_and(|event| event.r#type() == EventType::RunPaused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_follows_from_the_events() {
        let event = |kind: EventType, phase: &str, status: RunStatus| HistoryEvent {
            r#type: kind.into(),
            phase: phase.to_owned(),
            run_status: status.into(),
            ..HistoryEvent::default()
        };
        let events = [
            event(EventType::RunStarted, "", RunStatus::Running),
            event(EventType::SlotRequested, "", RunStatus::Queued),
            event(EventType::SlotGranted, "", RunStatus::Running),
            event(EventType::RunCancelRequested, "", RunStatus::Cancelling),
            event(EventType::PhaseChanged, "compensating", RunStatus::Unspecified),
            event(EventType::PhaseChanged, "compensated", RunStatus::Unspecified),
            event(EventType::PhaseChanged, "finally", RunStatus::Unspecified),
            event(EventType::RunEnded, "", RunStatus::Cancelled),
            event(EventType::RunReopened, "compensating", RunStatus::Unspecified),
            event(EventType::SlotRequested, "", RunStatus::Unspecified),
            event(EventType::SlotGranted, "", RunStatus::Unspecified),
            event(EventType::RunReopened, "running", RunStatus::Unspecified),
        ];
        use RunStatus::{Cancelled, Cancelling, Compensating, Queued, Running};
        let begins = [Running, Queued, Running, Cancelling, Compensating, Cancelling, Cancelling, Cancelled];
        assert_eq!(statuses(&events), [&begins[..], &[Compensating, Queued, Compensating, Running]].concat());
    }
}
