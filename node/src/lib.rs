//! quorus-node

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod balance;
pub mod bootstrap;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod clock_bound;
pub mod codec;
pub mod config;
pub mod connection;
mod crash_point;
pub mod dev;
pub mod dispatch;
pub mod executors;
pub mod gateway;
pub mod identity;
pub mod leader;
pub mod limits;
pub mod liveness;
mod misdirected;
pub mod net;
pub mod node;
pub mod observe;
pub mod platform;
pub mod query;
pub mod replica;
mod resource;
pub mod routing;
pub mod schedules;
mod serve;
pub mod server;
pub mod steady_clock;
pub mod store;
pub mod supervisor;
pub mod system;
pub mod triggers;
pub mod version;
