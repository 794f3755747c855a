//! Durations, JSON, and names of enums.

use quorus_engine::Millis;
use quorus_proto::v1::{JsonValue, Template};
use serde_json::Value;

use super::Compiler;
use crate::engine::Problem;

/// About 10,000 years, as on the wire.
const SECONDS_MAX: i64 = 315_576_000_000;

impl Compiler {
    /// Durations are kept in whole milliseconds; what is shorter becomes one, so that a timeout never becomes none.
    pub(super) fn millis(&mut self, path: &str, duration: Option<&prost_types::Duration>) -> Option<Millis> {
        let duration = duration?;
        let in_range = (0..=SECONDS_MAX).contains(&duration.seconds) && (0..1_000_000_000).contains(&duration.nanos);
        if !in_range {
            let message = format!("`{path}` is negative, or longer than 10,000 years");
            self.problems.push(Problem::error(path, "bad-duration", message));
            return None;
        }
        let seconds = u64::try_from(duration.seconds).unwrap_or_default();
        let nanos = u64::try_from(duration.nanos).unwrap_or_default();
        Some(Millis(seconds * 1000 + nanos.div_ceil(1_000_000)))
    }

    pub(super) fn template(&mut self, path: &str, template: Option<&Template>) -> Option<Value> {
        self.parse(path, &template?.json)
    }

    pub(super) fn json(&mut self, path: &str, value: Option<&JsonValue>) -> Option<Value> {
        self.parse(path, &value?.json)
    }

    fn parse(&mut self, path: &str, json: &str) -> Option<Value> {
        match serde_json::from_str(json) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(Problem::error(path, "bad-json", format!("`{path}` is not JSON: {error}")));
                None
            }
        }
    }

    /// The value of an enum; a number that nobody knows is a problem, and read as the default.
    pub(super) fn choice<E: TryFrom<i32> + Default>(&mut self, path: &str, number: i32) -> E {
        E::try_from(number).unwrap_or_else(|_| {
            self.problems.push(Problem::error(path, "unknown-value", format!("{number} is no value of `{path}`")));
            E::default()
        })
    }
}
