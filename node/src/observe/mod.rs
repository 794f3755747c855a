//! What operators see of a node: logs, metrics, probes.
//!
//! - [`logging`]: lines for people on a terminal, JSON for machines otherwise.
//! - [`names`]: every metric with its kind, unit and meaning. Code that counts takes names from there, never from a literal.
//! - [`metrics`]: the recorder behind `/metrics`, with the buckets of its histograms, and [`process`]'s own figures.
//! - [`readiness`]: named checks that the node sets as it comes up and goes down.
//! - [`http`]: `/livez /readyz /metrics /version`.
//! - [`rpc`]: a tower layer that counts and times gRPC calls.
//!
//! Invariant: `/livez` says only that the process answers. It never asks for a quorum, or a lost majority would make a supervisor kill the rest.

pub mod http;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod process;
pub mod readiness;
pub mod rpc;

pub use self::{
    http::Http,
    readiness::{Check, Readiness},
    rpc::MeasureRpcs,
};
