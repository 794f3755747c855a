//! What a test expects of a run.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::file::{Delay, present};

/// What is expected when nothing happens any more. What is not said is not compared.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    #[serde(default)]
    pub(crate) status: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) failure: Option<Spanned<ExpectFailure>>,
    /// The run's output. An object may have more members than these.
    #[serde(default, deserialize_with = "present_at")]
    pub(crate) output: Option<Spanned<Value>>,
    /// By id or id of an instance.
    #[serde(default)]
    pub(crate) steps: BTreeMap<String, Spanned<ExpectStep>>,
    /// The steps whose attempts began, in order; a step is there once per attempt. Compensations are not among them.
    #[serde(default)]
    pub(crate) attempts: Option<Spanned<Vec<Spanned<String>>>>,
    /// These steps ended in this order; others may have ended in between.
    #[serde(default)]
    pub(crate) order: Option<Spanned<Vec<Spanned<String>>>>,
    /// Exactly these steps were undone, in this order.
    #[serde(default)]
    pub(crate) compensations: Option<Spanned<Vec<Spanned<String>>>>,
    /// What the run waits for: its steps that have neither ended nor anything scheduled.
    #[serde(default)]
    pub(crate) waits_for: Option<Spanned<Vec<Spanned<String>>>>,
    /// Virtual time from start to end.
    #[serde(default)]
    pub(crate) takes: Option<Spanned<Takes>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectFailure {
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    /// Is a part of it.
    #[serde(default)]
    pub(crate) message: Option<String>,
}

/// A status is enough.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpectStep {
    pub(crate) status: Option<String>,
    pub(crate) skip: Option<String>,
    pub(crate) attempts: Option<u32>,
    /// The queue of its last attempt.
    pub(crate) queue: Option<String>,
    pub(crate) output: Option<Value>,
    pub(crate) failure: Option<ExpectFailure>,
    /// The input of its attempts, which is known as long as it has not ended.
    pub(crate) input: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Takes {
    #[serde(default)]
    pub(crate) at_least: Option<Delay>,
    #[serde(default)]
    pub(crate) at_most: Option<Delay>,
}

fn present_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Spanned<Value>>, D::Error> {
    Spanned::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for ExpectStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            #[serde(default)]
            status: Option<String>,
            #[serde(default)]
            skip: Option<String>,
            #[serde(default)]
            attempts: Option<u32>,
            #[serde(default)]
            queue: Option<String>,
            #[serde(default, deserialize_with = "present")]
            output: Option<Value>,
            #[serde(default)]
            failure: Option<ExpectFailure>,
            #[serde(default, deserialize_with = "present")]
            input: Option<Value>,
        }
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = ExpectStep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status, or a mapping of status, skip, attempts, queue, output, failure and input")
            }
            fn visit_str<E: de::Error>(self, status: &str) -> Result<ExpectStep, E> {
                Ok(ExpectStep { status: Some(status.to_owned()), ..ExpectStep::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExpectStep, A::Error> {
                let Fields { status, skip, attempts, queue, output, failure, input } =
                    Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ExpectStep { status, skip, attempts, queue, output, failure, input })
            }
        }
        deserializer.deserialize_any(Of)
    }
}
