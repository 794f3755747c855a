//! What a stub file says.
//!
//! ```yaml
//! api_version: quorus/v1
//! kind: Stub
//! routes:
//!   - method: POST                      # without one, any
//!     path: /services/{name}/deploy     # {name} stands for one part
//!     responses:                        # one after the other; the last one goes on
//!       - {status: 503, times: 2, headers: {retry-after: "1"}}
//!       - {body: {deployed: true}, delay: 200ms}
//! prometheus:                           # GET /api/v1/query
//!   - query: error_rate                 # a part of the query that is asked
//!     values: [0.001, 0.2]              # one per question; the last one goes on; null for no data
//! ```

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::cli::{failure::Failure, source::Source};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StubFile {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) prometheus: Vec<Series>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    #[serde(default)]
    pub(super) method: Option<String>,
    pub(super) path: String,
    #[serde(default)]
    pub(super) responses: Vec<Recorded>,
}

/// A recorded response.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    #[serde(default = "ok")]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// JSON, or a text that is sent as it is.
    #[serde(default)]
    pub(super) body: Value,
    #[serde(default, deserialize_with = "duration")]
    pub(super) delay: Duration,
    /// How often, before the next one.
    #[serde(default = "once")]
    pub(super) times: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Series {
    pub(super) query: String,
    pub(super) values: Vec<Option<f64>>,
}

impl Default for Recorded {
    fn default() -> Self {
        Self { status: ok(), headers: BTreeMap::new(), body: Value::Null, delay: Duration::ZERO, times: once() }
    }
}

pub(super) fn read(source: &Source) -> Result<StubFile, Failure> {
    let file: StubFile = serde_saphyr::from_str(&source.text).map_err(|error| Failure::usage(format!("{}: {error}", source.name)))?;
    if file.api_version != quorus_spec::API_VERSION || file.kind != "Stub" {
        let message = format!("{}: expected `api_version: {}` and `kind: Stub`", source.name, quorus_spec::API_VERSION);
        return Err(Failure::usage(message));
    }
    Ok(file)
}

fn ok() -> u16 {
    200
}

fn once() -> u32 {
    1
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = quorus_spec::parse_duration(&text).map_err(|error| de::Error::custom(format!("{error}; {}", error.hint)))?;
    Duration::try_from(parsed).map_err(|_| de::Error::custom("a delay can't be negative"))
}
