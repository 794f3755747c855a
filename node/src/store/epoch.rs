//! The shard's open leadership.
//!
//! `[group]'E'` -> `log.Epoch`. Written by each `OpenEpoch`, lives as long as the shard.

use bytes::Bytes;
use prost::Message;
use quorus_engine::Timestamp;
use quorus_proto::log;
use quorus_raft::{GroupId, Index, NodeId, Term};

use super::{
    StoreError,
    key::{Family, KeyWriter},
    reader::Reader,
};
use crate::codec;

/// The leadership under which records are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Records of another term are no-ops.
    pub term: Term,
    /// Who leads.
    pub node: NodeId,
    /// The leader's process.
    pub boot_id: String,
    /// The leader's clock when it proposed the epoch.
    pub time: Timestamp,
    /// The log entry that opened it.
    pub index: Index,
}

pub(crate) fn key(group: GroupId) -> Bytes {
    KeyWriter::new(group, Family::Epoch, 0).finish()
}

pub(crate) fn encode(epoch: &Epoch) -> Bytes {
    log::Epoch { term: epoch.term, node_id: epoch.node, boot_id: epoch.boot_id.clone(), time_ms: epoch.time.0, index: epoch.index }
        .encode_to_vec()
        .into()
}

pub(crate) fn get(reader: &(impl Reader + ?Sized), group: GroupId) -> Result<Option<Epoch>, StoreError> {
    let Some(bytes) = reader.read(&key(group))? else { return Ok(None) };
    let proto: log::Epoch = codec::decode("epoch", bytes)?;
    Ok(Some(Epoch { term: proto.term, node: proto.node_id, boot_id: proto.boot_id, time: Timestamp(proto.time_ms), index: proto.index }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorus_raft::disk::Disk;

    use super::*;
    use crate::store::testing::disk_with;

    #[test]
    fn epoch_comes_back() {
        let epoch = Epoch { term: 3, node: 2, boot_id: "boot".into(), time: Timestamp(5), index: 9 };
        let disk: Arc<dyn Disk> = disk_with([(key(1), encode(&epoch))]);
        assert_eq!(get(&*disk, 1).unwrap(), Some(epoch));
        assert_eq!(get(&*disk, 2).unwrap(), None);
    }
}
