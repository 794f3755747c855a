//! quorus-node

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod codec;
pub mod config;
pub mod dev;
pub mod observe;
pub mod replica;
mod serve;
pub mod store;
pub mod version;
