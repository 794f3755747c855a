//! A gate in virtual time: what its executor decides on scripted values, one per look.

use std::collections::BTreeMap;

use quorus_engine::{Failure, GateCondition, Millis, Outcome, Payload, Problem};
use serde::Deserialize;
use serde_json::json;

use super::outcome::Sample;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(guard: bool) -> Payload {
        Payload::json(&json!({
            "queries": {"value": {}}, "single": true, "condition": "value < 0.05", "fail_if": "value > 1.0", "interval_ms": 10_000,
            "hold_for_ms": 20_000, "no_data": "wait", "guard": guard, "breach_for_ms": 10_000,
        }))
    }

    fn looks(guard: bool, samples: &[Option<f64>]) -> Option<(u64, String)> {
        let samples: Vec<_> = samples.iter().map(|sample| sample.map_or(Sample::NoData, Sample::Value)).collect();
        look(Some(&request(guard)), &samples).map(|(at, outcome)| match outcome {
            Outcome::Failed(failure) => (at.0, failure.kind),
            other => (at.0, other.kind().name().to_owned()),
        })
    }

    #[test]
    fn a_gate_needs_its_condition_without_a_break() {
        assert_eq!(looks(false, &[Some(0.01)]), Some((20_000, "succeeded".to_owned())));
        assert_eq!(looks(false, &[Some(0.01), Some(0.01), Some(0.5), Some(0.01)]), Some((50_000, "succeeded".to_owned())));
        assert_eq!(looks(false, &[Some(0.01), None, Some(0.01)]), Some((40_000, "succeeded".to_owned())));
        assert_eq!(looks(false, &[Some(0.01), Some(f64::NAN)]), None, "NaN never satisfies");
        assert_eq!(looks(false, &[Some(0.01), Some(2.0)]), Some((10_000, "QuorusGateFailed".to_owned())));
    }

    #[test]
    fn a_guard_needs_a_breach_without_a_break() {
        assert_eq!(looks(true, &[Some(0.01)]), None);
        assert_eq!(looks(true, &[Some(0.01), Some(0.5), Some(0.01)]), None);
        assert_eq!(looks(true, &[Some(0.01), Some(0.5)]), Some((20_000, "QuorusGuardBreached".to_owned())));
    }

    #[test]
    fn samples_are_for_gates() {
        let outcome = look(Some(&Payload::json(&json!({"command": "x"}))), &[Sample::Value(1.0)]);
        assert!(matches!(outcome, Some((Millis(0), Outcome::Failed(failure))) if failure.kind == "BadTest"));
    }
}
