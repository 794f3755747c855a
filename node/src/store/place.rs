//! Indexes of places in runs: a run and one of its steps, or the run itself.
//!
//! - `[group]'X'[uid][step]` -> nothing: what owes something to others, derived from `StepState::owes` and, without a step, `RunHead::owes`. A new
//!   leader's courier delivers it.
//! - `[group]'A'[uid][step]` -> nothing: steps that wait for a signal or for people.
//! - `[group]'B'[uid][step]` -> nothing: dead letters: items that failed for good in a run that went on and, without a step, runs that need attention.
//!
//! Written and deleted with the state that they are derived from.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::{RunUid, StepId};
use quorus_raft::GroupId;

use super::{
    StoreError, info,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};

/// A place in a run: one of its steps, or the run itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunPlace {
    /// Of which run.
    pub uid: RunUid,
    /// Which step; `None` for the run itself.
    pub step: Option<StepId>,
}

/// A place with the name of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceEntry {
    /// The place.
    pub place: RunPlace,
    /// Namespace of the run.
    pub namespace: String,
    /// Id of the run.
    pub run_id: String,
}

/// What an index of places is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// Something is owed to others.
    Owed,
    /// Waits for a signal or for people.
    Awaiting,
    /// Needs a person.
    DeadLetter,
}

impl Places {
    fn family(self) -> Family {
        match self {
            Self::Owed => Family::Owed,
            Self::Awaiting => Family::Awaiting,
            Self::DeadLetter => Family::DeadLetter,
        }
    }
}

pub(crate) fn key(group: GroupId, places: Places, uid: RunUid, step: Option<&StepId>) -> Bytes {
    let step = step.map_or("", StepId::as_str);
    KeyWriter::new(group, places.family(), 16 + step.len()).uid(uid).last(step.as_bytes()).finish()
}

/// The places of one run.
pub(crate) fn range_of_run(group: GroupId, places: Places, uid: RunUid) -> (Bytes, Bytes) {
    KeyWriter::new(group, places.family(), 16).uid(uid).range()
}

pub(crate) fn parse(key: &[u8]) -> Result<RunPlace, StoreError> {
    let mut reader = KeyReader::new(key)?;
    let uid = reader.uid()?;
    Ok(RunPlace { uid, step: reader.last_step()? })
}

/// At most `limit` places that come after `after`.
pub(crate) fn page(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    places: Places,
    after: Option<&RunPlace>,
    limit: usize,
) -> Result<Vec<PlaceEntry>, StoreError> {
    let (first, end) = KeyWriter::new(group, places.family(), 0).range();
    let from = match after {
        // The key itself followed by a zero byte is the first key after it.
        Some(place) => [key(group, places, place.uid, place.step.as_ref()).as_ref(), &[0]].concat().into(),
        None => first,
    };
    let mut found: Vec<RunPlace> = Vec::new();
    if limit == 0 || from >= end {
        return Ok(Vec::new());
    }
    reader.visit(&(from, end), |key, _| {
        found.push(parse(key)?);
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let mut entries = Vec::with_capacity(found.len());
    let mut last: Option<quorus_engine::RunInfo> = None;
    for place in found {
        let info = match last.take() {
            Some(info) if info.uid == place.uid => info,
            _ => info::get(reader, group, place.uid)?.ok_or(StoreError::Missing { what: "info", uid: place.uid })?,
        };
        entries.push(PlaceEntry { place, namespace: info.namespace.clone(), run_id: info.run_id.clone() });
        last = Some(info);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_key_and_the_run_comes_before_its_steps() {
        let step = StepId::from("a[1].b:compensate");
        let of_step = key(4, Places::Owed, RunUid(8), Some(&step));
        let of_run = key(4, Places::Owed, RunUid(8), None);
        assert_eq!(parse(&of_step).unwrap(), RunPlace { uid: RunUid(8), step: Some(step) });
        assert_eq!(parse(&of_run).unwrap(), RunPlace { uid: RunUid(8), step: None });
        assert!(of_run < of_step);
        assert_ne!(of_run, key(4, Places::Awaiting, RunUid(8), None));
    }
}
