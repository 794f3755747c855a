//! The signals that a run received.
//!
//! `[group]'G'[uid][name 0][sequence]` -> `log.SignalState`. Written when the signal arrives and when a step takes it, lives as long as the run is
//! kept: one that was taken is needed to recognise it when it is sent again, and has no payload any more.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use quorus_engine::{RunUid, SignalKey, SignalState};
use quorus_raft::GroupId;

use super::{
    StoreError,
    key::{Family, KeyReader, KeyWriter},
    reader::Reader,
};
use crate::codec;

pub(crate) fn key(group: GroupId, uid: RunUid, signal: &SignalKey) -> Bytes {
    KeyWriter::new(group, Family::Signal, 25 + signal.name.len()).uid(uid).text(&signal.name).number(signal.seq).finish()
}

pub(crate) fn parse(key: &[u8]) -> Result<(RunUid, SignalKey), StoreError> {
    let mut reader = KeyReader::new(key)?;
    let uid = reader.uid()?;
    let name = reader.text()?.into();
    let seq = reader.number()?;
    reader.end()?;
    Ok((uid, SignalKey { name, seq }))
}

pub(crate) fn get(
    reader: &(impl Reader + ?Sized),
    group: GroupId,
    uid: RunUid,
    signal: &SignalKey,
) -> Result<Option<SignalState>, StoreError> {
    Ok(reader.read(&key(group, uid, signal))?.map(codec::decode_signal).transpose()?)
}

/// All keys of a run's signals.
pub(crate) fn range(group: GroupId, uid: RunUid) -> (Bytes, Bytes) {
    KeyWriter::new(group, Family::Signal, 16).uid(uid).range()
}

/// All signals of a run.
pub(crate) fn all(reader: &(impl Reader + ?Sized), group: GroupId, uid: RunUid) -> Result<BTreeMap<SignalKey, SignalState>, StoreError> {
    let mut signals = BTreeMap::new();
    reader.visit(&range(group, uid), |key, value| {
        let (_, signal) = parse(key)?;
        signals.insert(signal, codec::decode_signal(Bytes::copy_from_slice(value))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(signals)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{codec::arbitrary, store::testing::disk_with};

    fn signal(name: &str, seq: u64) -> SignalKey {
        SignalKey { name: name.into(), seq }
    }

    proptest! {
        #[test]
        fn a_signal_survives_its_key(name in "[\\x00-\\x03a-z]{0,5}", seq: u64, uid: u128) {
            let signal = signal(&name, seq);
            prop_assert_eq!(parse(&key(3, RunUid(uid), &signal)).unwrap(), (RunUid(uid), signal));
        }

        #[test]
        fn signals_of_one_name_are_read_in_their_order(state in arbitrary::signal_state()) {
            let rows = [signal("go", 300), signal("go", 2), signal("a", 9), signal("goes", 1)];
            let disk = disk_with(rows.iter().map(|row| (key(1, RunUid(7), row), codec::encode_signal(&state))));
            let read: Vec<_> = all(&*disk, 1, RunUid(7)).unwrap().into_keys().collect();
            prop_assert_eq!(read, [signal("a", 9), signal("go", 2), signal("go", 300), signal("goes", 1)]);
            prop_assert_eq!(get(&*disk, 1, RunUid(7), &signal("go", 2)).unwrap(), Some(state));
            prop_assert!(all(&*disk, 1, RunUid(8)).unwrap().is_empty());
        }
    }
}
