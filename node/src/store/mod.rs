//! What is on disk for a shard: one file per key family, each with its layout and its lifetime.
//!
//! | family | key after the group | value | written by |
//! |---|---|---|---|
//! | `epoch` | `E` | leadership | `OpenEpoch` |
//! | `id` | `N` namespace, run id | uid of the newest run | start |
//! | `info` | `R` uid | what never changes | start |
//! | `payload` | `P` uid, which | input, output | start, end |
//! | `head` | `h` uid | where the run stands | each decision |
//! | `step` | `S` uid, step | where the step stands | each event of the step |
//! | `history` | `H` uid, sequence | events | each decision |
//! | `timer` | `T` due, uid, kind, step | - | with the field that it is derived from |
//! | `open` | `O` uid, step | - | when a step is queued or leased |
//! | `list` | `I` namespace, start, uid | what filters ask about | start, change of status |
//! | `listed` | `a` namespace, start, uid and `J` namespace, workflow, start, uid | - | start, end |
//! | `expiry` | `Z` class, time, uid | - | end |
//! | `place` | `X`, `A` and `B` uid, step | - | with the state that it is derived from |
//! | `discarded` | `b` uid, step | generation | a discard |
//! | `signal` | `G` uid, name, sequence | a signal | its arrival, its end |
//! | `request` | `Q` and `q` | uid, time | start, change with a request id |
//! | `definition` | `D` digest | definition | first use |
//!
//! Invariants: keys begin with the group, so that a snapshot is a prefix; only `replica` writes; state is keyed per run, per step and per timer, so the
//! cost of a step does not grow with the run; the indexes always equal what heads and steps say (`replica` tests recompute them).
//!
//! Read by everyone through [`ShardStore`].

mod error;
mod shard;

pub(crate) mod definition;
pub(crate) mod discarded;
pub(crate) mod epoch;
pub(crate) mod expiry;
pub(crate) mod head;
pub(crate) mod history;
pub(crate) mod id;
pub(crate) mod info;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod listed;
pub(crate) mod open;
pub(crate) mod payload;
pub(crate) mod place;
pub(crate) mod reader;
pub(crate) mod request;
pub(crate) mod signal;
pub(crate) mod step;
pub(crate) mod timer;

#[cfg(test)]
pub(crate) mod testing;

pub use epoch::Epoch;
pub use error::StoreError;
pub use expiry::{Expired, ExpiryPage};
pub(crate) use list::row_of;
pub use list::{LIST_SCANNED_MAX, RunCount, RunCursor, RunPage, RunSummary};
pub use open::OpenStep;
pub use place::{PlaceEntry, RunPlace};
pub use request::{CHANGE_MARK, REQUEST_KEPT, Request, id_of_change};
pub use shard::{LoadedRun, ShardStore, digest};
pub use timer::{Timer, TimerEntry};
