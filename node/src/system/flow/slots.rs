//! The rules of concurrency slots: kept for ever, since every replica applies them for itself.
//!
//! - A key has at most `limit` holders; who comes later waits in line, first come, first served.
//! - A run stands in one place at a time, and asking again changes nothing. A slot is released by its run alone.
//! - A claim that was released or refused is remembered for an hour, so that an acquire that was under way for long can't take a slot that nobody would
//!   ever release. An hour is much longer than any request lives.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Millis, RunUid, Timestamp};
use quorus_proto::log;

use super::{
    SlotAnswer, SlotConflict, SlotKey, SlotRun, SlotStanding, SlotStatus, SlotUse,
    codec::{claim_from_proto, claim_to_proto},
    news::SlotGranted,
    parked,
};
use crate::{
    codec::{self, CodecError},
    store::{
        StoreError,
        key::{Family, KeyReader, KeyWriter},
        reader::Reader,
    },
    system::{SYSTEM_GROUP, overlay::Overlay},
};

/// How long a claim is remembered after its end.
const REMEMBERED_FOR: Millis = Millis(60 * 60 * 1000);
/// Claims forgotten with one command: more than one command makes, so that they don't pile up.
const FORGOTTEN_AT_ONCE: usize = 4;
/// Runs named as the ones that have to go, at most.
pub(super) const REPLACED_MAX: usize = 100;

const HOLDS: u8 = 0;
const WAITS: u8 = 1;

/// Where a run stands, as it is stored.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) key: SlotKey,
    pub(super) run: SlotRun,
    pub(super) status: SlotStatus,
    pub(super) place: u64,
    /// How many may hold the key, as the run said when it asked.
    pub(super) limit: u32,
    /// What it wanted if there was no room.
    pub(super) on_conflict: SlotConflict,
    /// When the run was started, if it had not begun when it asked.
    pub(super) begins: Option<Timestamp>,
}

/// Carries [`super::FlowCommand::AcquireSlot`] out; `wanted` is the claim that it makes.
pub(super) fn acquire(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    wanted: Claim,
    granted: &mut Vec<SlotGranted>,
) -> Result<SlotAnswer, StoreError> {
    forget(overlay, time)?;
    let (uid, on_conflict) = (wanted.run.uid, wanted.on_conflict);
    if let Some(mut known) = claim(overlay, uid)? {
        if wanted.run.claim < known.run.claim {
            return Ok(only(SlotStatus::Released));
        }
        if known.status.is_live() && known.key == wanted.key {
            // What it wants now counts: a run that was repaired waits, whatever it wanted when it was started.
            (known.run.claim, known.limit, known.on_conflict) = (wanted.run.claim, wanted.limit, wanted.on_conflict);
            put_claim(overlay, &known);
            if known.status == SlotStatus::Parked {
                parked::holds_back(overlay, time, &known.key, granted)?;
            } else {
                set_limit(overlay, &wanted.key, wanted.limit, time, granted)?;
            }
            // It may have got its slot by that.
            let known = claim(overlay, uid)?.unwrap_or(known);
            return answer(overlay, &known, on_conflict);
        }
        if wanted.run.claim == known.run.claim {
            return Ok(only(known.status));
        }
        if known.status.is_live() {
            leave(overlay, &known, time, granted)?;
        } else {
            overlay.delete(ended_key(known.run.since, uid));
        }
    }
    if wanted.begins.is_some() && parked::holds_back(overlay, time, &wanted.key, granted)? {
        parked::park(overlay, time, wanted);
        return Ok(only(SlotStatus::Parked));
    }
    let claim = enter(overlay, time, wanted, granted)?;
    answer(overlay, &claim, on_conflict)
}

/// A run that stands nowhere gets its slot, a place in line, or no for an answer.
pub(super) fn enter(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    wanted: Claim,
    granted: &mut Vec<SlotGranted>,
) -> Result<Claim, StoreError> {
    let mut record = key_record(overlay, &wanted.key)?.unwrap_or_default();
    record.limit = wanted.limit.max(1);
    let room = record.held < u64::from(record.limit) && record.waiting == 0;
    let status = match wanted.on_conflict {
        _ if room => SlotStatus::Held,
        SlotConflict::Reject => SlotStatus::Refused,
        SlotConflict::Queue | SlotConflict::Replace => SlotStatus::Waiting,
    };
    let claim = Claim { run: SlotRun { since: time, ..wanted.run }, status, place: record.next_place, ..wanted };
    let (key, uid) = (&claim.key, claim.run.uid);
    match status {
        SlotStatus::Held => {
            record.held += 1;
            record.next_place += 1;
            overlay.put(place_key(key, HOLDS, claim.place), uid_bytes(uid));
        }
        SlotStatus::Waiting => {
            record.waiting += 1;
            record.next_place += 1;
            overlay.put(place_key(key, WAITS, claim.place), uid_bytes(uid));
        }
        SlotStatus::Refused | SlotStatus::Released | SlotStatus::Parked => overlay.put(ended_key(time, uid), Bytes::new()),
    }
    put_key_record(overlay, key, &record);
    put_claim(overlay, &claim);
    // A larger limit than before may let others in.
    fill(overlay, key, time, granted)?;
    Ok(self::claim(overlay, uid)?.unwrap_or(claim))
}

pub(super) fn release(
    overlay: &mut Overlay<'_>,
    time: Timestamp,
    uid: RunUid,
    number: u64,
    granted: &mut Vec<SlotGranted>,
) -> Result<SlotAnswer, StoreError> {
    forget(overlay, time)?;
    let known = claim(overlay, uid)?;
    let key = match &known {
        Some(known) if known.run.claim > number => return Ok(only(known.status)),
        Some(known) if known.status.is_live() => {
            leave(overlay, known, time, granted)?;
            known.key.clone()
        }
        Some(known) => {
            overlay.delete(ended_key(known.run.since, uid));
            known.key.clone()
        }
        None => SlotKey::default(),
    };
    let run = known.map(|known| known.run).unwrap_or(SlotRun { uid, run_id: String::new(), shard: 0, claim: number, since: time });
    let run = SlotRun { claim: number, since: time, ..run };
    let (status, on_conflict) = (SlotStatus::Released, SlotConflict::Queue);
    put_claim(overlay, &Claim { key, run, status, place: 0, limit: 0, on_conflict, begins: None });
    overlay.put(ended_key(time, uid), Bytes::new());
    Ok(only(SlotStatus::Released))
}

fn only(status: SlotStatus) -> SlotAnswer {
    SlotAnswer { status, replaces: Vec::new() }
}

fn answer(overlay: &Overlay<'_>, claim: &Claim, on_conflict: SlotConflict) -> Result<SlotAnswer, StoreError> {
    let mut answer = only(claim.status);
    if on_conflict == SlotConflict::Replace && claim.status == SlotStatus::Waiting {
        let limit = key_record(overlay, &claim.key)?.unwrap_or_default().limit.max(1);
        // All that came before, but for as many as may stay beside it.
        let mut before = Vec::new();
        for kind in [HOLDS, WAITS] {
            visit_line(overlay, &claim.key, kind, |place, uid| {
                if kind == WAITS && place >= claim.place {
                    return ControlFlow::Break(());
                }
                before.push(uid);
                ControlFlow::Continue(())
            })?;
        }
        let stay = usize::try_from(limit - 1).unwrap_or(usize::MAX);
        before.truncate(before.len().saturating_sub(stay).min(REPLACED_MAX));
        for uid in before {
            answer.replaces.extend(self::claim(overlay, uid)?.map(|claim| claim.run));
        }
    }
    Ok(answer)
}

/// The last one that asks says how many may hold the key.
fn set_limit(
    overlay: &mut Overlay<'_>,
    key: &SlotKey,
    limit: u32,
    time: Timestamp,
    granted: &mut Vec<SlotGranted>,
) -> Result<(), StoreError> {
    let mut record = key_record(overlay, key)?.unwrap_or_default();
    if record.limit != limit.max(1) {
        record.limit = limit.max(1);
        put_key_record(overlay, key, &record);
        fill(overlay, key, time, granted)?;
    }
    Ok(())
}

/// Takes a run from its place, and lets the next ones in.
pub(super) fn leave(overlay: &mut Overlay<'_>, known: &Claim, time: Timestamp, granted: &mut Vec<SlotGranted>) -> Result<(), StoreError> {
    if known.status == SlotStatus::Parked {
        parked::leave(overlay, known);
        return Ok(());
    }
    let mut record = key_record(overlay, &known.key)?.unwrap_or_default();
    if known.status == SlotStatus::Held {
        record.held = record.held.saturating_sub(1);
        overlay.delete(place_key(&known.key, HOLDS, known.place));
    } else {
        record.waiting = record.waiting.saturating_sub(1);
        overlay.delete(place_key(&known.key, WAITS, known.place));
    }
    put_key_record(overlay, &known.key, &record);
    fill(overlay, &known.key, time, granted)
}

/// Gives free slots to those who wait longest.
fn fill(overlay: &mut Overlay<'_>, key: &SlotKey, time: Timestamp, granted: &mut Vec<SlotGranted>) -> Result<(), StoreError> {
    let Some(mut record) = key_record(overlay, key)? else { return Ok(()) };
    while record.held < u64::from(record.limit) && record.waiting > 0 {
        let mut first = None;
        visit_line(overlay, key, WAITS, |place, uid| {
            first = Some((place, uid));
            ControlFlow::Break(())
        })?;
        let Some((place, uid)) = first else { break };
        overlay.delete(place_key(key, WAITS, place));
        record.waiting -= 1;
        let Some(mut claim) = claim(overlay, uid)? else { continue };
        record.held += 1;
        claim.status = SlotStatus::Held;
        claim.place = record.next_place;
        claim.run.since = time;
        record.next_place += 1;
        overlay.put(place_key(key, HOLDS, claim.place), uid_bytes(uid));
        put_claim(overlay, &claim);
        granted.push(SlotGranted { key: key.clone(), run: claim.run });
    }
    put_key_record(overlay, key, &record);
    Ok(())
}

/// Forgets claims that ended long ago.
fn forget(overlay: &mut Overlay<'_>, now: Timestamp) -> Result<(), StoreError> {
    let until = Timestamp(now.0.saturating_sub(i64::try_from(REMEMBERED_FOR.0).unwrap_or(i64::MAX)));
    let range = (
        KeyWriter::new(SYSTEM_GROUP, Family::SlotEnded, 0).finish(),
        KeyWriter::new(SYSTEM_GROUP, Family::SlotEnded, 8).time(until).finish(),
    );
    let mut old = Vec::new();
    overlay.visit(&range, |key, _| {
        let mut reader = KeyReader::new(key)?;
        reader.time()?;
        old.push((Bytes::copy_from_slice(key), reader.uid()?));
        Ok(if old.len() < FORGOTTEN_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for (key, uid) in old {
        overlay.delete(key);
        overlay.delete(claim_key(uid));
    }
    Ok(())
}

// --- Reading.

/// Where a run stands.
pub(in crate::system) fn standing(reader: &(impl Reader + ?Sized), uid: RunUid) -> Result<Option<SlotStanding>, StoreError> {
    let Some(claim) = claim(reader, uid)? else { return Ok(None) };
    let mut ahead = 0;
    if claim.status == SlotStatus::Waiting {
        visit_line(reader, &claim.key, WAITS, |place, _| {
            if place >= claim.place {
                return ControlFlow::Break(());
            }
            ahead += 1;
            ControlFlow::Continue(())
        })?;
    }
    Ok(Some(SlotStanding { key: claim.key, run: claim.run, status: claim.status, ahead }))
}

/// The runs that hold a key, or those that wait for it, in their order; at most `limit`.
pub(in crate::system) fn line(
    reader: &(impl Reader + ?Sized),
    key: &SlotKey,
    waiting: bool,
    limit: usize,
) -> Result<Vec<SlotRun>, StoreError> {
    let mut uids = Vec::new();
    if limit > 0 {
        visit_line(reader, key, if waiting { WAITS } else { HOLDS }, |_, uid| {
            uids.push(uid);
            if uids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    let mut runs = Vec::with_capacity(uids.len());
    for uid in uids {
        runs.extend(claim(reader, uid)?.map(|claim| claim.run));
    }
    Ok(runs)
}

/// The runs that wait for a slot of any key of a workflow.
pub(super) fn waiters(reader: &(impl Reader + ?Sized), namespace: &str, workflow: &str) -> Result<Vec<RunUid>, StoreError> {
    let mut keys = Vec::new();
    let range = KeyWriter::new(SYSTEM_GROUP, Family::SlotKey, 64).text(namespace).text(workflow).range();
    reader.visit(&range, |key, _| {
        let mut reader = KeyReader::new(key)?;
        keys.push(SlotKey { namespace: reader.text()?, workflow: reader.text()?, key: reader.last_text()?.to_owned() });
        Ok(ControlFlow::Continue(()))
    })?;
    let mut waiters = Vec::new();
    for key in keys {
        visit_line(reader, &key, WAITS, |_, uid| {
            waiters.push(uid);
            ControlFlow::Continue(())
        })?;
    }
    Ok(waiters)
}

/// Keys of a namespace that are in use, after `after`; at most `limit`.
pub(in crate::system) fn keys(
    reader: &(impl Reader + ?Sized),
    namespace: &str,
    workflow: &str,
    after: Option<&SlotKey>,
    limit: usize,
) -> Result<Vec<SlotUse>, StoreError> {
    let prefix = KeyWriter::new(SYSTEM_GROUP, Family::SlotKey, 64).text(namespace);
    let (first, end) = if workflow.is_empty() { prefix } else { prefix.text(workflow) }.range();
    let from = after.map_or(first, |after| [slot_key(after).as_ref(), &[0]].concat().into());
    let mut uses = Vec::new();
    if limit == 0 {
        return Ok(uses);
    }
    reader.visit(&(from, end), |key, value| {
        let mut reader = KeyReader::new(key)?;
        let key = SlotKey { namespace: reader.text()?, workflow: reader.text()?, key: reader.last_text()?.to_owned() };
        if key.key == quorus_engine::UNBOUNDED_KEY {
            // Nobody waits for it, and holding it keeps nobody out.
            return Ok(ControlFlow::Continue(()));
        }
        let record: log::StoredSlotKey = codec::decode("concurrency key", Bytes::copy_from_slice(value))?;
        uses.push(SlotUse { key, limit: record.limit, held: record.held, waiting: record.waiting });
        Ok(if uses.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(uses)
}

fn visit_line(
    reader: &(impl Reader + ?Sized),
    key: &SlotKey,
    kind: u8,
    mut visitor: impl FnMut(u64, RunUid) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let range = place_prefix(key).byte(kind).range();
    let parts = range.0.len();
    reader.visit(&range, |key, value| {
        let place = key.get(parts..).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
        let uid = RunUid::from_bytes(value);
        match place.zip(uid) {
            Some((place, uid)) => Ok(visitor(place, uid)),
            None => Err(CodecError::Length { what: "slot place", expected: 16, actual: value.len() }.into()),
        }
    })
}

pub(super) fn claim(reader: &(impl Reader + ?Sized), uid: RunUid) -> Result<Option<Claim>, StoreError> {
    let bytes = reader.read(&claim_key(uid))?;
    Ok(bytes.map(|bytes| claim_from_proto(uid, codec::decode("slot claim", bytes)?)).transpose()?)
}

pub(super) fn put_claim(overlay: &mut Overlay<'_>, claim: &Claim) {
    overlay.put(claim_key(claim.run.uid), claim_to_proto(claim).encode_to_vec().into());
}

fn key_record(reader: &(impl Reader + ?Sized), key: &SlotKey) -> Result<Option<log::StoredSlotKey>, StoreError> {
    Ok(reader.read(&slot_key(key))?.map(|bytes| codec::decode("concurrency key", bytes)).transpose()?)
}

/// A key that nobody holds and nobody waits for is forgotten.
fn put_key_record(overlay: &mut Overlay<'_>, key: &SlotKey, record: &log::StoredSlotKey) {
    if record.held == 0 && record.waiting == 0 {
        overlay.delete(slot_key(key));
    } else {
        overlay.put(slot_key(key), record.encode_to_vec().into());
    }
}

fn slot_key(key: &SlotKey) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::SlotKey, 64).text(&key.namespace).text(&key.workflow).last(key.key.as_bytes()).finish()
}

fn place_prefix(key: &SlotKey) -> KeyWriter {
    KeyWriter::new(SYSTEM_GROUP, Family::SlotPlace, 64).text(&key.namespace).text(&key.workflow).text(&key.key)
}

fn place_key(key: &SlotKey, kind: u8, place: u64) -> Bytes {
    place_prefix(key).byte(kind).number(place).finish()
}

fn claim_key(uid: RunUid) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::SlotClaim, 16).uid(uid).finish()
}

fn ended_key(time: Timestamp, uid: RunUid) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::SlotEnded, 24).time(time).uid(uid).finish()
}

fn uid_bytes(uid: RunUid) -> Bytes {
    Bytes::copy_from_slice(&uid.to_bytes())
}
