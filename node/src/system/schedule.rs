//! Schedules: the state of each, and its latest firings.
//!
//! What fires is decided by the leader of the group, which knows clock and calendar; here its decisions are recorded, each only on the state that it
//! was decided on. So a leader that was replaced without noticing changes nothing.
//!
//! Invariants: `version` rises with every change; a firing's number is given once; a number in `starting` or `waiting` has a stored firing of
//! that status; `decided_until_ms` never falls.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;
use quorus_engine::Timestamp;
use quorus_proto::{
    log::{
        ApplySchedule, BackfillSchedule, ChangeSchedule, DecideFirings, FireSchedule, PauseWindow, ScheduleChanged, StoredPause,
        StoredSchedule, change_schedule::Change, schedule_changed::Verdict,
    },
    v1::{Firing, FiringCause, FiringStatus, OverlapPolicy, Principal},
};

use super::{SYSTEM_GROUP, overlay::Overlay, replica::At};
use crate::{
    codec,
    store::{
        StoreError,
        key::{Family, KeyReader, KeyWriter},
        reader::Reader,
    },
};

/// So many of the latest firings of each schedule are kept.
pub const FIRINGS_KEPT: u64 = 1000;
/// So many of the latest request ids are known.
const REQUESTS_KEPT: usize = 100;
/// So many firings that somebody asked for may wait for a decision.
const ASKED_MAX: usize = 100;
/// So many ranges may be made up for at a time.
const BACKFILLS_MAX: usize = 10;
/// So many pauses that are over may matter at a time; beyond, the two latest become one.
const PAUSES_MAX: usize = 100;

/// Which schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduleKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A part of the list of schedules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulePage {
    /// Names and states.
    pub schedules: Vec<(String, StoredSchedule)>,
    /// Name after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl ScheduleKey {
    /// Names a schedule.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    fn state(&self) -> Bytes {
        state_key(&self.namespace, &self.name)
    }

    fn firings(&self) -> KeyWriter {
        KeyWriter::new(SYSTEM_GROUP, Family::Firing, self.namespace.len() + self.name.len() + 10).text(&self.namespace).text(&self.name)
    }

    fn firing(&self, number: u64) -> Bytes {
        self.firings().number(number).finish()
    }
}

fn state_key(namespace: &str, name: &str) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::Schedule, namespace.len() + 1 + name.len()).text(namespace).last(name.as_bytes()).finish()
}

/// True for what the leader itself decided.
pub(super) fn is_decision(command: &ChangeSchedule) -> bool {
    matches!(command.change, Some(Change::Decide(_)))
}

/// Makes or changes a schedule.
pub(super) fn apply(overlay: &mut Overlay<'_>, at: At, command: ApplySchedule) -> Result<ScheduleChanged, StoreError> {
    let key = ScheduleKey::new(command.namespace, command.name);
    let known = read(overlay, &key)?;
    if let Some(state) = known.as_ref().filter(|state| state.digest == command.digest) {
        return Ok(answer(Verdict::Unchanged, Some(state.clone())));
    }
    let mut state = known.unwrap_or_else(|| StoredSchedule {
        uid: at.index,
        created_by: command.principal.clone(),
        created_at_ms: at.time.0,
        ..StoredSchedule::default()
    });
    state.definition = command.definition;
    state.digest = command.digest;
    state.revision = at.index;
    state.applied_by = command.principal;
    state.applied_at_ms = at.time.0;
    // Times of the old definition that nobody decided belong to it; the new one counts from now on.
    state.decided_until_ms = state.decided_until_ms.max(at.time.0);
    write(overlay, &key, &mut state);
    Ok(answer(Verdict::Changed, Some(state)))
}

/// Changes the state of a schedule.
pub(super) fn change(overlay: &mut Overlay<'_>, at: At, command: ChangeSchedule) -> Result<ScheduleChanged, StoreError> {
    let ChangeSchedule { namespace, name, principal, change } = command;
    let key = ScheduleKey::new(namespace, name);
    let Some(mut state) = read(overlay, &key)? else { return Ok(answer(Verdict::Unknown, None)) };
    let mut asked = None;
    let verdict = match change {
        Some(Change::Delete(_)) => {
            delete(overlay, &key, &state);
            return Ok(answer(Verdict::Changed, None));
        }
        Some(Change::Pause(pause)) => {
            let since_ms = state.pause.as_ref().map_or(at.time.0, |known| known.since_ms);
            state.pause = Some(StoredPause { since_ms, principal, reason: pause.reason });
            Verdict::Changed
        }
        Some(Change::Resume(_)) => resume(&mut state, at.time),
        Some(Change::Fire(fire)) => {
            let (verdict, firing) = fire_now(&mut state, at.time, fire, principal);
            asked = Some(firing);
            verdict
        }
        Some(Change::Backfill(backfill)) => add_backfill(&mut state, backfill),
        Some(Change::Decide(decision)) => decide(overlay, &key, &mut state, decision),
        // Decoding refuses a command without one.
        None => Verdict::Unchanged,
    };
    if verdict == Verdict::Changed {
        write(overlay, &key, &mut state);
    }
    Ok(ScheduleChanged { firing: asked, ..answer(verdict, Some(state)) })
}

fn resume(state: &mut StoredSchedule, now: Timestamp) -> Verdict {
    let Some(pause) = state.pause.take() else { return Verdict::Unchanged };
    let window = PauseWindow { after_ms: pause.since_ms, until_ms: now.0.max(pause.since_ms) };
    let full = state.pauses.len() >= PAUSES_MAX;
    match state.pauses.last_mut().filter(|_| full) {
        Some(last) => last.until_ms = window.until_ms,
        None => state.pauses.push(window),
    }
    Verdict::Changed
}

fn fire_now(state: &mut StoredSchedule, now: Timestamp, fire: FireSchedule, principal: Option<Principal>) -> (Verdict, Firing) {
    let time = Some(time(now));
    let firing = Firing {
        scheduled_at: time,
        due_at: time,
        decided_at: time,
        count: 1,
        status: FiringStatus::Waiting.into(),
        run_id: fire.run_id,
        cause: FiringCause::Manual.into(),
        requested_by: principal,
        overlap: fire.overlap,
        ..Firing::default()
    };
    if !remember(state, &fire.request_id) {
        return (Verdict::Unchanged, firing);
    }
    if state.asked.len() >= ASKED_MAX {
        state.requests.pop();
        return (Verdict::Full, firing);
    }
    state.asked.push(firing.clone());
    (Verdict::Changed, firing)
}

fn add_backfill(state: &mut StoredSchedule, backfill: BackfillSchedule) -> Verdict {
    if state.backfills.len() >= BACKFILLS_MAX && !state.requests.contains(&backfill.request_id) {
        return Verdict::Full;
    }
    let Some(range) = backfill.range.filter(|_| remember(state, &backfill.request_id)) else { return Verdict::Unchanged };
    state.backfills.push(range);
    Verdict::Changed
}

/// False if the request is known already.
fn remember(state: &mut StoredSchedule, request_id: &str) -> bool {
    if state.requests.iter().any(|known| known == request_id) {
        return false;
    }
    if state.requests.len() >= REQUESTS_KEPT {
        state.requests.remove(0);
    }
    state.requests.push(request_id.to_owned());
    true
}

fn decide(overlay: &mut Overlay<'_>, key: &ScheduleKey, state: &mut StoredSchedule, decision: DecideFirings) -> Verdict {
    if decision.expected_version != state.version {
        return Verdict::Stale;
    }
    state.active_runs.retain(|run| !decision.ended_runs.contains(run));
    for firing in decision.updates {
        record(overlay, key, state, &firing);
    }
    for mut firing in decision.firings {
        state.asked.retain(|asked| asked.run_id != firing.run_id || firing.run_id.is_empty());
        state.last_firing += 1;
        firing.number = state.last_firing;
        record(overlay, key, state, &firing);
        if let Some(old) = firing.number.checked_sub(FIRINGS_KEPT).filter(|old| *old > 0 && !state.starting.contains(old)) {
            overlay.delete(key.firing(old));
        }
    }
    for range in decision.backfills {
        let over = range.done_until_ms >= range.until_ms;
        if let Some(place) = state.backfills.iter().position(|known| known.id == range.id) {
            if over {
                state.backfills.remove(place);
            } else {
                state.backfills[place] = range;
            }
        }
    }
    state.decided_until_ms = state.decided_until_ms.max(decision.decided_until_ms);
    state.pauses.retain(|pause| pause.until_ms > state.decided_until_ms);
    Verdict::Changed
}

/// Writes a firing and notes what it means for the schedule.
fn record(overlay: &mut Overlay<'_>, key: &ScheduleKey, state: &mut StoredSchedule, firing: &Firing) {
    state.starting.retain(|number| *number != firing.number);
    if state.waiting == firing.number {
        state.waiting = 0;
    }
    match firing.status() {
        FiringStatus::Starting => state.starting.push(firing.number),
        FiringStatus::Waiting => state.waiting = firing.number,
        FiringStatus::Started => {
            state.started_total += 1;
            if firing.overlap() != OverlapPolicy::Allow && !state.active_runs.contains(&firing.run_id) {
                state.active_runs.push(firing.run_id.clone());
            }
        }
        FiringStatus::Skipped => state.skipped_total += firing.count,
        FiringStatus::Failed => state.failed_total += 1,
        FiringStatus::Unspecified => {}
    }
    overlay.put(key.firing(firing.number), firing.encode_to_vec().into());
}

fn delete(overlay: &mut Overlay<'_>, key: &ScheduleKey, state: &StoredSchedule) {
    overlay.delete(key.state());
    let oldest = state.starting.iter().copied().min().unwrap_or(state.last_firing).min(state.last_firing.saturating_sub(FIRINGS_KEPT));
    for number in oldest..=state.last_firing {
        overlay.delete(key.firing(number));
    }
}

fn answer(verdict: Verdict, state: Option<StoredSchedule>) -> ScheduleChanged {
    ScheduleChanged { verdict: verdict.into(), state, firing: None }
}

fn read(overlay: &Overlay<'_>, key: &ScheduleKey) -> Result<Option<StoredSchedule>, StoreError> {
    Ok(overlay.get(&key.state())?.map(|bytes| codec::decode("schedule", bytes)).transpose()?)
}

fn write(overlay: &mut Overlay<'_>, key: &ScheduleKey, state: &mut StoredSchedule) {
    state.version += 1;
    overlay.put(key.state(), state.encode_to_vec().into());
}

/// A time as messages have it.
fn time(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds: at.0.div_euclid(1000), nanos }
}

pub(super) fn get(reader: &(impl Reader + ?Sized), key: &ScheduleKey) -> Result<Option<StoredSchedule>, StoreError> {
    Ok(reader.read(&key.state())?.map(|bytes| codec::decode("schedule", bytes)).transpose()?)
}

pub(super) fn firing(reader: &(impl Reader + ?Sized), key: &ScheduleKey, number: u64) -> Result<Option<Firing>, StoreError> {
    Ok(reader.read(&key.firing(number))?.map(|bytes| codec::decode("firing", bytes)).transpose()?)
}

/// The numbers are without gaps, but for those that are too old.
pub(super) fn visit_firings(
    reader: &(impl Reader + ?Sized),
    key: &ScheduleKey,
    before: u64,
    mut visitor: impl FnMut(Firing) -> bool,
) -> Result<(), StoreError> {
    let last = get(reader, key)?.map_or(0, |state| state.last_firing);
    let newest = last.min(before.saturating_sub(1));
    for number in (last.saturating_sub(FIRINGS_KEPT) + 1..=newest).rev() {
        if let Some(firing) = firing(reader, key, number)?
            && !visitor(firing)
        {
            break;
        }
    }
    Ok(())
}

pub(super) fn keys(reader: &(impl Reader + ?Sized)) -> Result<Vec<ScheduleKey>, StoreError> {
    let mut keys = Vec::new();
    reader.visit(&KeyWriter::new(SYSTEM_GROUP, Family::Schedule, 0).range(), |key, _| {
        let mut key = KeyReader::new(key)?;
        let namespace = key.text()?;
        keys.push(ScheduleKey::new(namespace, key.last_text()?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

/// At most `limit` schedules whose names come after `after`.
pub(super) fn page(
    reader: &(impl Reader + ?Sized),
    namespace: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<SchedulePage, StoreError> {
    let (first, end) = KeyWriter::new(SYSTEM_GROUP, Family::Schedule, namespace.len() + 1).text(namespace).range();
    let from = after.map_or(first, |after| [state_key(namespace, after).as_ref(), &[0]].concat().into());
    let mut page = SchedulePage::default();
    reader.visit(&(from, end), |key, value| {
        if page.schedules.len() == limit {
            page.next = page.schedules.last().map(|(name, _)| name.clone());
            return Ok(ControlFlow::Break(()));
        }
        let mut key = KeyReader::new(key)?;
        key.text()?;
        page.schedules.push((key.last_text()?.to_owned(), codec::decode("schedule", Bytes::copy_from_slice(value))?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests;
