//! Schedules and their firings for people.

use anstyle::AnsiColor;
use quorus_client::v1::{Firing, FiringStatus, OverlapPolicy, ScheduleState, ScheduleTime, schedule_spec::When};

use super::{
    table,
    text::{age, between, cut, lower, now, painted, span, time},
};

pub(crate) fn name(state: &ScheduleState) -> String {
    state.schedule.as_ref().and_then(|schedule| schedule.metadata.as_ref()).map(|metadata| metadata.name.clone()).unwrap_or_default()
}

/// When it fires next, in its own time zone.
pub(crate) fn next(state: &ScheduleState) -> String {
    state.next.first().map_or_else(|| "never".to_owned(), |next| next.local.clone())
}

pub(crate) fn schedules(schedules: &[ScheduleState]) -> String {
    let row = |state: &ScheduleState| {
        let last = state.recent.first();
        let (last_at, last_status) =
            last.map_or(("-".to_owned(), "-".to_owned()), |firing| (age(firing.scheduled_at.as_ref()), status(firing)));
        let next = if state.pause.is_some() { painted(AnsiColor::Yellow.on_default(), "paused") } else { next(state) };
        [name(state), when(state), workflow(state), next, last_at, last_status]
    };
    table::table(["NAME", "WHEN", "WORKFLOW", "NEXT", "LAST", "STATUS"], schedules.iter().map(row))
}

/// All that is known of a schedule.
pub(crate) fn schedule(state: &ScheduleState) -> String {
    let spec = state.schedule.clone().and_then(|schedule| schedule.spec).unwrap_or_default();
    let metadata = state.schedule.clone().and_then(|schedule| schedule.metadata).unwrap_or_default();
    let who = |principal: &Option<quorus_client::v1::Principal>| principal.as_ref().map(|who| who.subject.clone()).unwrap_or_default();
    let pause = state.pause.as_ref().map(|pause| {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
        painted(AnsiColor::Yellow.on_default(), &format!("since {} by {}{reason}", time(pause.since.as_ref()), who(&pause.principal)))
    });
    let backfills = state.backfills.iter().map(|range| format!("{} to {}", time(range.from.as_ref()), time(range.until.as_ref())));
    let duration = |value: Option<prost_types::Duration>, default: &str| {
        value.map_or_else(|| default.to_owned(), |value| quorus_spec::format_duration(&value))
    };
    let mut text = table::facts([
        ("Schedule", name(state)),
        ("Namespace", metadata.namespace),
        ("Description", metadata.description),
        ("When", when(state)),
        ("Not before", spec.not_before.clone()),
        ("Not after", spec.not_after.clone()),
        ("Workflow", workflow(state)),
        ("Overlap", overlap(spec.overlap())),
        ("Catch-up window", duration(spec.catch_up_window, "1h")),
        ("Jitter", duration(spec.jitter, "")),
        ("Paused", pause.unwrap_or_default()),
        ("Created", format!("{} by {}", time(state.created_at.as_ref()), who(&state.created_by))),
        ("Applied", format!("{} by {}", time(state.applied_at.as_ref()), who(&state.applied_by))),
        ("So far", format!("{} started, {} skipped, {} failed", state.started_total, state.skipped_total, state.failed_total)),
        ("Active runs", state.active_runs.join(", ")),
        ("Backfills", backfills.collect::<Vec<_>>().join(", ")),
    ]);
    if !state.next.is_empty() {
        text.push_str(&format!("\nNext:\n{}", times(&state.next)));
    }
    if !state.recent.is_empty() {
        text.push_str(&format!("\nLatest firings:\n{}", firings(&state.recent)));
    }
    text
}

pub(crate) fn times(times: &[ScheduleTime]) -> String {
    let now = now();
    let row = |next: &ScheduleTime| {
        let left = between(Some(&now), next.due_at.as_ref()).map_or_else(|| "-".to_owned(), span);
        [next.local.clone(), time(next.scheduled_at.as_ref()), left]
    };
    table::table(["LOCAL TIME", "UTC", "IN"], times.iter().map(row))
}

pub(crate) fn firings(firings: &[Firing]) -> String {
    let row = |firing: &Firing| {
        let until = firing.skipped_until.as_ref().map(|until| format!(" to {}", time(Some(until)))).unwrap_or_default();
        let count = if firing.count > 1 { format!("{} times: ", firing.count) } else { String::new() };
        let why = match (firing.reason.as_str(), firing.message.as_str()) {
            ("", "") => String::new(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        };
        let delay = between(firing.due_at.as_ref(), firing.started_at.as_ref()).map_or_else(|| "-".to_owned(), span);
        let cause = lower(firing.cause().as_str_name(), "FIRING_CAUSE_");
        let run = if firing.run_id.is_empty() { "-".to_owned() } else { firing.run_id.clone() };
        let at = format!("{}{until}", time(firing.scheduled_at.as_ref()));
        [firing.number.to_string(), at, cause, status(firing), delay, run, cut(&format!("{count}{why}"), 80)]
    };
    table::table(["NO", "TIME", "CAUSE", "STATUS", "DELAY", "RUN", "WHY"], firings.iter().map(row))
}

fn status(firing: &Firing) -> String {
    let style = match firing.status() {
        FiringStatus::Started => AnsiColor::Green.on_default(),
        FiringStatus::Failed => AnsiColor::Red.on_default(),
        FiringStatus::Skipped => AnsiColor::Yellow.on_default(),
        FiringStatus::Starting | FiringStatus::Waiting | FiringStatus::Unspecified => AnsiColor::Cyan.on_default(),
    };
    painted(style, &lower(firing.status().as_str_name(), "FIRING_STATUS_"))
}

fn when(state: &ScheduleState) -> String {
    let Some(spec) = state.schedule.as_ref().and_then(|schedule| schedule.spec.as_ref()) else { return String::new() };
    match &spec.when {
        Some(When::Cron(pattern)) if spec.time_zone.is_empty() => pattern.clone(),
        Some(When::Cron(pattern)) => format!("{pattern} {}", spec.time_zone),
        Some(When::Every(period)) => {
            let offset = spec.offset.as_ref().map(|offset| format!(" + {}", quorus_spec::format_duration(offset))).unwrap_or_default();
            format!("every {}{offset}", quorus_spec::format_duration(period))
        }
        Some(When::At(time)) => format!("at {time}"),
        None => String::new(),
    }
}

fn workflow(state: &ScheduleState) -> String {
    let run = state.schedule.as_ref().and_then(|schedule| schedule.spec.as_ref()).and_then(|spec| spec.run.clone()).unwrap_or_default();
    if run.workflow_version == 0 { run.workflow } else { format!("{} v{}", run.workflow, run.workflow_version) }
}

fn overlap(policy: OverlapPolicy) -> String {
    match policy {
        OverlapPolicy::Unspecified => "skip".to_owned(),
        policy => lower(policy.as_str_name(), "OVERLAP_POLICY_"),
    }
}
