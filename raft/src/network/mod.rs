//! How the replicas of a group talk: calls of all groups are multiplexed on lanes, one stream per pair of nodes and kind of traffic.
//!
//! ```text
//! replica ─ client ─ AppendSession ─┐                            ┌─ session ─ replica
//! replica ─ client ─────────────────┼─ Link ══ Exchange stream ══ ┼─ call ──── replica
//! replica ─ client ─ AppendSession ─┘   (one per node and lane)   └─ session ─ replica
//! ```
//!
//! The calls that wait when a frame is made travel together. Answers of one session come in order. Every call has a deadline; a lane on which nothing
//! came back is thrown away with its connection, since a lost packet may have wedged it.

mod append;
mod client;
mod convert;
mod link;
mod service;
mod snapshot;

pub(crate) use client::ClientFactory;
pub(crate) use link::Links;
pub use service::Endpoint;

/// Largest message, in bytes. An append holds at least one entry, whatever its size.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A frame is full with about so many bytes.
pub(crate) const FRAME_BYTES: usize = 1 << 20;
