//! A gate in virtual time: what its executor decides on scripted values, one per look.

use std::collections::BTreeMap;

use quorus_engine::{Failure, GateCondition, Millis, Outcome, Payload, Problem};
use serde::Deserialize;
use serde_json::json;

use super::file::Sample;

/// A gate that is not decided after so many looks never will be.
const LOOKS_MAX: u64 = 100_000;

/// The request of a gate's executor, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Request {
    queries: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    single: bool,
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

/// When and how the gate ends, counted from its first look; `None` if these values never decide it.
pub(super) fn look(input: Option<&Payload>, samples: &[Sample]) -> Option<(Millis, Outcome)> {
    let request = match input.map(|input| serde_json::from_slice::<Request>(&input.data)) {
        Some(Ok(request)) => request,
        Some(Err(error)) => return Some((Millis(0), refused(format!("`samples` are for gates and guards: {error}")))),
        None => return Some((Millis(0), refused("`samples` are for gates and guards".to_owned()))),
    };
    match decide(&request, samples) {
        Ok(decided) => decided,
        Err(message) => Some((Millis(0), refused(message))),
    }
}

fn decide(request: &Request, samples: &[Sample]) -> Result<Option<(Millis, Outcome)>, String> {
    let names: Vec<&str> = request.queries.keys().map(String::as_str).collect();
    let names = (!request.single).then_some(names.as_slice());
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let compile = |source: &str| GateCondition::compile(source, names).map_err(told);
    let condition = compile(&request.condition)?;
    let fail_if = request.fail_if.as_deref().map(compile).transpose()?;
    let mut since: Option<u64> = None;
    for look in 0..LOOKS_MAX {
        let at = look * request.interval_ms;
        let sample = usize::try_from(look).ok().and_then(|look| samples.get(look)).or(samples.last());
        let Some(values) = sample.map(values) else { return Ok(None) };
        let Some(values) = values else {
            if request.no_data == "fail" {
                return Ok(Some((Millis(at), failed("QuorusGateFailed", "a look gave no data"))));
            }
            since = None;
            continue;
        };
        if fail_if.as_ref().map(|fail_if| fail_if.holds(&values)).transpose().map_err(|error| error.to_string())? == Some(true) {
            return Ok(Some((Millis(at), failed("QuorusGateFailed", format!("`fail_if` is true for {}", json!(values))))));
        }
        let holds = condition.holds(&values).map_err(|error| error.to_string())?;
        // What a guard waits for is that the condition is broken.
        let counts = holds != request.guard;
        let needed = if request.guard { request.breach_for_ms } else { request.hold_for_ms };
        since = if counts { since.or(Some(at)) } else { None };
        if let Some(since) = since
            && at - since >= needed
        {
            let outcome = if request.guard {
                failed("QuorusGuardBreached", format!("`{}` is false for {}", request.condition, json!(values)))
            } else {
                Outcome::Succeeded(Some(Payload::json(&json!({"values": values}))))
            };
            return Ok(Some((Millis(at), outcome)));
        }
    }
    Ok(None)
}

/// The values of a look by name; `None` for no data.
fn values(sample: &Sample) -> Option<BTreeMap<String, f64>> {
    match sample {
        Sample::NoData => None,
        Sample::Value(value) => Some([("value".to_owned(), *value)].into()),
        Sample::Values(values) => Some(values.clone()),
    }
}

fn failed(kind: &str, message: impl Into<String>) -> Outcome {
    Outcome::Failed(Failure {
        kind: kind.to_owned(),
        message: message.into(),
        non_retryable: true,
        nothing_done: true,
        ..Failure::default()
    })
}

fn refused(message: String) -> Outcome {
    failed("BadTest", message)
}
