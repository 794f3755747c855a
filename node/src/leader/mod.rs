//! What only a shard's leader does: decide, act, wake.
//!
//! Reading order: [`request`] (what can be asked), [`led`] (the way to a run), [`run_actor`] (decides), [`proposer`] (replicates), [`timers`] (wakes),
//! [`retention`] (removes), [`shard`] (binds them to a term), [`export`], [`dead_letter`], [`effects`], [`owing`] and [`courier`] (what is owed to
//! other runs), [`plans`] and [`task`].

mod courier;
mod dead_letter;
mod due;
mod effects;
mod export;
mod led;
mod owing;
mod pauses;
mod plans;
mod proposer;
mod request;
mod retention;
mod run_actor;
mod shard;
mod task;
mod timers;

pub(crate) use dead_letter::DeadLetter;
pub use export::Exporter;
pub use led::{LedShard, LedShards};
pub(crate) use owing::{Owing, OwingSender};
pub use plans::{PlanCache, PlanError};
pub use request::{Answer, Ask, OnConflict, OnReuse, Refusal, Reply, Request, RunKey, StartAsk};
pub use retention::{RemoveError, Retention};
pub use shard::{LeaderContext, ShardArguments, ShardMessage, ShardSupervisor};
pub(crate) use task::planned;
