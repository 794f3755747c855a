//! Replicates opaque records: many Raft groups over one disk and one connection per pair of nodes.
//!
//! What is here: the log and its group commit, the state that applied records leave behind, snapshots, the lanes between nodes, and the
//! supervision of each group. What is not: any idea of what a record means. A [`StateMachine`] gets committed records in order and writes what
//! it makes of them; [`Group::propose`] puts a record into the log of one term; [`Group::read_barrier`] says when a read is linearizable.
//!
//! Invariants:
//! - An answer to a proposal follows its commit on a quorum (each with a real fsync) and its apply here.
//! - The write-ahead log of the disk orders votes, log, state and purges of all groups; losing its unsynced end never breaks a promise.
//! - A failed write or fsync is fatal for the process ([`Host::fatal`]); it is never tried again.
//! - No type of openraft is visible outside this crate.
//!
//! Read next: [`Host`] (one per process), [`Group`] (one per replica), [`disk`] (what is stored, and where).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod disk;

mod applied;
mod codec;
mod dial;
mod error;
mod group;
mod host;
mod ids;
mod keys;
mod machine;
mod membership;
mod network;
mod options;
mod peers;
mod runtime;
mod shared;
mod status;
mod store;
mod supervisor;
mod types;
mod writer;

pub use applied::{AppliedState, applied_state};
pub use dial::lazily;
pub use error::{Error, Fatal, NoAddress, ProposeError, ReadError, TransferError};
pub use group::{Group, Pending, Proposed};
pub use host::{GroupConfig, Host};
pub use ids::{GroupId, Index, NodeId, ReplicaId, Term};
pub use machine::{ApplyError, Entry, StateMachine};
pub use membership::MembershipError;
pub use network::Endpoint;
pub use options::{Options, WriterMode};
pub use peers::{CLUSTER_AUTHORITY, Net, Peers};
pub use runtime::seed_thread;
pub use status::{GroupStatus, Leadership, ReplicaStatus};
