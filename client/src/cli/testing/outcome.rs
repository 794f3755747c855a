//! What attempts do: the scripts of a test.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use super::file::{Delay, present};

/// What the attempts of a step do, one after the other; the last one goes on for all that follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcomes(pub(crate) Vec<Outcome>);

/// What an attempt does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutcomeFields {
    /// How long it takes.
    #[serde(default)]
    pub(crate) after: Option<Delay>,
    /// Checkpointed before the end.
    #[serde(default, deserialize_with = "present")]
    pub(crate) checkpoint: Option<Value>,
    /// Asked to stop, it does not.
    #[serde(default)]
    pub(crate) ignores_cancel: bool,
    /// Asked to stop, it is sure that nothing was changed.
    #[serde(default)]
    pub(crate) nothing_done: bool,
    #[serde(default, deserialize_with = "present")]
    succeed: Option<Value>,
    #[serde(default)]
    fail: Option<Fail>,
    #[serde(default)]
    time_out: Option<TimeOut>,
    #[serde(default)]
    abandon: Option<String>,
    #[serde(default, deserialize_with = "present")]
    release: Option<Value>,
    #[serde(default)]
    hang: Option<bool>,
    #[serde(default)]
    no_worker: Option<bool>,
    #[serde(default)]
    samples: Option<Vec<Sample>>,
    #[serde(default)]
    refuse: Option<Fail>,
}

/// What an attempt does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) fields: OutcomeFields,
    pub(crate) end: End,
}

/// How an attempt ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With an output.
    Succeed(Value),
    Fail(Fail),
    TimeOut(TimeOut),
    /// Its worker is lost.
    Abandon(String),
    /// Its worker gives the task back, with a checkpoint.
    Release(Value),
    /// Not by itself.
    Hang,
    /// It never begins: no worker takes the task.
    NoWorker,
    /// As a gate's executor decides on these values, one per look; the last one goes on.
    Samples(Vec<Sample>),
    /// A child run can't be started.
    Refuse(Fail),
}

/// A failure; `fail: Type` is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fail {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) nothing_done: bool,
    pub(crate) non_retryable: bool,
    pub(crate) retry_after: Option<Delay>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeOut {
    Attempt,
    Heartbeat,
}

/// What a gate sees when it looks: a number, numbers by name, or nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sample {
    NoData,
    /// Of the one query, which has no name.
    Value(f64),
    Values(BTreeMap<String, f64>),
}

impl TryFrom<OutcomeFields> for Outcome {
    type Error = String;

    fn try_from(mut fields: OutcomeFields) -> Result<Self, String> {
        let ends = [
            fields.succeed.take().map(End::Succeed),
            fields.fail.take().map(End::Fail),
            fields.time_out.take().map(End::TimeOut),
            fields.abandon.take().map(End::Abandon),
            fields.release.take().map(End::Release),
            fields.hang.take().map(|_| End::Hang),
            fields.no_worker.take().map(|_| End::NoWorker),
            fields.samples.take().map(End::Samples),
            fields.refuse.take().map(End::Refuse),
        ];
        let mut ends = ends.into_iter().flatten();
        match (ends.next(), ends.next()) {
            (None, _) => Ok(Self { fields, end: End::Succeed(Value::Null) }),
            (Some(end), None) => Ok(Self { fields, end }),
            (Some(_), Some(_)) => Err("an attempt ends in one way, not in several".to_owned()),
        }
    }
}

const OUTCOMES: &str = "`succeed`, `fail`, `hang`, `abandon`, `no_worker`, a mapping, or a list of these";

impl Outcome {
    fn named(name: &str) -> Option<Self> {
        let end = match name {
            "succeed" => End::Succeed(Value::Null),
            "fail" => End::Fail(Fail { kind: "Failed".to_owned(), ..Fail::default() }),
            "hang" => End::Hang,
            "abandon" => End::Abandon("the worker was lost".to_owned()),
            "no_worker" => End::NoWorker,
            _ => return None,
        };
        Some(Self { fields: OutcomeFields::default(), end })
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self { fields: OutcomeFields::default(), end: End::Succeed(Value::Null) }
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Outcome;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(OUTCOMES)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Outcome, E> {
                Outcome::named(text).ok_or_else(|| E::custom(format!("`{text}` is no outcome; expected {OUTCOMES}")))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Outcome, A::Error> {
                OutcomeFields::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Some;
        impl<'de> Visitor<'de> for Some {
            type Value = Outcomes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(OUTCOMES)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Outcomes, E> {
                let outcome = Outcome::named(text).ok_or_else(|| E::custom(format!("`{text}` is no outcome; expected {OUTCOMES}")))?;
                Ok(Outcomes(vec![outcome]))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Outcomes, A::Error> {
                let fields = OutcomeFields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Outcomes(vec![fields.try_into().map_err(de::Error::custom)?]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Outcomes, A::Error> {
                let mut outcomes = Vec::new();
                while let Option::Some(outcome) = items.next_element()? {
                    outcomes.push(outcome);
                }
                if outcomes.is_empty() {
                    return Err(de::Error::custom("the list has no outcome"));
                }
                Ok(Outcomes(outcomes))
            }
        }
        deserializer.deserialize_any(Some)
    }
}

impl<'de> Deserialize<'de> for Fail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            #[serde(default, rename = "type")]
            kind: Option<String>,
            #[serde(default)]
            message: String,
            #[serde(default)]
            nothing_done: bool,
            #[serde(default)]
            non_retryable: bool,
            #[serde(default)]
            retry_after: Option<Delay>,
        }
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Fail;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the type of a failure, or a mapping of type, message, nothing_done, non_retryable and retry_after")
            }
            fn visit_str<E: de::Error>(self, kind: &str) -> Result<Fail, E> {
                Ok(Fail { kind: kind.to_owned(), ..Fail::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fail, A::Error> {
                let Fields { kind, message, nothing_done, non_retryable, retry_after } =
                    Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Fail { kind: kind.unwrap_or_else(|| "Failed".to_owned()), message, nothing_done, non_retryable, retry_after })
            }
        }
        deserializer.deserialize_any(Of)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::NoData),
            Value::Number(number) => Ok(Self::Value(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) if text.eq_ignore_ascii_case("nan") => Ok(Self::Value(f64::NAN)),
            Value::Object(map) => {
                let number = |(name, value): (String, Value)| {
                    let number = value.as_f64().ok_or_else(|| de::Error::custom(format!("`{name}` is no number")))?;
                    Ok((name, number))
                };
                map.into_iter().map(number).collect::<Result<_, _>>().map(Self::Values)
            }
            other => Err(de::Error::custom(format!("a look gives a number, numbers by name, or null for no data; not {other}"))),
        }
    }
}
