//! `emit` steps: one CloudEvent to HTTP sinks, or as a signal to another run.
//!
//! The event's id is the step's idempotency key, the same in every attempt, so that whoever receives it twice can tell. Sinks that took the event
//! are kept in the checkpoint, so that a later attempt goes on with the others.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Services,
    attempt::{Attempt, Ending, Fault, Stop, cancelled, payload, released, succeeded},
    cloud_event::{CloudEvent, Mode},
    http::{default_header, headers},
    outgoing::{self, Call},
};

/// The task type.
pub(super) const TASK_TYPE: &str = "quorus.emit";

/// Answers of sinks are read up to here, and thrown away.
const ANSWER_MAX: usize = 64 * 1024;

/// What a step asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmitRequest {
    r#type: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    sinks: Vec<Sink>,
    #[serde(default)]
    signal: Option<SignalTarget>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sink {
    http: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    mode: Mode,
    /// As for `http` steps.
    #[serde(default)]
    allow_private: bool,
}

/// The run that a signal is for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalTarget {
    #[serde(default)]
    workflow: Option<String>,
    run_id: String,
    name: String,
    /// Starts the run first unless it is going on.
    #[serde(default)]
    start: bool,
    /// The input of a run that is started.
    #[serde(default)]
    input: Option<Value>,
}

/// A signal to send.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalAsk {
    /// Namespace.
    pub namespace: String,
    /// The run.
    pub run_id: String,
    /// Name of the signal.
    pub name: String,
    /// A second signal with the same id is the same signal.
    pub id: String,
    /// JSON.
    pub payload: Option<Value>,
    /// Starts a run of this workflow first, with this input, unless one is going on.
    pub start: Option<(String, Option<Value>)>,
    /// W3C trace context.
    pub traceparent: String,
}

/// Why a signal was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SignalError {
    /// The API's reason.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// True if asking again can't help.
    pub refused: bool,
}

/// Sends signals to runs on any shard.
#[tonic::async_trait]
pub trait Signals: Send + Sync {
    /// Sends one; safe to repeat.
    ///
    /// # Errors
    /// If it was not taken, or that is not known.
    async fn signal(&self, ask: SignalAsk) -> Result<(), SignalError>;
}

/// What is kept: sinks that took the event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Delivered {
    sinks: Vec<usize>,
    signalled: bool,
}

/// Executes an attempt.
pub(super) async fn execute(services: &Services, attempt: &Attempt) -> Ending {
    let request: EmitRequest = match attempt.request() {
        Ok(request) => request,
        Err(fault) => return fault.ending(),
    };
    if request.sinks.is_empty() && request.signal.is_none() {
        return Fault::invalid("there is neither a sink nor a signal to send to").ending();
    }
    let mut delivered: Delivered = attempt.last_checkpoint().unwrap_or_default();
    let sent = async {
        let event = event(&request, attempt);
        for (place, sink) in request.sinks.iter().enumerate() {
            if !delivered.sinks.contains(&place) {
                deliver(services, attempt, &event, sink).await?;
                delivered.sinks.push(place);
                attempt.note(&delivered);
            }
        }
        if let Some(target) = request.signal.as_ref().filter(|_| !delivered.signalled) {
            signal(services, attempt, &event, target).await?;
            delivered.signalled = true;
        }
        Ok::<_, Fault>(())
    };
    let result = tokio::select! {
        biased;
        result = sent => result,
        stop = attempt.out_of_time() => return match stop {
            Stop::Draining { .. } => released(Some(payload(&delivered))),
            Stop::Cancelled { .. } | Stop::LeaseLost => cancelled(false),
        },
    };
    match result {
        Ok(()) => {
            succeeded(&json!({"id": attempt.task().idempotency_key, "sinks": request.sinks.len(), "signalled": request.signal.is_some()}))
        }
        Err(fault) => fault.ending(),
    }
}

fn event(request: &EmitRequest, attempt: &Attempt) -> CloudEvent {
    let task = attempt.task();
    CloudEvent {
        id: task.idempotency_key.clone(),
        source: request.source.clone().unwrap_or_else(|| format!("/quorus/{}/{}/{}", task.namespace, task.workflow, task.run_id)),
        kind: request.r#type.clone(),
        subject: request.subject.clone(),
        time: request.time.clone(),
        traceparent: Some(task.traceparent.clone()).filter(|traceparent| !traceparent.is_empty()),
        data: request.data.clone(),
    }
}

async fn deliver(services: &Services, attempt: &Attempt, event: &CloudEvent, sink: &Sink) -> Result<(), Fault> {
    let url = outgoing::url(&sink.http)?;
    let mut headers = headers(&sink.headers, attempt)?;
    let confidential = attempt.is_confidential();
    let body = event.put_into(sink.mode, &mut headers, confidential)?;
    default_header(&mut headers, "idempotency-key", &event.id);
    let host = url.host_str().unwrap_or_default().to_owned();
    let call = Call {
        method: Method::POST,
        url,
        headers,
        body: Some(body.into()),
        timeout: attempt.timeout(),
        body_max: ANSWER_MAX,
        private: sink.allow_private,
        confidential,
    };
    let answer = services.outgoing.send(call).await.map_err(|error| error.fault())?;
    let fault = || {
        Fault::new("QuorusEmitRefused", format!("{host} answered {} to the event", answer.status))
            .retry_after(super::http::retry_after(&answer.headers))
    };
    match answer.status {
        200..=299 => Ok(()),
        408 | 425 | 429 => Err(fault().nothing_done()),
        400..=499 => Err(fault().nothing_done().final_one()),
        500..=599 => Err(fault()),
        _ => Err(fault().final_one()),
    }
}

async fn signal(services: &Services, attempt: &Attempt, event: &CloudEvent, target: &SignalTarget) -> Result<(), Fault> {
    let task = attempt.task();
    let start = match (target.start, &target.workflow) {
        (false, _) => None,
        (true, Some(workflow)) => Some((workflow.clone(), target.input.clone())),
        (true, None) => return Err(Fault::invalid("`signal.start` needs `signal.workflow`")),
    };
    let ask = SignalAsk {
        namespace: task.namespace.clone(),
        run_id: target.run_id.clone(),
        name: target.name.clone(),
        id: event.id.clone(),
        payload: event.data.clone(),
        start,
        traceparent: task.traceparent.clone(),
    };
    services.signals.signal(ask).await.map_err(|error| {
        let fault = Fault::new("QuorusSignalRefused", format!("run {:?} did not take the signal: {error}", target.run_id));
        if error.refused { fault.nothing_done().final_one() } else { fault }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::testing::{Bench, Stub};

    #[tokio::test]
    async fn an_event_reaches_each_sink_in_its_mode_with_the_same_id() {
        let stub = Stub::start().await;
        let request = json!({"type": "org.example.released", "subject": "v2", "data": {"v": 2},
            "sinks": [{"http": format!("{}/ok", stub.base()), "allow_private": true}, {"http": format!("{}/ok", stub.base()), "allow_private": true, "mode": "binary", "headers": {"x-a": "1"}}]});
        assert_eq!(Bench::new(TASK_TYPE, &request).output().await, json!({"id": "key-1", "sinks": 2, "signalled": false}));
        let [structured, binary] = &stub.requests()[..] else { panic!("two requests") };
        let document = structured.json();
        assert_eq!(
            (&document["id"], &document["source"], &document["data"]),
            (&json!("key-1"), &json!("/quorus/default/release/r1"), &json!({"v": 2}))
        );
        assert_eq!(document["traceparent"], structured.header("traceparent"));
        assert_eq!([binary.header("ce-id"), binary.header("ce-type"), binary.header("x-a")], ["key-1", "org.example.released", "1"]);
        assert_eq!(binary.json(), json!({"v": 2}));
    }

    #[tokio::test]
    async fn a_second_attempt_goes_on_where_the_first_one_failed() {
        let stub = Stub::start().await;
        stub.script(&[(200, "", ""), (503, "retry-after: 3", ""), (202, "", "")]);
        let sink = |name: &str| json!({"http": format!("{}/{name}", stub.base()), "allow_private": true});
        let request = json!({"type": "t", "sinks": [sink("a"), sink("b")]});
        let mut bench = Bench::new(TASK_TYPE, &request);
        let mut tried = bench.start();
        let Ending::Failed(failure) = tried.end().await else { panic!("not a failure") };
        assert_eq!(
            (failure.r#type.as_str(), failure.non_retryable, failure.nothing_done, failure.retry_after_ms),
            ("QuorusEmitRefused", false, false, 3_000)
        );
        bench.task.checkpoint = Some(payload(&tried.checkpoints[0]));
        bench.output().await;
        let paths: Vec<_> = stub.requests().into_iter().map(|seen| seen.path).collect();
        assert_eq!(paths, ["/a", "/b", "/b"]);
    }

    #[tokio::test]
    async fn an_event_is_a_signal_with_its_own_id() {
        let request = json!({"type": "t", "data": [1], "signal": {"run_id": "other", "name": "go", "workflow": "w", "start": true, "input": {"a": 1}}});
        let bench = Bench::new(TASK_TYPE, &request);
        bench.output().await;
        let expected = SignalAsk {
            namespace: "default".into(),
            run_id: "other".into(),
            name: "go".into(),
            id: "key-1".into(),
            payload: Some(json!([1])),
            start: Some(("w".into(), Some(json!({"a": 1})))),
            traceparent: bench.task.traceparent.clone(),
        };
        assert_eq!(*bench.signalled.0.lock(), [expected]);
        let failure = Bench::new(TASK_TYPE, &json!({"type": "t", "signal": {"run_id": "ended", "name": "go"}})).failure().await;
        assert_eq!((failure.r#type.as_str(), failure.non_retryable, failure.nothing_done), ("QuorusSignalRefused", true, true));
    }
}
