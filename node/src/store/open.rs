//! Steps that are queued or leased: what a new leader hands to its dispatcher.
//!
//! `[group]'O'[uid][step]` -> nothing. Written when the step becomes queued or leased, deleted when it is neither any more; a lease of a queued step
//! changes nothing here, so the fast path costs one put and one delete per attempt.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::{RunStatus, RunUid, StepId, StepState};
use quorus_raft::GroupId;

use super::{
    StoreError, digest, head, info,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
    step,
};

/// A step that is queued or leased.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenStep {
    /// Of which run.
    pub uid: RunUid,
    /// Namespace of the run.
    pub namespace: String,
    /// Id of the run.
    pub run_id: String,
    /// Digest of the definition that the run's plan is made from.
    pub digest: [u8; 32],
    /// The run is paused: no new attempts.
    pub paused: bool,
    /// The run waits for people: no new attempts of what goes forward.
    pub attention: bool,
    /// Which step.
    pub step: StepId,
    /// Where it stands.
    pub state: StepState,
}

pub(crate) fn key(group: GroupId, uid: RunUid, step: &StepId) -> Bytes {
    KeyWriter::new(group, Family::Open, 16 + step.as_str().len()).uid(uid).last(step.as_str().as_bytes()).finish()
}

pub(crate) fn parse(key: &[u8]) -> Result<(RunUid, StepId), StoreError> {
    let mut reader = KeyReader::new(key)?;
    let uid = reader.uid()?;
    Ok((uid, StepId::from(reader.last_text()?)))
}

/// All keys of the index.
pub(crate) fn range(group: GroupId) -> (Bytes, Bytes) {
    KeyWriter::new(group, Family::Open, 0).range()
}

/// Visits all open steps, run by run.
pub(crate) fn visit(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    mut visit: impl FnMut(OpenStep) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut run: Option<(quorus_engine::RunInfo, [u8; 32], bool, bool)> = None;
    reader.visit(&range(group), |key, _| {
        let (uid, id) = parse(key)?;
        let (info, digest, paused, attention) = match run.take() {
            Some(known) if known.0.uid == uid => known,
            _ => {
                let info = info::get(reader, group, uid)?.ok_or(StoreError::Missing { what: "info", uid })?;
                let (head, _) = head::get(reader, group, uid)?.ok_or(StoreError::Missing { what: "head", uid })?;
                let digest = *digest(&info, &head);
                (info, digest, head.paused_by.is_some(), head.status == RunStatus::NeedsAttention)
            }
        };
        let state = step::get(reader, group, uid, &id)?.ok_or(StoreError::Missing { what: "step", uid })?;
        let (namespace, run_id) = (info.namespace.clone(), info.run_id.clone());
        let open = OpenStep { uid, namespace, run_id, digest, paused, attention, step: id, state };
        run = Some((info, digest, paused, attention));
        Ok(visit(open))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_step_survives_its_key() {
        let step = StepId::from("build");
        assert_eq!(parse(&key(4, RunUid(8), &step)).unwrap(), (RunUid(8), step));
    }
}
