//! Group 0: the workflows, and what the cluster is made of.
//!
//! Unlike the shards, the system group replicates commands and decides where it applies them: the rules are a handful (same content makes no new
//! version, the first cluster wins, a data folder's incarnation never changes), and are kept for ever. Every node has a replica, so every node answers
//! from its own copy.
//!
//! Invariants: version numbers of a workflow only rise, also across a deletion; a revision is the log index of a change, so a node whose
//! [`SystemView::revision`] is at least that has the change; the cluster id, the number of shards and a node's incarnation never change.
//!
//! | family | key | value |
//! |---|---|---|
//! | `cluster` | `[0]'C'` | `log.Cluster` |
//! | `workflow` | `[0]'L'[namespace 0][name]` | `log.StoredWorkflow`, kept after a deletion |
//! | `workflow` | `[0]'W'[namespace 0][name 0][version u64]` | `log.StoredWorkflowVersion`, until deleted |
//! | flow control | see [`flow`] | |
//! | `revision` | `[0]'V'` | index of the last applied command, u64 |
//! | `schedule` | `[0]'K'[namespace 0][name]` | `log.StoredSchedule` |
//! | `firing` | `[0]'Y'[namespace 0][name 0][number u64]` | `v1.Firing`, the latest of each schedule |
//! | `trigger` | `[0]'J'[namespace 0][name]` | `log.StoredTrigger` |

mod cluster;
mod command;
mod flow;
mod overlay;
mod replica;
mod revision;
mod schedule;
mod store;
mod trigger;
mod workflow;

#[cfg(test)]
mod tests;

pub use cluster::{ClusterInfo, NodeInfo, PlacementInfo, ReplicaInfo};
pub use command::{AddressVerdict, SystemAnswer, SystemCommand, WorkflowApplied};
pub use flow::{
    FlowAnswer, FlowCommand, FlowState, SlotAnswer, SlotConflict, SlotKey, SlotNews, SlotRun, SlotStanding, SlotStatus, SlotUse,
    StoredLimit, Switch,
};
pub(crate) use flow::{answer_from_proto, answer_to_proto, command_from_proto, command_to_proto};
pub use replica::SystemReplica;
pub use schedule::{FIRINGS_KEPT, ScheduleKey, SchedulePage};
pub use store::{SystemStore, SystemView};
pub use trigger::TriggerPage;
pub use workflow::{VersionPage, WorkflowPage, WorkflowVersion};

/// The system group.
pub const SYSTEM_GROUP: quorus_raft::GroupId = 0;
