//! Where Raft and the engine meet: committed records are folded into the state on disk, the same on every replica.
//!
//! A record is a leader's epoch, or decisions of many runs. A decision is folded only if the record's term is that of the open epoch and the run's
//! sequence is the one that the decision was made on; else it is a recorded no-op, and the answer says which. That is the whole fencing: two nodes may
//! believe that they lead, only one can change anything.
//!
//! Invariants:
//! - Total and deterministic: no clock, no chance; the state depends on the records, not on how they are grouped into apply calls.
//! - A refusal is an answer; a disk that fails, damaged bytes and kinds of events that this version does not know stop the replica.
//! - A decision touches only the keys of what its events name, so its cost depends neither on the size of its run nor on the number of runs.
//! - History is stored as it came in the record; what is derived (head, steps, indexes) is written with it in one batch.
//!
//! Read in this order: [`ShardReplica`], `overlay`, `run`, `index`; beside them `requests` and `cache`.

mod answer;
mod cache;
mod digest;
mod index;
mod overlay;
mod requests;
mod run;
mod shard;
mod sink;

#[cfg(test)]
mod tests;

pub use answer::{BatchAnswer, RecordAnswer};
pub(crate) use digest::hash_row;
pub use digest::state_digest;
pub use shard::ShardReplica;
pub use sink::{AppliedSink, NoSink, RunChange};
