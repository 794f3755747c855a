//! What people and other systems do to a run in a test.

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::file::{Delay, present};

/// Something that somebody does to the run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    /// Time since the start; after the moment that `during` or `after` says, if one of them is given.
    #[serde(default)]
    pub(crate) at: Option<Delay>,
    /// As soon as this step was started and has not ended.
    #[serde(default)]
    pub(crate) during: Option<String>,
    /// As soon as this step has ended.
    #[serde(default)]
    pub(crate) after: Option<String>,
    /// As soon as the run has this status.
    #[serde(default)]
    pub(crate) when: Option<String>,
    /// It is to be refused, with this text in the reason.
    #[serde(default)]
    pub(crate) refused: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) signal: Option<SignalAction>,
    #[serde(default)]
    pub(crate) approve: Option<ApproveAction>,
    #[serde(default)]
    pub(crate) reject: Option<ApproveAction>,
    #[serde(default)]
    pub(crate) cancel: Option<CancelAction>,
    #[serde(default)]
    pub(crate) terminate: Option<ReasonAction>,
    #[serde(default)]
    pub(crate) pause: Option<ReasonAction>,
    #[serde(default)]
    pub(crate) resume: Option<ReasonAction>,
    #[serde(default)]
    pub(crate) retry: Option<ReasonAction>,
    #[serde(default)]
    pub(crate) compensate: Option<ReasonAction>,
    #[serde(default)]
    pub(crate) restart: Option<StepAction>,
    #[serde(default)]
    pub(crate) skip: Option<StepAction>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalAction {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) payload: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproveAction {
    pub(crate) step: String,
    #[serde(default)]
    pub(crate) by: Option<String>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelAction {
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default = "yes")]
    pub(crate) compensate: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonAction {
    #[serde(default)]
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepAction {
    pub(crate) step: String,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default, deserialize_with = "present")]
    pub(crate) output: Option<Value>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
}

fn yes() -> bool {
    true
}
