//! A TCP proxy per directed link, with rules that change while it works.
//!
//! - [`rules`]: what may be wrong with a link, and how several faults on one link add up.
//! - [`pump`]: moves the bytes of one direction under rules. Knows no sockets, so that it can be tested in virtual time.
//! - [`link`]: a listener, and the connections through it.
//!
//! Invariants: bytes are never lost, changed or reordered within a connection, only held, delayed or cut off; what a link holds is bounded.

pub mod link;
pub mod pump;
pub mod rules;

pub use link::Link;
pub use rules::{Flow, Rules};
