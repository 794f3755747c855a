//! The built-in worker of every node: executes `http`, `gate` and `emit` steps under leases, as workers outside execute theirs.
//!
//! ```text
//!   gateway (the node's own book of workers) ⇄ session.rs ⇄ attempt.rs ⇄ http.rs, gate.rs, emit.rs
//!                                                              ⇕
//!                                                secrets put in and masked out; outgoing.rs calls
//! ```
//!
//! Reading order: [`session`] (holds leases), [`attempt`] (what an executor sees and answers), [`outgoing`] (calls, and [`addresses`] they may
//! go to), then one file per step kind. What a step's request looks like is written down where plans make it: `quorus_engine`'s built-ins.
//!
//! Invariants: only this worker takes tasks of the queue [`QUEUE`]; an attempt whose lease ran out is stopped by its deadline; no secret's
//! value leaves an attempt but to where the workflow sends it.

mod addresses;
mod attempt;
mod cloud_event;
mod emit;
mod gate;
mod http;
mod outgoing;
mod services;
mod session;
mod signals;

#[cfg(test)]
mod testing;

pub use addresses::{Cidr, Reach};
pub use emit::{SignalAsk, SignalError, Signals};
pub use services::Services;
pub use session::{Arguments, start};
pub use signals::ApiSignals;

/// The queue of built-in steps; reserved for nodes.
pub const QUEUE: &str = "quorus.builtin";

/// Queues whose name begins like this are not for workers outside.
pub const RESERVED_PREFIX: &str = "quorus.";
