//! What a schedule does now: a pure function of its state, the clock, and which of its runs have ended.
//!
//! Nominal times are decided in order, each exactly once: it starts, waits for an earlier run, or is skipped with a reason. Times that are skipped
//! for having been missed or paused are told as ranges, so that a long pause is one entry of the history.

use std::collections::BTreeSet;

use quorus_engine::Timestamp;
use quorus_proto::{
    log::{DecideFirings, ScheduleRange, StoredSchedule},
    v1::{Firing, FiringCause, FiringStatus, OverlapPolicy, Principal},
};

use super::{definition::Definition, timing::stamp};
use crate::{api::to_proto::time, resource::short_hash};

/// So many firings may have been decided without being started; later ones wait for room.
const STARTING_MAX: usize = 100;
/// So many times are looked at in one decision; the rest is the next one's.
const TIMES_MAX: u64 = 5000;

/// Why a firing was skipped.
pub(crate) mod reason {
    /// An earlier run is going on.
    pub(crate) const OVERLAP: &str = "overlap";
    /// An earlier run is going on, and another firing waits for its end.
    pub(crate) const BUFFER_FULL: &str = "buffer_full";
    /// A newer firing took its place.
    pub(crate) const SUPERSEDED: &str = "superseded";
    /// The schedule was paused.
    pub(crate) const PAUSED: &str = "paused";
    /// It was late by more than the catch-up window.
    pub(crate) const MISSED: &str = "missed";
}

/// A schedule at one moment.
pub(crate) struct Moment<'a> {
    pub(crate) name: &'a str,
    pub(crate) definition: &'a Definition,
    pub(crate) state: &'a StoredSchedule,
    /// The firings that are `starting`.
    pub(crate) starting: &'a [Firing],
    /// The firing that is `waiting`.
    pub(crate) waiting: Option<&'a Firing>,
    /// Those of the active runs that have ended.
    pub(crate) ended: &'a BTreeSet<String>,
    pub(crate) now: Timestamp,
}

/// What is to be recorded, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// `None` if there is nothing to record.
    pub(crate) record: Option<DecideFirings>,
    /// When the next time is due; `None` if none will come by itself.
    pub(crate) wake: Option<Timestamp>,
    /// Something waits for the end of a run.
    pub(crate) blocked: bool,
}

/// True if deciding depends on which runs have ended: looking that up costs a read of each.
pub(crate) fn asks_for_runs(definition: &Definition, state: &StoredSchedule, now: Timestamp) -> bool {
    let due = || definition.timing.after(Timestamp(state.decided_until_ms)).is_some_and(|next| next <= now);
    let waits = state.waiting > 0 || !state.asked.is_empty() || !state.backfills.is_empty();
    !state.active_runs.is_empty() && (waits || due())
}

/// Decides. See the module.
pub(crate) fn decide(moment: &Moment<'_>) -> Decision {
    let Moment { state, starting, ended, now, .. } = *moment;
    // Firings beside which others may start count for nobody.
    let busy =
        state.active_runs.iter().any(|run| !ended.contains(run)) || starting.iter().any(|firing| firing.overlap() != OverlapPolicy::Allow);
    let mut deciding = Deciding {
        moment,
        busy,
        room: STARTING_MAX.saturating_sub(starting.len()),
        waiting: moment.waiting.map(|firing| Waiting::Stored(Box::new(firing.clone()))),
        firings: Vec::new(),
        updates: Vec::new(),
    };
    deciding.wake_waiting();
    deciding.asked();
    let (decided_until, wake) = deciding.due();
    let backfills = deciding.backfills();
    let crowded = deciding.room == 0;
    let blocked = (deciding.waiting.is_some() && !deciding.held()) || (backfills.in_the_way && !crowded);
    let Deciding { firings, updates, .. } = deciding;
    // That runs have ended is worth no record of its own: it can be looked up again.
    let nothing = firings.is_empty() && updates.is_empty() && backfills.changed.is_empty();
    let record = (!nothing).then(|| DecideFirings {
        expected_version: state.version,
        decided_until_ms: decided_until.0,
        firings,
        updates,
        ended_runs: state.active_runs.iter().filter(|run| ended.contains(*run)).cloned().collect(),
        backfills: backfills.changed,
    });
    let wake = if crowded { None } else { wake };
    Decision { record, wake: wake.map(|wake| wake.max(now)), blocked }
}

enum Waiting {
    /// Recorded before.
    Stored(Box<Firing>),
    /// Of this decision; where in `firings`.
    New(usize),
}

#[derive(Default)]
struct Backfills {
    changed: Vec<ScheduleRange>,
    /// Some wait for the end of a run.
    in_the_way: bool,
}

struct Deciding<'a> {
    moment: &'a Moment<'a>,
    /// A run that counts is going on or about to.
    busy: bool,
    /// So many more may start.
    room: usize,
    waiting: Option<Waiting>,
    firings: Vec<Firing>,
    updates: Vec<Firing>,
}

impl Deciding<'_> {
    /// Nothing is going on any more: the firing that waited for that starts, unless the schedule is paused.
    fn wake_waiting(&mut self) {
        if self.busy || self.room == 0 || self.held() {
            return;
        }
        if let Some(Waiting::Stored(firing)) = self.waiting.take() {
            self.updates.push(Firing { status: FiringStatus::Starting.into(), ..*firing });
            self.busy = true;
            self.room -= 1;
        }
    }

    /// The firing that waits came by itself, and the schedule is paused.
    fn held(&self) -> bool {
        let by_itself = self.moment.waiting.is_some_and(|firing| firing.cause() == FiringCause::Time);
        by_itself && self.moment.state.pause.is_some() && matches!(self.waiting, Some(Waiting::Stored(_)))
    }

    /// What people asked for. They wait for a person's patience, so they come first.
    fn asked(&mut self) {
        for asked in &self.moment.state.asked {
            if self.room == 0 {
                return;
            }
            self.offer(Firing { decided_at: Some(time(self.moment.now)), ..asked.clone() });
        }
    }

    /// The nominal times whose time has come; returns up to where all are decided, and when the next one is due.
    fn due(&mut self) -> (Timestamp, Option<Timestamp>) {
        let Moment { definition, state, now, .. } = *self.moment;
        let mut until = Timestamp(state.decided_until_ms);
        let mut looked_at = 0;
        loop {
            let Some(next) = definition.timing.after(until) else { return (until, None) };
            if looked_at >= TIMES_MAX {
                return (until, Some(now));
            }
            let due = self.due_at(next);
            if due > now {
                return (until, Some(due));
            }
            if let Some(pause) = state.pauses.iter().find(|pause| pause.after_ms < next.0 && next.0 <= pause.until_ms) {
                let span = definition.timing.span(until, Timestamp(pause.until_ms), TIMES_MAX);
                until = self.skip_span(next, span, reason::PAUSED, "the schedule was paused");
                looked_at += TIMES_MAX / 10;
                continue;
            }
            if state.pause.as_ref().is_some_and(|pause| next.0 > pause.since_ms) {
                // Told when the pause is over: how many there are is known then.
                return (until, None);
            }
            let late = now.0.saturating_sub(due.0);
            if late > definition.catch_up_window {
                // Up to the pause that begins next, or to where it is not too late.
                let stop = now.0 - definition.catch_up_window - definition.jitter - 1;
                let pauses = state.pauses.iter().map(|pause| pause.after_ms).chain(state.pause.as_ref().map(|pause| pause.since_ms));
                let stop = pauses.filter(|after| *after >= next.0).fold(stop, i64::min).max(next.0);
                let span = definition.timing.span(until, Timestamp(stop), TIMES_MAX);
                until = self.skip_span(next, span, reason::MISSED, "it was late by more than the catch-up window");
                looked_at += TIMES_MAX / 10;
                continue;
            }
            if self.room == 0 {
                return (until, None);
            }
            let run_id = format!("{}-{}", self.moment.name, stamp(next));
            self.offer(self.firing(next, due, run_id, definition.overlap, FiringCause::Time));
            until = next;
            looked_at += 1;
        }
    }

    /// Ranges that are being made up for, as far as there is room and nothing is in the way.
    fn backfills(&mut self) -> Backfills {
        let Moment { definition, state, .. } = *self.moment;
        let mut result = Backfills::default();
        for range in &state.backfills {
            let mut range = range.clone();
            let begun_at = range.done_until_ms;
            loop {
                let next = definition.timing.after(Timestamp(range.done_until_ms)).filter(|next| next.0 <= range.until_ms);
                let Some(next) = next else {
                    range.done_until_ms = range.until_ms;
                    break;
                };
                // One after the other: nothing of a range is lost to a buffer that is full.
                let in_the_way = range.overlap() == OverlapPolicy::BufferOne && (self.busy || self.waiting.is_some());
                if self.room == 0 || in_the_way {
                    result.in_the_way |= in_the_way;
                    break;
                }
                let run_id = format!("{}-{}-{}", self.moment.name, stamp(next), range.id);
                let firing = self.firing(next, self.moment.now, run_id, range.overlap(), FiringCause::Backfill);
                self.offer(Firing { requested_by: range.principal.clone(), ..firing });
                range.done_until_ms = next.0;
            }
            if range.done_until_ms != begun_at {
                result.changed.push(range);
            }
        }
        result
    }

    fn firing(&self, nominal: Timestamp, due: Timestamp, run_id: String, overlap: OverlapPolicy, cause: FiringCause) -> Firing {
        Firing {
            scheduled_at: Some(time(nominal)),
            due_at: Some(time(due)),
            decided_at: Some(time(self.moment.now)),
            count: 1,
            run_id,
            overlap: overlap.into(),
            cause: cause.into(),
            ..Firing::default()
        }
    }

    fn due_at(&self, nominal: Timestamp) -> Timestamp {
        Timestamp(nominal.0 + self.moment.definition.jitter_of(self.moment.state.uid, nominal))
    }

    /// Decides about one firing by its policy.
    fn offer(&mut self, firing: Firing) {
        let going_on = || self.moment.state.active_runs.first().map(|run| format!("run {run} is going on")).unwrap_or_default();
        match firing.overlap() {
            OverlapPolicy::Allow => self.start(firing),
            _ if !self.busy && self.waiting.is_none() => self.start(firing),
            OverlapPolicy::Unspecified | OverlapPolicy::Skip => self.skip(firing, reason::OVERLAP, &going_on()),
            OverlapPolicy::BufferOne if self.waiting.is_some() => {
                self.skip(firing, reason::BUFFER_FULL, "another firing waits for the end of the run");
            }
            OverlapPolicy::BufferOne => self.wait(firing),
            OverlapPolicy::CancelOther | OverlapPolicy::TerminateOther => {
                self.supersede();
                self.wait(firing);
            }
        }
    }

    fn start(&mut self, mut firing: Firing) {
        firing.status = FiringStatus::Starting.into();
        self.busy |= firing.overlap() != OverlapPolicy::Allow;
        self.room = self.room.saturating_sub(1);
        self.firings.push(firing);
    }

    fn wait(&mut self, mut firing: Firing) {
        firing.status = FiringStatus::Waiting.into();
        self.firings.push(firing);
        self.waiting = Some(Waiting::New(self.firings.len() - 1));
    }

    /// A newer firing takes the place of the one that waits.
    fn supersede(&mut self) {
        let skipped = |firing: &mut Firing| {
            firing.status = FiringStatus::Skipped.into();
            firing.reason = reason::SUPERSEDED.to_owned();
            firing.message = "a newer firing took its place".to_owned();
        };
        match self.waiting.take() {
            Some(Waiting::Stored(mut firing)) => {
                skipped(&mut firing);
                self.updates.push(*firing);
            }
            Some(Waiting::New(place)) => {
                if let Some(firing) = self.firings.get_mut(place) {
                    skipped(firing);
                }
            }
            None => {}
        }
    }

    fn skip(&mut self, mut firing: Firing, reason: &str, message: &str) {
        firing.status = FiringStatus::Skipped.into();
        firing.reason = reason.to_owned();
        firing.message = message.to_owned();
        self.firings.push(firing);
    }

    /// Skips a range of nominal times as one entry; returns its last.
    fn skip_span(&mut self, first: Timestamp, span: Option<(Timestamp, u64)>, reason: &str, message: &str) -> Timestamp {
        let (last, count) = span.unwrap_or((first, 1));
        let due = self.due_at(first);
        let mut firing = self.firing(first, due, String::new(), self.moment.definition.overlap, FiringCause::Time);
        if last > first {
            firing.skipped_until = Some(time(last));
        }
        firing.count = count;
        self.skip(firing, reason, message);
        last
    }
}

/// In whose name a firing's run is started: of who asked for it, else of who applied the schedule.
pub(crate) fn starter(state: &StoredSchedule, firing: &Firing) -> Option<Principal> {
    firing.requested_by.clone().or_else(|| state.applied_by.clone())
}

/// The run of a firing that somebody asks for: the same for every repetition of the request.
pub(crate) fn manual_run_id(name: &str, request_id: &str) -> String {
    format!("{name}-now-{:.12}", short_hash(&[name, request_id]))
}

/// The id of a range that is made up for, which is part of its runs' ids.
pub(crate) fn backfill_id(request_id: &str) -> String {
    format!("b{:.12}", short_hash(&[request_id]))
}
