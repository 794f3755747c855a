//! Triggers: runs that start by an event from outside.
//!
//! `POST /hooks/{namespace}/{name}` on any node's HTTP port:
//!
//! ```text
//! hook: trigger known? size? -> auth: who sends it? -> event: what is it? -> map: what does it start? -> the node's own start path
//! ```
//!
//! The request id of a start is a function of the event's id, so that an event which is sent again, to any node, finds the run that it started; the
//! run's shard knows that for 7 days.

pub(crate) mod auth;
pub(crate) mod definition;
pub(crate) mod event;
mod hook;
pub(crate) mod map;
mod secret;

pub use hook::Hooks;
