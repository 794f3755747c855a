//! The groups of one process.

use std::{collections::BTreeMap, sync::Arc};

use quorus_proto::peer::raft_service_server::RaftServiceServer;
use tokio::sync::watch;

use crate::{Error, Fatal, Group, GroupId, NodeId, Options, Peers, ReplicaId, StateMachine, disk::Disk};

/// A replica that is to run here.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// The replica of it that lives here.
    pub replica: ReplicaId,
    /// Voters of a new group, and where they live. Of no effect once the group exists.
    pub members: BTreeMap<ReplicaId, NodeId>,
    /// Learners of a new group.
    pub learners: BTreeMap<ReplicaId, NodeId>,
    /// Starts a new group with these members, unless it exists. May be set on every one of its nodes, if all give the same members.
    pub initialize: bool,
}

/// The groups of one process. Cheap to clone.
#[derive(Clone)]
pub struct Host {}

/// Answers the Raft messages of other nodes.
#[derive(Clone)]
pub struct Endpoint {}

impl Host {
    /// A host without groups. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn new(options: Options, disk: Arc<dyn Disk>, peers: Arc<Peers>) -> Result<Self, Error> {
        let _ = (options, disk, peers);
        unimplemented!()
    }

    /// The service to add to the node's gRPC router. Calls before `open` are refused, and tried again by the caller.
    pub fn services(&self) -> RaftServiceServer<Endpoint> {
        unimplemented!()
    }

    /// Opens a replica: from disk if it exists there, else as a new one.
    ///
    /// # Errors
    /// If it is open already, or what is stored can't be trusted.
    pub async fn open(&self, config: GroupConfig, machine: Box<dyn StateMachine>) -> Result<Group, Error> {
        let _ = (config, machine);
        unimplemented!()
    }

    /// A group that is open here.
    pub fn group(&self, group: GroupId) -> Option<Group> {
        let _ = group;
        unimplemented!()
    }

    /// Every group that is open here.
    pub fn groups(&self) -> Vec<Group> {
        unimplemented!()
    }

    /// Set once the process must exit.
    pub fn fatal(&self) -> watch::Receiver<Option<Fatal>> {
        unimplemented!()
    }

    /// Stops all groups, then the writer. Leaderships should have been transferred before.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
