//! Keys of what a group stores.
//!
//! | table | key                        | value                    | lives                                   |
//! |-------|----------------------------|--------------------------|-----------------------------------------|
//! | Log   | `[group u32][index u64]`   | an entry                 | until purged or truncated               |
//! | Meta  | `[group u32][kind u8]`     | see [`Meta`]             | as long as the replica                  |
//! | State | `[group u32][..]`          | the state machine's      | as the state machine says               |
//! | State | `[group + 2^31 u32][..]`   | a snapshot that arrives  | until it is installed, or the next open |
//!
//! Numbers are big-endian, so that keys sort like them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{GroupId, Index};

/// Groups have smaller ids; the same id with this bit stages snapshots.
pub(crate) const GROUP_MAX: GroupId = (1 << 31) - 1;

/// What a replica keeps about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Meta {
    /// The last vote. Synced before it is answered. Never wiped.
    Vote = 1,
    /// An entry that is known to be committed; behind the truth, since it is written along with later entries.
    Committed = 2,
    /// Last entry that was purged.
    Purged = 3,
    /// Last entry that the state includes, and the membership at it. Written with the state.
    Applied = 4,
    /// A staged snapshot is complete and has to be installed; the value is its applied state.
    Installing = 5,
    /// Which replica this is.
    Replica = 6,
}

pub(crate) fn meta(group: GroupId, kind: Meta) -> Bytes {
    let mut key = BytesMut::with_capacity(5);
    key.put_u32(group);
    key.put_u8(kind as u8);
    key.freeze()
}

pub(crate) fn log(group: GroupId, index: Index) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_u32(group);
    key.put_u64(index);
    key.freeze()
}

/// The index in a key of the log.
pub(crate) fn log_index(key: &[u8]) -> Option<Index> {
    match key {
        [_, _, _, _, index @ ..] => Some(u64::from_be_bytes(index.try_into().ok()?)),
        _ => None,
    }
}

/// Prefix of a group's state.
pub(crate) fn state(group: GroupId) -> Bytes {
    Bytes::copy_from_slice(&group.to_be_bytes())
}

/// First key after a group's state.
pub(crate) fn state_end(group: GroupId) -> Bytes {
    match group.checked_add(1) {
        Some(next) => state(next),
        None => Bytes::from_static(&[0xff; 5]),
    }
}

/// The group id under which a group's arriving snapshot is staged.
pub(crate) fn staging(group: GroupId) -> GroupId {
    group | (GROUP_MAX + 1)
}
