//! The files of `quorus test`: which workflow, what its attempts are scripted to do, and what is expected of the run.
//!
//! ```yaml
//! api_version: quorus/v1
//! kind: WorkflowTest
//! workflow: workflow.yaml            # beside this file; this is the default
//! tests:
//!   - name: a busy schema is tried again
//!     input: {version: "1.2.3"}      # or input_file: input.json
//!     steps:
//!       migrate: [{fail: {type: SchemaBusy}}, {after: 2m, succeed: {rows: 3}}]
//!     actions:
//!       - {during: sign_off, approve: {step: sign_off, by: ann, roles: [release_managers]}}
//!     expect:
//!       status: succeeded
//!       attempts: [migrate, migrate, deploy]
//! ```

use std::collections::BTreeMap;

use quorus_engine::Millis;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{action::Action, expect::Expect, outcome::Outcomes};

/// What a file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFile {
    pub(crate) api_version: Spanned<String>,
    pub(crate) kind: Spanned<String>,
    /// Path of the workflow, from the folder of this file.
    #[serde(default)]
    pub(crate) workflow: Option<Spanned<String>>,
    pub(crate) tests: Vec<Case>,
}

/// One run and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: Spanned<String>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) input: Option<Value>,
    /// Path of a JSON file, from the folder of this file.
    #[serde(default)]
    pub(crate) input_file: Option<Spanned<String>>,
    /// When the run starts, as RFC 3339.
    #[serde(default)]
    pub(crate) start: Option<Spanned<String>>,
    /// Who starts it.
    #[serde(default)]
    pub(crate) starter: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// How long an attempt takes whose script does not say.
    #[serde(default)]
    pub(crate) attempt_takes: Delay,
    /// What attempts do, by the step's id, by the id of an instance (`regions[1].deploy`), or by `<id>:compensate`.
    #[serde(default)]
    pub(crate) steps: BTreeMap<String, Spanned<Outcomes>>,
    #[serde(default)]
    pub(crate) actions: Vec<Spanned<Action>>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// A duration as definitions have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delay(pub(crate) Millis);

/// Tells `x: null` from no `x`.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = quorus_spec::parse_duration(&text).map_err(|error| de::Error::custom(format!("{error}; {}", error.hint)))?;
        let seconds = u64::try_from(duration.seconds).unwrap_or_default();
        let nanos = u64::try_from(duration.nanos).unwrap_or_default();
        Ok(Self(Millis(seconds * 1000 + nanos.div_ceil(1_000_000))))
    }
}
