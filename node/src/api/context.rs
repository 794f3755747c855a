//! What every service works with.

use std::sync::Arc;

use quorus_engine::RunUid;
use quorus_proto::v1;
use quorus_raft::{Group, GroupId, Host, NodeId, Peers, disk::Disk};
use tonic::Status;

use super::{Admission, SystemPort, errors, forward::Way, schemas, steps, to_proto};
use crate::{
    changes::Changes,
    clock::Clock,
    dispatch::Dispatcher,
    gateway::Gateway,
    leader::{LedShards, PlanCache, Retention},
    limits::PermitPort,
    liveness::Liveness,
    routing,
    store::{LoadedRun, ShardStore},
    system::SystemStore,
};

/// What every service works with.
pub struct ApiContext {
    /// This node.
    pub node_id: NodeId,
    /// Groups with a replica on this node.
    pub host: Host,
    /// Ways to other nodes.
    pub peers: Arc<Peers>,
    /// Storage.
    pub disk: Arc<dyn Disk>,
    /// Definitions and placement, on every node.
    pub system: SystemStore,
    /// The way to the keeper of the limits.
    pub permits: PermitPort,
    /// Waiting tasks of the shards that this node leads.
    pub dispatcher: Dispatcher,
    /// The way to group 0's leader.
    pub port: SystemPort,
    /// Shards that this node leads.
    pub led: LedShards,
    /// Compiled plans.
    pub plans: PlanCache,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Watch streams.
    pub changes: Changes,
    /// Workers with streams on this node.
    pub gateway: Gateway,
    /// Other nodes that answer.
    pub liveness: Liveness,
    /// Room for requests.
    pub admission: Admission,
    /// How runs are removed.
    pub retention: Retention,
}

impl ApiContext {
    /// The number of shards: known once there is a cluster, and the same for ever.
    pub fn shards(&self) -> Result<u32, Status> {
        self.system.cluster().map(|cluster| cluster.shard_count).ok_or_else(|| errors::no_leader(0))
    }

    /// The shard of a run and its replica on this node.
    pub fn shard_of(&self, namespace: &str, run_id: &str) -> Result<(GroupId, Option<Group>), Status> {
        let shard = routing::shard_of(namespace, run_id, self.shards()?);
        Ok((shard, self.host.group(shard)))
    }

    /// The system group's replica.
    pub fn system_group(&self) -> Result<Group, Status> {
        self.host.group(0).ok_or_else(|| errors::no_leader(0))
    }

    /// A node that has a replica of a shard, for requests about shards that are not here.
    pub fn holder_of(&self, shard: GroupId) -> Option<NodeId> {
        let cluster = self.system.cluster()?;
        let placement = cluster.placements.get(&shard)?;
        let nodes = || placement.replicas.values().map(|replica| replica.node);
        nodes().find(|node| self.liveness.seen(*node).is_some()).or_else(|| nodes().next())
    }

    /// The way of a change to the leader of its group. It takes room when it has to wait.
    pub(crate) fn way<'a>(&'a self, group: &'a Group) -> Way<'a> {
        Way { group, me: self.node_id, peers: &self.peers, room: Some(&self.admission) }
    }

    /// The same for a request that holds room already.
    pub(crate) fn way_with_room<'a>(&'a self, group: &'a Group) -> Way<'a> {
        Way { room: None, ..self.way(group) }
    }

    /// The state of a shard.
    pub fn store(&self, shard: GroupId) -> ShardStore {
        ShardStore::new(self.disk.clone(), shard)
    }

    /// A run with its steps, as it is applied on this node.
    pub fn read_run(&self, shard: GroupId, namespace: &str, run_id: &str) -> Result<Option<v1::Run>, Status> {
        let store = self.store(shard);
        let Some(uid) = store.current_uid(namespace, run_id).map_err(|error| errors::internal(&error))? else { return Ok(None) };
        self.read_uid(shard, uid)
    }

    /// A run with its steps, by its uid.
    pub fn read_uid(&self, shard: GroupId, uid: RunUid) -> Result<Option<v1::Run>, Status> {
        let store = self.store(shard);
        let Some(run) = store.load_run(uid).map_err(|error| errors::internal(&error))? else { return Ok(None) };
        self.show_run(&store, shard, &run).map(Some)
    }

    /// A run with its steps, as clients read it.
    pub fn show_run(&self, store: &ShardStore, shard: GroupId, run: &LoadedRun) -> Result<v1::Run, Status> {
        let plan = self.plans.get(store, run.digest()).map_err(|error| errors::internal(&error))?;
        let mut wire = to_proto::run_summary(shard, &run.info, &run.head);
        wire.input = Some(schemas::shown_input(&plan, &run.info.input));
        wire.output = run.head.output.as_ref().map(to_proto::payload);
        wire.steps = steps::steps(&plan, run);
        wire.undone = steps::undone(&plan, run);
        if !wire.undone.is_empty() && run.head.status.is_final() && wire.compensation() == v1::CompensationState::Unspecified {
            wire.set_compensation(v1::CompensationState::Incomplete);
        }
        Ok(wire)
    }
}
