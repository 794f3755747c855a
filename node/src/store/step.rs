//! Where the steps of a run stand.
//!
//! `[group]'S'[uid][step]` -> `log.StepState`. Written by each event of the step, lives as long as the run is kept. A pending step has no key.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use quorus_engine::{RunUid, StepId, StepState};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};
use crate::codec;

pub(crate) fn key(group: GroupId, uid: RunUid, step: &StepId) -> Bytes {
    KeyWriter::new(group, Family::Step, 16 + step.as_str().len()).uid(uid).last(step.as_str().as_bytes()).finish()
}

pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid, step: &StepId) -> Result<Option<StepState>, StoreError> {
    Ok(reader.read(&key(group, uid, step))?.map(codec::decode_step).transpose()?)
}

/// All keys of a run's steps.
pub(crate) fn range(group: GroupId, uid: RunUid) -> (Bytes, Bytes) {
    KeyWriter::new(group, Family::Step, 16).uid(uid).range()
}

/// All steps that have an entry.
pub(crate) fn all(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<BTreeMap<StepId, StepState>, StoreError> {
    let mut steps = BTreeMap::new();
    reader.visit(&range(group, uid), |key, value| {
        let mut key = KeyReader::new(key)?;
        key.uid()?;
        let step = StepId::from(key.last_text()?);
        steps.insert(step, codec::decode_step(Bytes::copy_from_slice(value))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(steps)
}
