//! What a watched run looks like right now, and its events as lines. Pure: fed with what the watch receives.

use std::{collections::BTreeMap, time::Duration};

use prost_types::Timestamp;
use quorus_client::v1::{EventType, HistoryEvent, Run, StepStatus, WatchRunResponse};

use super::text::{between, clock, failure, painted, run_status, run_style, span, step_status, step_style, time};

/// A step that has not ended.
#[derive(Clone, Debug, Default, PartialEq)]
struct Step {
    status: StepStatus,
    attempt: u32,
    worker: String,
    since: Option<Timestamp>,
    due: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct View {
    active: BTreeMap<String, Step>,
    run: Option<Run>,
    started: Option<Timestamp>,
}

impl View {
    /// Takes in news.
    pub(crate) fn apply(&mut self, item: &WatchRunResponse) {
        for event in &item.events {
            self.event(event);
        }
        if let Some(run) = &item.run {
            self.started = run.started_at.or(self.started);
            self.run = Some(run.clone());
        }
    }

    fn event(&mut self, event: &HistoryEvent) {
        match event.r#type() {
            EventType::RunStarted => self.started = event.time,
            EventType::StepQueued => self.enter(event, StepStatus::Queued),
            EventType::StepLeased => self.enter(event, StepStatus::Leased),
            EventType::StepWaiting => self.enter(event, StepStatus::Waiting),
            EventType::StepAwaiting => self.enter(event, StepStatus::Awaiting),
            EventType::ScopeStarted | EventType::ScopeReopened | EventType::ChildRequested => self.enter(event, StepStatus::Running),
            EventType::ScopeRetried => self.enter(event, StepStatus::BackingOff),
            EventType::AttemptEnded if event.due_at.is_some() => self.enter(event, StepStatus::BackingOff),
            EventType::StepEnded => drop(self.active.remove(&event.step)),
            EventType::RunEnded => self.active.clear(),
            _ => {}
        }
    }

    fn enter(&mut self, event: &HistoryEvent, status: StepStatus) {
        let step = self.active.entry(event.step.clone()).or_default();
        step.status = status;
        step.attempt = event.attempt.max(step.attempt);
        step.since = event.time;
        step.due = event.due_at.filter(|_| status != StepStatus::Leased);
        step.worker.clone_from(&event.worker);
    }

    /// Steps ended and steps in all.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.run.as_ref().map_or((0, 0), |run| (run.steps_ended.into(), run.steps_total.into()))
    }

    /// The run's status with its colour.
    pub(crate) fn status(&self) -> String {
        self.run.as_ref().map(|run| painted(run_style(run.status()), &run_status(run.status()))).unwrap_or_default()
    }

    /// Since when the run runs.
    pub(crate) fn elapsed(&self, now: &Timestamp) -> Duration {
        between(self.started.as_ref(), Some(now)).unwrap_or_default()
    }

    /// A line for each step that is under way; executing ones first. The items of a container are counted, not shown: they may be thousands.
    pub(crate) fn lines(&self, now: &Timestamp) -> Vec<String> {
        let mut items: BTreeMap<&str, usize> = BTreeMap::new();
        for container in self.active.keys().filter_map(|name| item_of(name)) {
            *items.entry(container).or_default() += 1;
        }
        let mut steps: Vec<_> = self.active.iter().filter(|(name, _)| item_of(name).is_none()).collect();
        steps.sort_by_key(|(_, step)| step.status != StepStatus::Leased);
        let width = steps.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let line = |(name, step): (&String, &Step)| {
            let items = items.get(name.as_str()).map(|count| format!("  {count} items under way")).unwrap_or_default();
            format!("{}{items}", step.line(name, width, now))
        };
        steps.into_iter().map(line).collect()
    }
}

impl Step {
    fn line(&self, name: &str, width: usize, now: &Timestamp) -> String {
        let status = painted(step_style(self.status), &format!("{:<11}", step_status(self.status)));
        let attempt = if self.attempt == 0 { String::new() } else { format!("attempt {}  ", self.attempt) };
        let mut text = format!("{name:width$}  {status}  {attempt}");
        if let Some(since) = between(self.since.as_ref(), Some(now)) {
            text.push_str(&span(since));
        }
        if let Some(left) = between(Some(now), self.due.as_ref()) {
            text.push_str(&format!(", {} left", span(left)));
        }
        if !self.worker.is_empty() {
            text.push_str(&format!("  {}", self.worker));
        }
        text
    }
}

/// The container whose item a name is: `a` for `a[3]`.
fn item_of(name: &str) -> Option<&str> {
    let (container, position) = name.strip_suffix(']')?.rsplit_once('[')?;
    position.bytes().all(|byte| byte.is_ascii_digit()).then_some(container)
}

/// An event as a line: time, step (or `run`), what.
pub(crate) fn line(event: &HistoryEvent) -> String {
    let subject = if event.step.is_empty() { "run" } else { &event.step };
    format!("{}  {subject:<20}  {}", clock(event.time.as_ref()), what(event))
}

fn what(event: &HistoryEvent) -> String {
    let attempt = format!("attempt {}", event.attempt);
    let why = failure(event.failure.as_ref());
    let because = |text: String| if text.is_empty() { text } else { format!(": {text}") };
    let due = event.due_at.as_ref().map(|due| time(Some(due)));
    match event.r#type() {
        EventType::RunStarted => "started".to_owned(),
        EventType::StepQueued => "queued".to_owned(),
        EventType::StepLeased => format!("{attempt} on {}", event.worker),
        EventType::StepCheckpointed => format!("{attempt} made a checkpoint"),
        EventType::AttemptEnded => {
            let next = due.map(|due| format!(", next at {due}")).unwrap_or_default();
            format!("{attempt} {}{}{next}", event.outcome, because(why))
        }
        EventType::StepWaiting => format!("waits{}", due.map(|due| format!(" until {due}")).unwrap_or_default()),
        EventType::StepCancelRequested => "is asked to stop".to_owned(),
        EventType::StepEnded => {
            let cause = if event.step_status() == StepStatus::Skipped { event.outcome.clone() } else { why };
            format!("{}{}", painted(step_style(event.step_status()), &step_status(event.step_status())), because(cause))
        }
        EventType::RunFailing => format!("fails{}", because(why)),
        EventType::RunCancelRequested => {
            let by = event.principal.as_ref().map(|principal| format!(" by {}", principal.subject)).unwrap_or_default();
            let undo = if event.no_compensate { ", nothing is undone" } else { "" };
            format!("is cancelled{by}{undo}{}", because(event.reason.clone()))
        }
        EventType::RunEnded => format!("{}{}", painted(run_style(event.run_status()), &run_status(event.run_status())), because(why)),
        EventType::Unspecified => "something that this version does not know".to_owned(),
        _ => life(event, because, why, due),
    }
}

/// The events of containers, signals, people, children and repairs.
fn life(event: &HistoryEvent, because: impl Fn(String) -> String, why: String, due: Option<String>) -> String {
    let by = event.principal.as_ref().map(|principal| format!(" by {}", principal.subject)).unwrap_or_default();
    let until = due.map(|due| format!(" until {due}")).unwrap_or_default();
    let reason = || because(event.reason.clone());
    match event.r#type() {
        EventType::ScopeStarted if event.total > 0 => format!("begins with {} items", event.total),
        EventType::ScopeStarted => "begins".to_owned(),
        EventType::PhaseChanged => format!("now {}{}", event.phase, because(why)),
        EventType::ScopeRetried => format!("is tried again{}", because(why)),
        EventType::StepReopened => format!("begins anew, generation {}", event.generation),
        EventType::ScopeReopened => "goes on".to_owned(),
        EventType::StepAwaiting => format!("waits for a signal or for people{until}"),
        EventType::SignalReceived => format!("signal {} arrived{by}", event.signal),
        EventType::SignalConsumed => format!("took the signal {}", event.signal),
        EventType::ApprovalRecorded => {
            let unverified = event.principal.as_ref().is_some_and(|principal| !principal.verified);
            let mark = if unverified { " (UNVERIFIED)" } else { "" };
            format!("{}{by}{mark}{}", event.outcome, reason())
        }
        EventType::ChildRequested => format!("starts run {}", event.child_run_id),
        EventType::ChildStarted => "its run has started".to_owned(),
        EventType::ChildCancelRequested => format!("cancels its run{}", reason()),
        EventType::ChildCompensationRequested => format!("has run {} undone", event.child_run_id),
        EventType::ChildEnded => format!("its run {}{}", run_status(event.run_status()), because(why)),
        EventType::ParentNotified => "its parent knows".to_owned(),
        EventType::SlotRequested if event.key.is_empty() => "waits while its workflow is paused".to_owned(),
        EventType::SlotRequested => format!("waits for a slot of {}{until}", event.key),
        EventType::SlotGranted => "got its slot".to_owned(),
        EventType::SlotReleased => "gave its slot back".to_owned(),
        EventType::RunPaused => format!("is paused{by}{}", reason()),
        EventType::RunResumed => format!("is resumed{by}{}", reason()),
        EventType::NoReturnBound => "is past the point of no return".to_owned(),
        EventType::NoReturnLifted => "did nothing: the point of no return binds no more".to_owned(),
        EventType::AttentionRequested => format!("needs attention: {}{}", event.outcome, because(why)),
        EventType::Repaired => {
            let over = if event.r#override { " (OVERRIDE)" } else { "" };
            format!("{}{by}{over}{}", event.repair, reason())
        }
        EventType::RunReopened => format!("goes on: {}", event.phase),
        EventType::RunMigrated => format!("goes on with version {}", event.workflow_version),
        EventType::RunAnnotated => format!("note{by}{}", reason()),
        EventType::PoolChanged => "moves on to its next pool".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use quorus_client::v1::{Failure, RunStatus};

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds: 1_764_014_400 + seconds, nanos: 0 })
    }

    fn event(kind: EventType, seconds: i64) -> HistoryEvent {
        HistoryEvent { r#type: kind as i32, time: at(seconds), step: "a".to_owned(), attempt: 1, ..Default::default() }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_failed_attempt_says_why_and_when_the_next_one_is_due() {
        let failure = Failure { r#type: "ExitCode".to_owned(), message: "exit code 1".to_owned(), ..Default::default() };
        let event =
            HistoryEvent { outcome: "failed".to_owned(), failure: Some(failure), due_at: at(5), ..event(EventType::AttemptEnded, 1) };
        let expected = "20:00:01.000  a                     attempt 1 failed: ExitCode: exit code 1, next at 2025-11-24 20:00:05Z";
        assert_eq!(plain(&line(&event)), expected);
    }

    #[test]
    fn ends_say_how() {
        let skipped =
            HistoryEvent { step_status: StepStatus::Skipped as i32, outcome: "upstream".to_owned(), ..event(EventType::StepEnded, 1) };
        assert_eq!(plain(&what(&skipped)), "skipped: upstream");
        let ended = HistoryEvent { run_status: RunStatus::Succeeded as i32, ..event(EventType::RunEnded, 1) };
        assert_eq!(plain(&what(&ended)), "succeeded");
    }

    #[test]
    fn every_kind_of_event_says_something() {
        for number in 1..=39 {
            let kind = EventType::try_from(number).unwrap();
            let event = HistoryEvent { outcome: "approved".to_owned(), reason: "a remark".to_owned(), ..event(kind, 1) };
            assert!(!what(&event).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn items_are_counted_under_their_container() {
        let mut view = View::default();
        let of = |step: &str| HistoryEvent { step: step.to_owned(), attempt: 0, ..event(EventType::ScopeStarted, 1) };
        view.apply(&WatchRunResponse { events: vec![of("a"), of("a[0]"), of("a[1]")], run: None });
        let lines: Vec<_> = view.lines(&at(5).unwrap()).iter().map(|line| plain(line)).collect();
        assert_eq!(lines, ["a  running      4.0s  2 items under way"]);
    }

    #[test]
    fn the_view_shows_what_is_under_way() {
        let mut view = View::default();
        let leased = HistoryEvent { worker: "w1".to_owned(), ..event(EventType::StepLeased, 2) };
        let waiting = HistoryEvent { step: "b".to_owned(), attempt: 0, due_at: at(60), ..event(EventType::StepWaiting, 2) };
        let queued = event(EventType::StepQueued, 1);
        view.apply(&WatchRunResponse { events: vec![queued, waiting, leased], run: None });
        let lines: Vec<_> = view.lines(&at(5).unwrap()).iter().map(|line| plain(line)).collect();
        assert_eq!(lines, ["a  leased       attempt 1  3.0s  w1", "b  waiting      3.0s, 55.0s left"]);
        view.apply(&WatchRunResponse { events: vec![event(EventType::StepEnded, 6)], run: None });
        assert_eq!(view.lines(&at(7).unwrap()).len(), 1);
    }
}
