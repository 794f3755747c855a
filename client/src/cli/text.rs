//! Words and numbers for people.

use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use prost_types::Timestamp;
use quorus_client::v1::{Failure, Payload, RunStatus, StepStatus};

/// `RUN_STATUS_BACKING_OFF` is `backing_off`.
pub(crate) fn run_status(status: RunStatus) -> String {
    lower(status.as_str_name(), "RUN_STATUS_")
}

pub(crate) fn step_status(status: StepStatus) -> String {
    lower(status.as_str_name(), "STEP_STATUS_")
}

pub(crate) fn lower(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// Green is good, red is bad, yellow is on its way there, cyan is under way.
pub(crate) fn run_style(status: RunStatus) -> Style {
    match status {
        RunStatus::Succeeded => AnsiColor::Green.on_default(),
        RunStatus::Failed | RunStatus::Terminated | RunStatus::NeedsAttention => AnsiColor::Red.on_default(),
        RunStatus::Failing | RunStatus::Cancelling | RunStatus::Cancelled | RunStatus::Compensating => AnsiColor::Yellow.on_default(),
        RunStatus::Running | RunStatus::Queued | RunStatus::Unspecified => AnsiColor::Cyan.on_default(),
    }
}

pub(crate) fn step_style(status: StepStatus) -> Style {
    match status {
        StepStatus::Succeeded => AnsiColor::Green.on_default(),
        StepStatus::Failed => AnsiColor::Red.on_default(),
        StepStatus::BackingOff | StepStatus::Cancelled => AnsiColor::Yellow.on_default(),
        StepStatus::Leased | StepStatus::Running => AnsiColor::Cyan.on_default(),
        StepStatus::Awaiting | StepStatus::Waiting | StepStatus::Queued => AnsiColor::Blue.on_default(),
        StepStatus::Pending | StepStatus::Skipped | StepStatus::Unspecified => Style::new().dimmed(),
    }
}

pub(crate) fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `2026-11-24 20:00:01`, in UTC.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    let Some(time) = time else { return String::new() };
    let text = time.to_string();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {}Z", rest.split(['.', 'Z']).next().unwrap_or_default())
}

/// `20:00:01.250`, in UTC.
pub(crate) fn clock(time: Option<&Timestamp>) -> String {
    let Some(time) = time else { return "            ".to_owned() };
    let text = Timestamp { seconds: time.seconds, nanos: 0 }.to_string();
    let rest = text.split_once('T').map_or("", |(_, rest)| rest).trim_end_matches('Z');
    format!("{rest}.{:03}", time.nanos / 1_000_000)
}

/// Time from one instant to another; `None` if either is missing or they are in the wrong order.
pub(crate) fn between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> Option<Duration> {
    let at = |time: &Timestamp| SystemTime::try_from(*time).ok();
    at(to?)?.duration_since(at(from?)?).ok()
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Two units at most: `350ms`, `4.2s`, `3m12s`, `5h04m`, `2d03h`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=59 => format!("{:.1}s", duration.as_secs_f64()),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago; `-` if unknown.
pub(crate) fn age(time: Option<&Timestamp>) -> String {
    between(time, Some(&now())).map_or_else(|| "-".to_owned(), span)
}

/// `Type: message`.
pub(crate) fn failure(failure: Option<&Failure>) -> String {
    match failure {
        Some(failure) if failure.message.is_empty() => failure.r#type.clone(),
        Some(failure) => format!("{}: {}", failure.r#type, failure.message),
        None => String::new(),
    }
}

/// A payload on one line, cut to a length.
pub(crate) fn payload(payload: &Payload, max: usize) -> String {
    if !matches!(payload.encoding.as_str(), "" | "json") {
        return format!("({} bytes of {})", payload.data.len(), payload.encoding);
    }
    let text = String::from_utf8_lossy(&payload.data);
    let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&flat, max)
}

/// Shortens with an ellipsis.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max { text.to_owned() } else { text.chars().take(max.saturating_sub(1)).chain(['…']).collect() }
}

/// `1 step`, `2 steps`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [0, 350, 4200, 192_000, 18_240_000, 183_600_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["0ms", "350ms", "4.2s", "3m12s", "5h04m", "2d03h"]);
    }

    #[test]
    fn statuses_lose_their_prefix() {
        assert_eq!(run_status(RunStatus::Running), "running");
        assert_eq!(step_status(StepStatus::BackingOff), "backing_off");
    }

    #[test]
    fn times_are_utc() {
        let at = Timestamp { seconds: 1_764_014_401, nanos: 250_000_000 };
        assert_eq!(time(Some(&at)), "2025-11-24 20:00:01Z");
        assert_eq!(clock(Some(&at)), "20:00:01.250");
    }

    #[test]
    fn long_payloads_are_cut() {
        let json = Payload { data: "{\n  \"a\": 1,\n  \"b\": 2}".into(), encoding: String::new() };
        assert_eq!(payload(&json, 100), "{ \"a\": 1, \"b\": 2}");
        assert_eq!(payload(&json, 8), "{ \"a\": …");
        assert_eq!(payload(&Payload { data: "xyz".into(), encoding: "aes".to_owned() }, 9), "(3 bytes of aes)");
    }
}
