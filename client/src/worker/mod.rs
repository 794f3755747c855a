//! [`Worker`]: executes attempts under leases.
//!
//! ```text
//!   node ⇄ link.rs ⇄ driver.rs ⇄ attempt.rs ⇄ the registered function (context.rs)
//!                       ⇕
//!                    leases.rs   pure: what is held, until when, what is to be sent
//! ```
//!
//! - `leases.rs` holds the rules (`design/protocols.md`, Leases) without IO or clock; everything else is a shell around it.
//! - `attempt.rs` executes one attempt: ledger, function, outcome; `registry.rs` has the functions by task type.
//! - `driver.rs` is the one loop: it feeds messages, ends of attempts and time into the rules and carries out what they say.
//! - `link.rs` is one stream to one node at a time; it goes to the next node when the stream breaks.
//!
//! Invariants: an attempt whose lease ran out is stopped by its deadline on this process's own clock, even when no node can be reached.
//! A lease is executed at most once by this process. An outcome is kept and repeated until a node acknowledges it.

mod attempt;
mod builder;
mod context;
mod driver;
mod leases;
#[cfg(test)]
mod leases_tests;
mod link;
mod over;
mod registry;

pub use builder::{Worker, WorkerBuilder, WorkerError};
pub use context::{CancelReason, Cancellation, LeaseLost, Output, TaskContext, TaskError};
