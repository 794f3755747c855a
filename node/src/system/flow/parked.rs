//! Pausing a workflow: its runs that have not begun are parked, and let in when it is resumed, in the order in which they were started.
//!
//! It is decided here, in the order of group 0's log, and not where runs are started: whoever may know too little of a pause has its run ask. A run
//! that asks in vain costs two commits; a run that does not ask although it should is what `leader::pauses` is there to prevent.
//!
//! - While a workflow is paused, no run of it that has not begun stands in a line: the pause takes those that do out of it.
//! - Letting in is what acquiring would have been without the pause, [`AT_ONCE`] runs with one command; as long as there are more, a run that comes
//!   now is parked behind them. Any command of a run that is parked lets the next ones in, so nobody has to stay alive for that.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_engine::{RunUid, Timestamp};

use super::{
    SlotKey, SlotStatus, Switch,
    news::SlotGranted,
    slots::{self, Claim},
    switches,
};
use crate::{
    codec::CodecError,
    store::{
        StoreError,
        key::{Family, KeyWriter},
        reader::Reader,
    },
    system::{SYSTEM_GROUP, overlay::Overlay},
};

/// Runs let in with one command, so that applying it takes a bounded time.
pub(super) const AT_ONCE: usize = 1_000;

/// Parks what has not begun; false if the workflow was paused before.
pub(super) fn pause(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    namespace: &str,
    workflow: &str,
    switch: Switch,
    granted: &mut Vec<SlotGranted>,
) -> Result<bool, StoreError> {
    if !switches::set(overlay, switches::paused_workflow_key(namespace, workflow), true, switch)? {
        return Ok(false);
    }
    for uid in slots::waiters(overlay, namespace, workflow)? {
        if let Some(claim) = slots::claim(overlay, uid)?.filter(|claim| claim.begins.is_some()) {
            slots::leave(overlay, &claim, time, granted)?;
            park(overlay, time, claim);
        }
    }
    Ok(true)
}

/// Ends the pause, and lets the first ones in: whether it was paused, and whether there are more.
pub(super) fn resume(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    namespace: &str,
    workflow: &str,
    granted: &mut Vec<SlotGranted>,
) -> Result<(bool, bool), StoreError> {
    let changed = end(overlay, namespace, workflow)?;
    Ok((changed, let_in(overlay, time, namespace, workflow, granted)?))
}

/// Ends the pause and leaves it to those who are parked to ask again; false if there was none.
pub(in crate::system) fn end(overlay: &mut Overlay<'_>, namespace: &str, workflow: &str) -> Result<bool, StoreError> {
    switches::set(overlay, switches::paused_workflow_key(namespace, workflow), false, Switch::default())
}

/// True if a run that asks for this key now, and has not begun, has to be parked. Lets others in that may go.
pub(super) fn holds_back(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    key: &SlotKey,
    granted: &mut Vec<SlotGranted>,
) -> Result<bool, StoreError> {
    let paused = overlay.get(&switches::paused_workflow_key(&key.namespace, &key.workflow))?.is_some();
    Ok(paused || let_in(overlay, time, &key.namespace, &key.workflow, granted)?)
}

/// Parks a run that stands nowhere.
pub(super) fn park(overlay: &mut Overlay<'_>, time: Timestamp, mut claim: Claim) {
    claim.status = SlotStatus::Parked;
    claim.run.since = time;
    claim.place = 0;
    overlay.put(place_key(&claim), Bytes::new());
    slots::put_claim(overlay, &claim);
}

/// Takes a run out that is parked.
pub(super) fn leave(overlay: &mut Overlay<'_>, claim: &Claim) {
    overlay.delete(place_key(claim));
}

/// Lets in those that were started first; true if there are more.
fn let_in(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    namespace: &str,
    workflow: &str,
    granted: &mut Vec<SlotGranted>,
) -> Result<bool, StoreError> {
    let mut first = line(overlay, namespace, workflow, AT_ONCE + 1)?;
    let more = first.len() > AT_ONCE;
    first.truncate(AT_ONCE);
    for uid in first {
        let Some(claim) = slots::claim(overlay, uid)? else { continue };
        leave(overlay, &claim);
        let claim = slots::enter(overlay, time, claim, granted)?;
        // Whatever it got, it has to hear of it: a slot, a refusal, or whom to replace. One that waits in line now hears of it in vain.
        granted.push(SlotGranted { key: claim.key, run: claim.run });
    }
    Ok(more)
}

/// How many runs of a workflow are parked, counted up to `most`.
pub(in crate::system) fn count(reader: &(impl Reader + ?Sized), namespace: &str, workflow: &str, most: usize) -> Result<usize, StoreError> {
    Ok(line(reader, namespace, workflow, most)?.len())
}

/// The runs that are parked, first started first; at most `limit`.
fn line(reader: &(impl Reader + ?Sized), namespace: &str, workflow: &str, limit: usize) -> Result<Vec<RunUid>, StoreError> {
    let range = prefix(namespace, workflow).range();
    let parts = range.0.len() + 8;
    let mut uids = Vec::new();
    if limit == 0 {
        return Ok(uids);
    }
    reader.visit(&range, |key, _| {
        let uid = key.get(parts..).and_then(RunUid::from_bytes);
        uids.push(uid.ok_or(CodecError::Length { what: "place of a parked run", expected: parts + 16, actual: key.len() })?);
        Ok(if uids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(uids)
}

fn prefix(namespace: &str, workflow: &str) -> KeyWriter {
    KeyWriter::new(SYSTEM_GROUP, Family::ParkedRun, 64).text(namespace).text(workflow)
}

fn place_key(claim: &Claim) -> Bytes {
    prefix(&claim.key.namespace, &claim.key.workflow).time(claim.begins.unwrap_or_default()).uid(claim.run.uid).finish()
}
