//! The read side of the system group.
//!
//! Answers come from this node's replica, so they can be a moment old; before `NOT_FOUND` the caller makes sure with a read barrier. What is asked for
//! with every request (nodes, placements, revision) is kept in memory and published after each apply.

use std::sync::Arc;

use quorus_raft::{Index, disk::Disk};
use tokio::sync::watch;

use super::{ClusterInfo, VersionPage, WorkflowPage, WorkflowVersion, cluster, revision, workflow};
use crate::store::StoreError;

/// Reads the state of the system group. Cheap to clone.
#[derive(Clone)]
pub struct SystemStore {
    disk: Arc<dyn Disk>,
    published: Arc<watch::Sender<SystemView>>,
}

/// What is kept in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemView {
    /// What the cluster is made of; `None` before bootstrap.
    pub cluster: Option<Arc<ClusterInfo>>,
    /// Every change up to this position can be read here.
    pub revision: Index,
}

impl SystemStore {
    /// The store of the system group on a disk.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let view = read_view(&*disk)?;
        Ok(Self { disk, published: Arc::new(watch::Sender::new(view)) })
    }

    /// What is kept in memory, now.
    pub fn view(&self) -> SystemView {
        self.published.borrow().clone()
    }

    /// What the cluster is made of; `None` before bootstrap.
    pub fn cluster(&self) -> Option<Arc<ClusterInfo>> {
        self.published.borrow().cluster.clone()
    }

    /// Every change up to this position can be read here.
    pub fn revision(&self) -> Index {
        self.published.borrow().revision
    }

    /// Follows what is kept in memory.
    pub fn subscribe(&self) -> watch::Receiver<SystemView> {
        self.published.subscribe()
    }

    /// A version of a workflow; 0 is the latest.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn workflow(&self, namespace: &str, name: &str, version: u64) -> Result<Option<WorkflowVersion>, StoreError> {
        workflow::get(&*self.disk.view(), namespace, name, version)
    }

    /// At most `limit` workflows (the latest version of each) whose names come after `after`, by name.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn list_workflows(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<WorkflowPage, StoreError> {
        workflow::page(&*self.disk.view(), namespace, after, limit)
    }

    /// At most `limit` versions of a workflow older than `before` (0: all), the newest first.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn list_versions(&self, namespace: &str, name: &str, before: u64, limit: usize) -> Result<VersionPage, StoreError> {
        workflow::versions(&*self.disk.view(), namespace, name, before, limit)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes a change readable from memory.
    pub(super) fn publish(&self, cluster: Option<Arc<ClusterInfo>>, revision: Index) {
        self.published.send_if_modified(|view| {
            let changed = cluster.is_some() || revision > view.revision;
            if let Some(cluster) = cluster {
                view.cluster = Some(cluster);
            }
            view.revision = view.revision.max(revision);
            changed
        });
    }

    /// Reads everything again: the disk was changed by other hands.
    pub(super) fn reload(&self) -> Result<(), StoreError> {
        self.published.send_replace(read_view(&*self.disk)?);
        Ok(())
    }
}

fn read_view(disk: &dyn Disk) -> Result<SystemView, StoreError> {
    Ok(SystemView { cluster: cluster::get(disk)?.map(Arc::new), revision: revision::get(disk)? })
}
