//! Durable timers, in the order in which they are due.
//!
//! `[group]'T'[due][uid][kind u8][step]` -> nothing. Each is derived from a field of a head or a step (see [`TimerKind`]): written and deleted with
//! that field, so the index always equals what the state says.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::{RunUid, StepId, TimerKind, Timestamp};
use quorus_raft::GroupId;

use super::{
    StoreError, info,
    key::{Family, KeyReader, KeyWriter, prefix_end},
    reader::Reader,
};
use crate::codec::CodecError;

/// A durable timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When it fires.
    pub due: Timestamp,
    /// Of which run.
    pub uid: RunUid,
    /// Which of the timers.
    pub kind: TimerKind,
    /// Of which step; `None` for the run's own.
    pub step: Option<StepId>,
}

/// A timer with the name of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerEntry {
    /// The timer.
    pub timer: Timer,
    /// Namespace of the run.
    pub namespace: String,
    /// Id of the run.
    pub run_id: String,
}

pub(crate) fn key(group: GroupId, timer: &Timer) -> Bytes {
    let step = timer.step.as_ref().map_or("", StepId::as_str);
    KeyWriter::new(group, Family::Timer, 25 + step.len())
        .time(timer.due)
        .uid(timer.uid)
        .byte(kind_to_byte(timer.kind))
        .last(step.as_bytes())
        .finish()
}

pub(crate) fn parse(key: &[u8]) -> Result<Timer, StoreError> {
    let mut reader = KeyReader::new(key)?;
    let due = reader.time()?;
    let uid = reader.uid()?;
    let kind = kind_from_byte(reader.byte()?)?;
    Ok(Timer { due, uid, kind, step: reader.last_step()? })
}

/// At most `limit` timers that come after `after` and are due at `until` or before.
pub(crate) fn page(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    after: Option<&Timer>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Timer>, StoreError> {
    let from = match after {
        // The key itself followed by a zero byte is the first key after it.
        Some(timer) => [key(group, timer).as_ref(), &[0]].concat().into(),
        None => KeyWriter::new(group, Family::Timer, 0).finish(),
    };
    let end = prefix_end(&KeyWriter::new(group, Family::Timer, 8).time(until).finish());
    let mut timers = Vec::new();
    if limit == 0 || from >= end {
        return Ok(timers);
    }
    reader.visit(&(from, end), |key, _| {
        timers.push(parse(key)?);
        Ok(if timers.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(timers)
}

/// The first timer that is due later than `time`.
pub(crate) fn first_after(reader: &(impl Reader + ?Sized), group: GroupId, time: Timestamp) -> Result<Option<Timer>, StoreError> {
    let from = prefix_end(&KeyWriter::new(group, Family::Timer, 8).time(time).finish());
    let (_, end) = KeyWriter::new(group, Family::Timer, 0).range();
    let mut first = None;
    if from < end {
        reader.visit(&(from, end), |key, _| {
            first = Some(parse(key)?);
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(first)
}

/// Adds the names of the runs.
pub(crate) fn resolve(reader: &(impl Reader + ?Sized), group: GroupId, timers: Vec<Timer>) -> Result<Vec<TimerEntry>, StoreError> {
    let mut entries = Vec::with_capacity(timers.len());
    for timer in timers {
        let info = info::get(reader, group, timer.uid)?.ok_or(StoreError::Missing { what: "info", uid: timer.uid })?;
        entries.push(TimerEntry { timer, namespace: info.namespace, run_id: info.run_id });
    }
    Ok(entries)
}

/// The numbers are on disk.
fn kind_to_byte(kind: TimerKind) -> u8 {
    match kind {
        TimerKind::RunTimeout => 1,
        TimerKind::Due => 2,
        TimerKind::StepTimeout => 3,
        TimerKind::CancelGrace => 4,
        TimerKind::CompensationTimeout => 5,
        TimerKind::SlotTimeout => 6,
    }
}

fn kind_from_byte(byte: u8) -> Result<TimerKind, StoreError> {
    match byte {
        1 => Ok(TimerKind::RunTimeout),
        2 => Ok(TimerKind::Due),
        3 => Ok(TimerKind::StepTimeout),
        4 => Ok(TimerKind::CancelGrace),
        5 => Ok(TimerKind::CompensationTimeout),
        6 => Ok(TimerKind::SlotTimeout),
        _ => Err(CodecError::UnknownValue { what: "timer kind", value: byte.into() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timer() -> impl Strategy<Value = Timer> {
        use TimerKind::*;
        let kind = prop::sample::select(vec![RunTimeout, Due, StepTimeout, CancelGrace, CompensationTimeout, SlotTimeout]);
        (any::<i64>(), any::<u128>(), kind, proptest::option::of("[a-z][a-z0-9_]{0,5}")).prop_map(|(due, uid, kind, step)| Timer {
            due: Timestamp(due),
            uid: RunUid(uid),
            kind,
            step: step.map(|id| StepId(id.into())),
        })
    }

    proptest! {
        #[test]
        fn timer_survives_its_key(timer in timer()) {
            prop_assert_eq!(parse(&key(9, &timer)).unwrap(), timer);
        }

        #[test]
        fn keys_are_in_the_order_of_timers(a in timer(), b in timer()) {
            prop_assert_eq!(key(9, &a).cmp(&key(9, &b)), a.cmp(&b));
        }
    }
}
