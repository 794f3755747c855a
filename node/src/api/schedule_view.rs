//! A schedule's state as clients read it.

use quorus_engine::Timestamp;
use quorus_proto::{
    log::StoredSchedule,
    v1::{self, Firing},
};
use tonic::{Code, Status};

use super::{ApiContext, errors, errors::reason, to_proto::time};
use crate::{
    resource,
    schedules::definition::{self, Definition},
    system::ScheduleKey,
};

/// So many of the times that come next are shown when nothing is said.
pub(super) const NEXT_DEFAULT: u32 = 5;
/// So many at most.
pub(super) const NEXT_MAX: u32 = 1000;

/// The state with what comes next and what came last.
pub(super) fn view(
    context: &ApiContext,
    key: &ScheduleKey,
    state: &StoredSchedule,
    next: u32,
    recent: usize,
) -> Result<v1::ScheduleState, Status> {
    let (schedule, definition) = definition::decode(state.definition.clone())
        .map_err(|error| errors::status(Code::Internal, reason::INTERNAL, format!("the definition can't be read: {error}")))?;
    let next = if next == 0 { NEXT_DEFAULT } else { next.min(NEXT_MAX) };
    let after = Timestamp(state.decided_until_ms).max(context.clock.now());
    let mut firings: Vec<Firing> = Vec::new();
    if recent > 0 {
        let visitor = |firing| {
            firings.push(firing);
            firings.len() < recent
        };
        context.system.visit_firings(key, u64::MAX, visitor).map_err(|error| errors::internal(&error))?;
    }
    let pause = state.pause.clone().map(|pause| v1::SchedulePause {
        since: Some(time(Timestamp(pause.since_ms))),
        principal: pause.principal,
        reason: pause.reason,
    });
    let backfills = state.backfills.iter().map(|range| v1::ScheduleBackfill {
        id: range.id.clone(),
        from: Some(time(Timestamp(range.done_until_ms + 1))),
        until: Some(time(Timestamp(range.until_ms))),
        overlap: range.overlap,
        principal: range.principal.clone(),
    });
    let exists = state.revision > 0;
    Ok(v1::ScheduleState {
        schedule: Some(schedule),
        digest: resource::hex(&state.digest),
        created_by: state.created_by.clone(),
        created_at: exists.then(|| time(Timestamp(state.created_at_ms))),
        applied_by: state.applied_by.clone(),
        applied_at: exists.then(|| time(Timestamp(state.applied_at_ms))),
        pause,
        next: local_times(&definition, state.uid, after, next, None),
        recent: firings,
        active_runs: state.active_runs.clone(),
        backfills: backfills.collect(),
        started_total: state.started_total,
        skipped_total: state.skipped_total,
        failed_total: state.failed_total,
        revision: state.revision,
    })
}

/// The first times after an instant.
pub(super) fn local_times(
    definition: &Definition,
    uid: u64,
    after: Timestamp,
    count: u32,
    until: Option<Timestamp>,
) -> Vec<v1::ScheduleTime> {
    let times = std::iter::successors(definition.timing.after(after), |time| definition.timing.after(*time));
    let times = times.take_while(|next| until.is_none_or(|until| *next <= until));
    times
        .take(count as usize)
        .map(|nominal| v1::ScheduleTime {
            scheduled_at: Some(time(nominal)),
            local: definition.timing.local(nominal),
            due_at: Some(time(Timestamp(nominal.0 + definition.jitter_of(uid, nominal)))),
        })
        .collect()
}

/// Milliseconds since the epoch.
pub(super) fn millis(time: &prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}
