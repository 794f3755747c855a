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

use std::{collections::BTreeMap, fmt};

use quorus_engine::Millis;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use serde_saphyr::Spanned;

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

/// A duration as definitions have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delay(pub(crate) Millis);

fn yes() -> bool {
    true
}

/// Tells `x: null` from no `x`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn present_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Spanned<Value>>, D::Error> {
    Spanned::deserialize(deserializer).map(Some)
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
