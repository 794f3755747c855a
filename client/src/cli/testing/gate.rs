//! A gate in virtual time: what its executor would decide on scripted values, one per look.

use std::collections::BTreeMap;

use quorus_engine::{Millis, Outcome, Payload};
use serde::Deserialize;

use super::file::Sample;

/// The request of a gate's executor, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Request {
    condition: String,
    #[serde(default)]
    fail_if: Option<String>,
    interval_ms: u64,
    #[serde(default)]
    hold_for_ms: u64,
    #[serde(default)]
    no_data: String,
    #[serde(default)]
    guard: bool,
    #[serde(default)]
    breach_for_ms: u64,
}
