//! What a data folder says it is: which node, which incarnation of its folder, which cluster. Written once, checked at every start.
//!
//! Invariant: a folder never changes its node or its cluster; a wiped folder has a new incarnation, and can't pass for the old one.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorus_raft::disk::{Batch, Disk, DiskError, Durability, Order, Table};

/// Keys of the node itself, behind every group's.
const PREFIX: [u8; 4] = u32::MAX.to_be_bytes();

/// What a data folder says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node_id: u64,
    /// Random, made with the folder.
    pub incarnation: String,
    /// The cluster; `None` while the folder is new.
    pub cluster_id: Option<String>,
}

/// Why a folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It can't be read or written.
    #[error("the data folder's identity can't be read or written")]
    Disk(#[from] DiskError),
    /// It belongs to somebody else.
    #[error("the data folder belongs to node {found}, but this is node {wanted}: start it with the right --node-id or another --data-dir")]
    OtherNode {
        /// Whose it is.
        found: u64,
        /// Who asks.
        wanted: u64,
    },
    /// It holds something else.
    #[error("the data folder's identity is damaged: {0}")]
    Damaged(&'static str),
}

fn key(name: &str) -> Vec<u8> {
    [&PREFIX[..], name.as_bytes()].concat()
}

impl Identity {
    /// Reads a folder's identity, or gives a new folder one.
    ///
    /// # Errors
    /// If the folder is another node's, or can't be used.
    pub fn open(disk: &dyn Disk, node_id: u64, new_incarnation: impl FnOnce() -> String) -> Result<Self, IdentityError> {
        let text = |name: &str| -> Result<Option<String>, IdentityError> {
            let Some(bytes) = disk.get(Table::Meta, &key(name))? else { return Ok(None) };
            String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| IdentityError::Damaged("it is not text"))
        };
        let Some(found) = text("node_id")? else {
            if !is_empty(disk)? {
                return Err(IdentityError::Damaged("it is missing, but the folder is not empty"));
            }
            let identity = Self { node_id, incarnation: new_incarnation(), cluster_id: None };
            let mut batch = Batch::new();
            batch.put(Table::Meta, key("node_id"), node_id.to_string());
            batch.put(Table::Meta, key("incarnation"), identity.incarnation.clone());
            disk.write(batch, Durability::Synced)?;
            return Ok(identity);
        };
        let found: u64 = found.parse().map_err(|_| IdentityError::Damaged("the node id is not a number"))?;
        if found != node_id {
            return Err(IdentityError::OtherNode { found, wanted: node_id });
        }
        let incarnation = text("incarnation")?.ok_or(IdentityError::Damaged("the incarnation is missing"))?;
        Ok(Self { node_id, incarnation, cluster_id: text("cluster_id")? })
    }

    /// Joins a cluster, for ever.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn join(&mut self, disk: &dyn Disk, cluster_id: &str) -> Result<(), IdentityError> {
        let mut batch = Batch::new();
        batch.put(Table::Meta, key("cluster_id"), Bytes::copy_from_slice(cluster_id.as_bytes()));
        disk.write(batch, Durability::Synced)?;
        self.cluster_id = Some(cluster_id.to_owned());
        Ok(())
    }
}

fn is_empty(disk: &dyn Disk) -> Result<bool, DiskError> {
    let mut empty = true;
    for table in Table::ALL {
        disk.scan(table, &[], &[0xff; 16], Order::Forward, &mut |_, _| {
            empty = false;
            ControlFlow::Break(())
        })?;
    }
    Ok(empty)
}

#[cfg(test)]
mod tests {
    use quorus_raft::disk::MemoryDisk;

    use super::*;

    #[test]
    fn a_folder_keeps_its_identity_through_a_crash() {
        let disk = MemoryDisk::new();
        let mut identity = Identity::open(&disk, 2, || "first".into()).unwrap();
        identity.join(&disk, "cluster").unwrap();
        disk.crash();
        assert_eq!(Identity::open(&disk, 2, || "second".into()).unwrap(), identity);
    }

    #[test]
    fn another_nodes_folder_is_refused() {
        let disk = MemoryDisk::new();
        Identity::open(&disk, 2, || "first".into()).unwrap();
        assert!(matches!(Identity::open(&disk, 3, || "second".into()), Err(IdentityError::OtherNode { found: 2, wanted: 3 })));
    }
}
