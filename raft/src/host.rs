//! The groups of one process.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use quorus_proto::peer::raft_service_server::RaftServiceServer;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    Error, Fatal, Group, GroupId, Index, NodeId, Options, Peers, ReplicaId, StateMachine,
    disk::{Batch, Disk, Durability},
    group::GroupInner,
    keys,
    network::{Endpoint, Links, MESSAGE_BYTES_MAX},
    shared::Shared,
    store::StateShared,
    supervisor,
    writer::{Alarm, Writer},
};

/// How often gauges are set.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(5);

/// A replica that is to run here.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// The replica of it that lives here.
    pub replica: ReplicaId,
    /// Voters of a new group, and where they live. Of no effect once the group exists.
    pub members: BTreeMap<ReplicaId, NodeId>,
    /// Learners of a new group; its first leaders add them.
    pub learners: BTreeMap<ReplicaId, NodeId>,
    /// Starts a new group with these members, unless it exists. May be set on every one of its nodes, if all give the same members.
    pub initialize: bool,
}

/// The groups of one process. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
}

impl Host {
    /// A host without groups. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn new(options: Options, disk: Arc<dyn Disk>, peers: Arc<Peers>) -> Result<Self, Error> {
        let config_error = |reason: String| Error::Config { group: 0, reason };
        let raft_config = supervisor::raft_config(&options).map_err(|error| config_error(error.to_string()))?;
        let alarm = Alarm::new();
        let writer = Writer::start(Arc::clone(&disk), options.writer, alarm)
            .map_err(|error: io::Error| config_error(format!("cannot start the writer: {error}")))?;
        let links = Arc::new(Links::new(options.node_id, options.cluster_id.clone(), options.election_max, peers));
        let shared = Arc::new(Shared::new(options, raft_config, disk, writer, links));
        let inner = Arc::new(HostInner { shared, groups: RwLock::default(), opening: Mutex::default(), tasks: TaskTracker::new() });
        tokio::spawn(observe(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// The service to add to the node's gRPC router. Calls before `open` are refused, and tried again by the caller.
    ///
    /// The router's listener must set `TCP_NODELAY` on what it accepts (`TcpIncoming::with_nodelay`; the builder's `tcp_nodelay` has no effect on
    /// `serve_with_incoming`): else answers wait for 40 ms now and then. Windows should be as large as those of the callers (4 MiB a stream, 8 MiB a connection).
    pub fn services(&self) -> RaftServiceServer<Endpoint> {
        RaftServiceServer::new(Endpoint::new(Arc::clone(&self.inner)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Opens a replica: from disk if it exists there, else as a new one.
    ///
    /// # Errors
    /// If it is open already, or what is stored can't be trusted.
    pub async fn open(&self, config: GroupConfig, machine: Box<dyn StateMachine>) -> Result<Group, Error> {
        let group = config.group;
        if group > keys::GROUP_MAX {
            return Err(Error::Config { group, reason: format!("group ids are at most {}", keys::GROUP_MAX) });
        }
        if config.initialize && !config.members.contains_key(&config.replica) && !config.learners.contains_key(&config.replica) {
            return Err(Error::Config { group, reason: "this replica is not among its members".to_owned() });
        }
        let _opening = Opening::begin(&self.inner, group)?;
        let shared = &self.inner.shared;
        let is_new = shared.claim(&config).await?;
        // A new replica has promised nothing to anyone.
        let votes_from = if is_new { shared.started() } else { shared.started() + shared.options().election_max };
        let state = StateShared::new(group, Arc::clone(shared.disk()), shared.writer().alarm().clone(), machine);
        let inner = Arc::new(GroupInner::new(config, Arc::clone(shared), state, votes_from));
        let raft = supervisor::start(&inner).await?;
        inner.set_raft(Some(raft.clone()));
        self.inner.groups.write().insert(group, Arc::clone(&inner));
        self.inner.tasks.spawn(supervisor::run(Arc::clone(&inner), raft));
        Ok(Group::new(inner))
    }

    /// A group that is open here.
    pub fn group(&self, group: GroupId) -> Option<Group> {
        self.inner.find(group).map(Group::new)
    }

    /// Every group that is open here.
    pub fn groups(&self) -> Vec<Group> {
        self.inner.groups.read().values().cloned().map(Group::new).collect()
    }

    /// Set once the process must exit.
    pub fn fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.inner.shared.writer().alarm().subscribe()
    }

    /// Stops all groups, and waits until what was queued is written. Leaderships should have been transferred before.
    pub async fn shutdown(&self) {
        self.inner.shared.stopping().cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.shared.links().close();
        self.inner.groups.write().clear();
        // Behind everything that is queued; if it fails, the alarm says why.
        let _failed = self.inner.shared.writer().write(Batch::new(), Durability::Synced).await;
    }
}

/// The groups that are open, and what they share. Groups know what they share, not each other.
pub(crate) struct HostInner {
    shared: Arc<Shared>,
    groups: RwLock<BTreeMap<GroupId, Arc<GroupInner>>>,
    /// Groups whose opening has begun; they must not be opened a second time meanwhile.
    opening: Mutex<BTreeSet<GroupId>>,
    tasks: TaskTracker,
}

/// A group is being opened, as long as this lives.
struct Opening<'a> {
    host: &'a HostInner,
    group: GroupId,
}

impl<'a> Opening<'a> {
    fn begin(host: &'a HostInner, group: GroupId) -> Result<Self, Error> {
        let first = host.opening.lock().insert(group);
        if !first {
            return Err(Error::AlreadyOpen { group });
        }
        let opening = Self { host, group };
        if host.groups.read().contains_key(&group) { Err(Error::AlreadyOpen { group }) } else { Ok(opening) }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.host.opening.lock().remove(&self.group);
    }
}

impl HostInner {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn find(&self, group: GroupId) -> Option<Arc<GroupInner>> {
        self.groups.read().get(&group).cloned()
    }
}

/// Keeps the gauges of the groups up to date, as long as the host lives.
async fn observe(host: Weak<HostInner>) {
    loop {
        tokio::time::sleep(OBSERVE_INTERVAL).await;
        let Some(host) = host.upgrade() else { return };
        let groups: Vec<_> = host.groups.read().values().cloned().collect();
        drop(host);
        for group in groups {
            let (label, status) = (group.id().to_string(), Group::new(group).status());
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            let index = |index: Option<Index>| index.unwrap_or(0) as f64;
            metrics::gauge!("quorus_raft_applied_index", "group" => label.clone()).set(index(status.applied));
            metrics::gauge!("quorus_raft_last_log_index", "group" => label.clone()).set(index(status.last_log));
            for replica in status.replicas {
                let node = replica.node.to_string();
                metrics::gauge!("quorus_raft_replication_lag_entries", "group" => label.clone(), "node" => node)
                    .set(index(Some(replica.lag)));
            }
        }
    }
}
