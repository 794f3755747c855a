//! What somebody asks for, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A fault that somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// A name of the catalogue.
    pub kind: String,
    /// On whom, as [`super::select::Selector`] reads it; the kind's own default if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For how long; the kind's own default if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Draws what is left to chance.
    #[serde(default)]
    pub seed: u64,
    /// What else the kind can be told.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Act on more nodes than can be missed.
    #[serde(default)]
    pub allow_majority: bool,
    /// Undo it when the one who asks goes away.
    #[serde(default)]
    pub tied: bool,
}

/// A fault that is in force, or has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its number.
    pub fault: u64,
    /// A name of the catalogue.
    pub kind: String,
    /// On whom.
    pub targets: Vec<String>,
    /// When it is undone; none if it has happened and is over.
    pub for_ms: Option<u64>,
    /// Shards that a target led when it began.
    pub led_shards: Vec<u32>,
    /// What else there is to say.
    pub note: String,
}

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `stage` or `dev`.
    pub target: String,
    /// Faults in force.
    pub active: Vec<Made>,
    /// Nodes that live, with their processes.
    pub nodes: BTreeMap<u64, Option<u32>>,
    /// Processes that have ended without anybody having asked for it, and how. There should be none, ever.
    pub ended_by_themselves: Vec<String>,
}
