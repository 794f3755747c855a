//! What the system group is told, and what it answers.

use bytes::Bytes;
use quorus_engine::{Principal, Timestamp};
use quorus_proto::log;
use quorus_raft::{Index, NodeId};

use super::{ClusterInfo, FlowAnswer, FlowCommand};
use crate::codec::{self, CodecError};

/// What the system group is told.
#[derive(Clone, Debug, PartialEq)]
pub enum SystemCommand {
    /// Make a new version, unless the latest has the same digest.
    ApplyWorkflow {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Encoded `v1.Workflow`.
        workflow: Bytes,
        /// SHA-256 of it.
        digest: [u8; 32],
        /// Who asks.
        principal: Principal,
    },
    /// Delete all versions.
    DeleteWorkflow {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Who asks.
        principal: Principal,
    },
    /// Make the cluster. The first one wins.
    RegisterCluster(ClusterInfo),
    /// A node says where it is now.
    UpdateNodeAddress {
        /// Which node.
        node: NodeId,
        /// Where others reach it.
        address: String,
        /// Its data folder's incarnation.
        incarnation: String,
    },
    /// Make or change a schedule.
    ApplySchedule(log::ApplySchedule),
    /// Change the state of a schedule.
    ChangeSchedule(Box<log::ChangeSchedule>),
    /// Make or change a trigger.
    ApplyTrigger(log::ApplyTrigger),
    /// Change the state of a trigger.
    ChangeTrigger(log::ChangeTrigger),
    /// About flow control.
    Flow(FlowCommand),
}

/// What the system group answers.
#[derive(Clone, Debug, PartialEq)]
pub enum SystemAnswer {
    /// To `ApplyWorkflow`.
    WorkflowApplied(WorkflowApplied),
    /// To `DeleteWorkflow`.
    WorkflowDeleted {
        /// False if there was no such workflow.
        existed: bool,
        /// Position of the change.
        revision: Index,
    },
    /// To `RegisterCluster`.
    ClusterRegistered {
        /// The registered cluster: another than was asked for if one was registered before.
        cluster_id: String,
        /// True if this command registered it.
        changed: bool,
    },
    /// To `UpdateNodeAddress`.
    NodeAddress(AddressVerdict),
    /// To `ApplySchedule` and `ChangeSchedule`.
    Schedule(Box<log::ScheduleChanged>),
    /// To `ApplyTrigger` and `ChangeTrigger`.
    Trigger(Box<log::TriggerChanged>),
    /// To `Flow`.
    Flow(FlowAnswer),
}

/// Which version is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowApplied {
    /// The version.
    pub version: u64,
    /// False if the latest version was the same already.
    pub changed: bool,
    /// Position of the change that made the version.
    pub revision: Index,
    /// When that was.
    pub applied_at: Timestamp,
    /// Who did it.
    pub applied_by: Principal,
}

/// May the node be where it says?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressVerdict {
    /// The address was recorded.
    Updated,
    /// It was recorded before.
    Unchanged,
    /// No such node is registered.
    UnknownNode,
    /// The node was registered with another data folder: it must not take part under this id.
    OtherIncarnation,
}

impl SystemCommand {
    /// The command as a record of the system group's log.
    pub fn encode(&self, time: Timestamp) -> Bytes {
        codec::encode_system_command(self, time)
    }

    /// The command of a record, and when it was proposed.
    ///
    /// # Errors
    /// If the record is damaged, or was written by a newer version.
    pub fn decode(record: Bytes) -> Result<(Timestamp, Self), CodecError> {
        codec::decode_system_command(record)
    }
}

impl SystemAnswer {
    /// The answer as bytes.
    pub fn encode(&self) -> Bytes {
        codec::encode_system_answer(self)
    }

    /// The answer of these bytes.
    ///
    /// # Errors
    /// If they are not one.
    pub fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        codec::decode_system_answer(bytes)
    }
}
