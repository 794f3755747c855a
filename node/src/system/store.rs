//! The read side of the system group.
//!
//! Answers come from this node's replica, so they can be a moment old; before `NOT_FOUND` the caller makes sure with a read barrier. What is asked for
//! with every request (nodes, placements, revision) is kept in memory and published after each apply.

use std::sync::Arc;

use quorus_proto::{
    log::{StoredSchedule, StoredTrigger},
    v1::Firing,
};
use quorus_raft::{Index, disk::Disk};
use tokio::sync::{broadcast, watch};

use quorus_engine::RunUid;

use super::{
    ClusterInfo, FlowState, ScheduleKey, SchedulePage, SlotKey, SlotNews, SlotRun, SlotStanding, SlotUse, TriggerPage, VersionPage,
    WorkflowPage, WorkflowVersion, cluster,
    flow::{self, FlowFeed},
    revision, schedule, trigger, workflow,
};
use crate::store::StoreError;

/// Reads the state of the system group. Cheap to clone.
#[derive(Clone)]
pub struct SystemStore {
    disk: Arc<dyn Disk>,
    published: Arc<watch::Sender<SystemView>>,
    /// Counts changes of schedules, so that whoever fires them looks at them again.
    schedules: Arc<watch::Sender<u64>>,
    flow: FlowFeed,
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
        let flow = FlowFeed::new(FlowState::read(&*disk)?);
        Ok(Self { disk, published: Arc::new(watch::Sender::new(view)), schedules: Arc::default(), flow })
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

    /// A schedule.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn schedule(&self, key: &ScheduleKey) -> Result<Option<StoredSchedule>, StoreError> {
        schedule::get(&*self.disk.view(), key)
    }

    /// The names of all schedules.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn schedule_keys(&self) -> Result<Vec<ScheduleKey>, StoreError> {
        schedule::keys(&*self.disk.view())
    }

    /// At most `limit` schedules whose names come after `after`, by name.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn list_schedules(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<SchedulePage, StoreError> {
        schedule::page(&*self.disk.view(), namespace, after, limit)
    }

    /// A firing of a schedule.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn firing(&self, key: &ScheduleKey, number: u64) -> Result<Option<Firing>, StoreError> {
        schedule::firing(&*self.disk.view(), key, number)
    }

    /// Firings of a schedule with numbers below `before`, the newest first, until `visitor` has enough.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn visit_firings(&self, key: &ScheduleKey, before: u64, visitor: impl FnMut(Firing) -> bool) -> Result<(), StoreError> {
        schedule::visit_firings(&*self.disk.view(), key, before, visitor)
    }

    /// Follows changes of schedules by anybody but the leader that fires them.
    pub fn watch_schedules(&self) -> watch::Receiver<u64> {
        self.schedules.subscribe()
    }

    /// A trigger.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn trigger(&self, namespace: &str, name: &str) -> Result<Option<StoredTrigger>, StoreError> {
        trigger::get(&*self.disk.view(), namespace, name)
    }

    /// At most `limit` triggers whose names come after `after`, by name.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn list_triggers(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<TriggerPage, StoreError> {
        trigger::page(&*self.disk.view(), namespace, after, limit)
    }

    pub(super) fn schedules_changed(&self) {
        self.schedules.send_modify(|count| *count += 1);
    }

    // --- Flow control.

    /// Limits, paused queues and workflows, and drained workers.
    pub fn flow(&self) -> Arc<FlowState> {
        self.flow.state()
    }

    /// Follows limits, paused queues and workflows, and drained workers.
    pub fn subscribe_flow(&self) -> watch::Receiver<Arc<FlowState>> {
        self.flow.subscribe()
    }

    /// Follows grants of concurrency slots. What was granted before is read with [`SystemStore::slot_of`]; subscribe first, so that nothing is missed.
    pub fn subscribe_slots(&self) -> broadcast::Receiver<SlotNews> {
        self.flow.subscribe_slots()
    }

    /// Where a run stands with its concurrency key; `None` if it never asked, or if that was over long ago.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn slot_of(&self, uid: RunUid) -> Result<Option<SlotStanding>, StoreError> {
        flow::standing(&*self.disk.view(), uid)
    }

    /// The runs that hold a concurrency key, oldest first; at most `limit`.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn slot_holders(&self, key: &SlotKey, limit: usize) -> Result<Vec<SlotRun>, StoreError> {
        flow::line(&*self.disk.view(), key, false, limit)
    }

    /// The runs that wait for a concurrency key, first in line first; at most `limit`.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn slot_waiters(&self, key: &SlotKey, limit: usize) -> Result<Vec<SlotRun>, StoreError> {
        flow::line(&*self.disk.view(), key, true, limit)
    }

    /// Concurrency keys of a namespace (and a workflow, unless empty) that are in use, after `after`; at most `limit`.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn slot_keys(&self, namespace: &str, workflow: &str, after: Option<&SlotKey>, limit: usize) -> Result<Vec<SlotUse>, StoreError> {
        flow::keys(&*self.disk.view(), namespace, workflow, after, limit)
    }

    /// How many runs of a workflow are parked because it is paused, counted up to `most`.
    ///
    /// # Errors
    /// If the disk fails, or holds what this version can't read.
    pub fn parked_runs(&self, namespace: &str, workflow: &str, most: usize) -> Result<usize, StoreError> {
        flow::parked_runs(&*self.disk.view(), namespace, workflow, most)
    }

    /// Tells what an apply changed.
    pub(super) fn publish_flow(&self, changes: flow::Changes) {
        if let Err(error) = self.flow.publish(changes, || FlowState::read(&*self.disk)) {
            // The disk stops the node on its own; until then the old state stands.
            tracing::error!(%error, "limits and switches can't be read");
        }
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
        self.flow.replaced(FlowState::read(&*self.disk)?);
        self.published.send_replace(read_view(&*self.disk)?);
        self.schedules_changed();
        Ok(())
    }
}

fn read_view(disk: &dyn Disk) -> Result<SystemView, StoreError> {
    Ok(SystemView { cluster: cluster::get(disk)?.map(Arc::new), revision: revision::get(disk)? })
}
