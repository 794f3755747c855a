//! `http` steps: one call, and what its answer means.
//!
//! | answer | outcome | retried | in doubt |
//! |---|---|---|---|
//! | an expected status (2xx unless the step says otherwise) | succeeded | | |
//! | 408, 425, 429 | failed | yes, not before `Retry-After` | no |
//! | another 4xx | failed | no | no |
//! | 5xx | failed | yes, not before `Retry-After` | yes |
//! | another status | failed | no | yes |
//! | no connection | failed | yes | no |
//! | the connection broke, or no answer in time | failed | yes | yes |
//!
//! Every attempt of a step carries the same `Idempotency-Key`. With `on_crash: fail`, an attempt first keeps that it is about to call, so
//! that a later one knows when an earlier one was lost in the middle, and does not call again.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Services,
    attempt::{Attempt, Ending, Fault, Stop, cancelled, released, succeeded},
    outgoing::{self, Answer, Call},
};

/// The task type.
pub(super) const TASK_TYPE: &str = "quorus.http";

/// Default of [`HttpRequest::max_body_bytes`].
const BODY_BYTES_DEFAULT: usize = 1024 * 1024;
/// Headers that are part of the output.
const HEADERS_KEPT: &[&str] =
    &["content-type", "content-length", "date", "etag", "last-modified", "link", "location", "retry-after", "x-request-id"];
/// Longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a step asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpRequest {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    expect: Vec<Value>,
    #[serde(default)]
    max_body_bytes: Option<usize>,
    /// The step means to call private addresses; the node's own settings must allow them, too.
    #[serde(default)]
    allow_private: bool,
    #[serde(default)]
    on_crash: OnCrash,
}

fn get() -> String {
    "GET".to_owned()
}

/// What it means when an attempt is lost in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnCrash {
    /// Another attempt calls again, with the same key.
    #[default]
    Retry,
    /// The step fails, in doubt.
    Fail,
}

/// What an attempt keeps with `on_crash: fail`: that it is about to call, then that it knows the answer.
#[derive(Serialize, Deserialize)]
struct Mark {
    attempt: u32,
    answered: bool,
}

/// Executes an attempt.
pub(super) async fn execute(services: &Services, attempt: &Attempt) -> Ending {
    let (request, call) = match prepare(attempt) {
        Ok(prepared) => prepared,
        Err(fault) => return fault.ending(),
    };
    let once = request.on_crash == OnCrash::Fail;
    if once {
        if let Some(mark) = attempt.last_checkpoint::<Mark>()
            && !mark.answered
        {
            let message = format!("attempt {} was lost in the middle of its call, and the step says `on_crash: fail`", mark.attempt);
            return Fault::new("QuorusHttpInterrupted", message).final_one().ending();
        }
        if let Some(stop) = attempt.stop() {
            return not_begun(&stop);
        }
        if !attempt.keep(&Mark { attempt: attempt.task().attempt, answered: false }).await {
            return cancelled(true);
        }
    }
    let asked = call.url.clone();
    let answer = tokio::select! {
        biased;
        answer = services.outgoing.send(call) => answer,
        stop = attempt.out_of_time() => return match stop {
            Stop::Draining { .. } if once => Fault::new("QuorusHttpInterrupted", "the node stopped in the middle of the call").final_one().ending(),
            // The next attempt calls again, with the same key.
            Stop::Draining { .. } => released(None),
            Stop::Cancelled { .. } | Stop::LeaseLost => cancelled(false),
        },
    };
    if once && !attempt.keep(&Mark { attempt: attempt.task().attempt, answered: true }).await {
        return cancelled(false);
    }
    match answer {
        Ok(answer) => verdict(&request, &asked, answer),
        Err(error) => error.fault().ending(),
    }
}

fn not_begun(stop: &Stop) -> Ending {
    match stop {
        Stop::Draining { .. } => released(None),
        Stop::Cancelled { .. } | Stop::LeaseLost => cancelled(true),
    }
}

fn prepare(attempt: &Attempt) -> Result<(HttpRequest, Call), Fault> {
    let request: HttpRequest = attempt.request()?;
    let url = outgoing::url(&request.url)?;
    let method = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| Fault::invalid(format!("`method` {:?} is not one that HTTP knows", request.method)))?;
    let mut headers = headers(&request.headers, attempt)?;
    let body = match &request.body {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            default_header(&mut headers, CONTENT_TYPE.as_str(), "text/plain; charset=utf-8");
            Some(Bytes::from(text.clone()))
        }
        Some(value) => {
            default_header(&mut headers, CONTENT_TYPE.as_str(), "application/json");
            Some(Bytes::from(value.to_string()))
        }
    };
    default_header(&mut headers, "idempotency-key", &attempt.task().idempotency_key);
    let body_max = request.max_body_bytes.unwrap_or(BODY_BYTES_DEFAULT).min(quorus_engine::Payload::BYTES_MAX);
    let call = Call {
        method,
        url,
        headers,
        body,
        timeout: attempt.timeout(),
        body_max,
        private: request.allow_private,
        confidential: attempt.is_confidential(),
    };
    Ok((request, call))
}

/// The step's own headers and those of the trace.
pub(super) fn headers(given: &BTreeMap<String, Value>, attempt: &Attempt) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => return Err(Fault::invalid(format!("header {name:?} is neither text nor a number"))),
        };
        let (name, value) = outgoing::header(name, &text, attempt.is_confidential())?;
        headers.append(name, value);
    }
    let task = attempt.task();
    for (name, value) in [("traceparent", &task.traceparent), ("tracestate", &task.tracestate)] {
        if !value.is_empty() {
            default_header(&mut headers, name, value);
        }
    }
    Ok(headers)
}

/// Sets a header that the step does not set itself.
pub(super) fn default_header(headers: &mut HeaderMap, name: &str, value: &str) {
    if !headers.contains_key(name)
        && let Ok((name, value)) = outgoing::header(name, value, false)
    {
        headers.insert(name, value);
    }
}

fn verdict(request: &HttpRequest, asked: &reqwest::Url, answer: Answer) -> Ending {
    let expected = match is_expected(&request.expect, answer.status) {
        Ok(expected) => expected,
        Err(fault) => return fault.ending(),
    };
    let output = output(&answer);
    if expected {
        return succeeded(&output);
    }
    let status = answer.status;
    let message = format!("{} {}{} answered {status}", request.method, asked.host_str().unwrap_or_default(), asked.path());
    let fault = Fault::new("QuorusHttpStatus", message).details(&output);
    let fault = match status {
        408 | 425 | 429 => fault.nothing_done().retry_after(retry_after(&answer.headers)),
        400..=499 => fault.nothing_done().final_one(),
        500..=599 => fault.retry_after(retry_after(&answer.headers)),
        _ => fault.final_one(),
    };
    fault.ending()
}

/// A status is expected by number (`201`) or class (`"2xx"`).
fn is_expected(expect: &[Value], status: u16) -> Result<bool, Fault> {
    if expect.is_empty() {
        return Ok((200..300).contains(&status));
    }
    for expected in expect {
        let matches = match expected {
            Value::Number(number) => number.as_u64() == Some(u64::from(status)),
            Value::String(text) => match text.to_ascii_lowercase().strip_suffix("xx") {
                Some(class) => class.parse() == Ok(status / 100),
                None => text.parse() == Ok(status),
            },
            _ => return Err(Fault::invalid(format!("`expect` has {expected}; write a status such as 201 or \"2xx\""))),
        };
        if matches {
            return Ok(true);
        }
    }
    Ok(false)
}

fn output(answer: &Answer) -> Value {
    let mut headers = Map::new();
    for name in HEADERS_KEPT {
        if let Some(value) = answer.headers.get(*name) {
            headers.insert((*name).to_owned(), String::from_utf8_lossy(value.as_bytes()).into());
        }
    }
    json!({"status": answer.status, "headers": headers, "body": body(answer)})
}

/// The body as JSON if it is, as text otherwise; null if there is none.
pub(super) fn body(answer: &Answer) -> Value {
    if answer.body.is_empty() {
        return Value::Null;
    }
    let text = || Value::from(String::from_utf8_lossy(&answer.body).into_owned());
    let media = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let json = media.is_empty() || media.split(';').next().is_some_and(|media| media.trim_end().ends_with("json"));
    if json { serde_json::from_slice(&answer.body).unwrap_or_else(|_| text()) } else { text() }
}

/// How long the other side wants to be left alone: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            (date.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::testing::{Bench, Stub};

    #[tokio::test]
    async fn a_call_carries_what_the_step_says_and_returns_what_came_back() {
        let stub = Stub::start().await;
        stub.script(&[(201, "content-type: application/json; charset=utf-8\netag: \"7\"\nx-internal: 1", "{\"id\": 9007199254740993}")]);
        let request = json!({"method": "post", "url": format!("{}/deploys?a=b", stub.base()), "allow_private": true, "headers": {"x-team": "payments", "x-n": 7}, "body": {"v": 1}});
        let output = Bench::new(TASK_TYPE, &request).output().await;
        assert_eq!(
            output,
            json!({"status": 201, "headers": {"content-type": "application/json; charset=utf-8", "content-length": "24", "date": output["headers"]["date"], "etag": "\"7\""}, "body": {"id": 9_007_199_254_740_993_u64}})
        );
        let seen = &stub.requests()[0];
        assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.query["a"].as_str()), ("POST", "/deploys", "b"));
        assert_eq!(seen.json(), json!({"v": 1}));
        let headers = ["content-type", "x-team", "x-n", "idempotency-key", "traceparent"].map(|name| seen.header(name));
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(headers, ["application/json", "payments", "7", "key-1", traceparent]);
    }

    #[tokio::test]
    async fn each_answer_means_what_the_table_says() {
        let stub = Stub::start().await;
        // Status, Retry-After; retryable, in doubt, not before.
        let table = [
            (400, "", false, false, 0),
            (404, "retry-after: 9", false, false, 0),
            (408, "", true, false, 0),
            (425, "", true, false, 0),
            (429, "retry-after: 7", true, false, 7_000),
            (500, "", true, true, 0),
            (503, "retry-after: 2", true, true, 2_000),
            (304, "", false, true, 0),
        ];
        for (status, headers, retryable, in_doubt, after) in table {
            stub.script(&[(status, headers, "")]);
            let failure = Bench::new(TASK_TYPE, &json!({"url": stub.base(), "allow_private": true})).failure().await;
            assert_eq!(failure.r#type, "QuorusHttpStatus");
            assert_eq!((!failure.non_retryable, !failure.nothing_done, failure.retry_after_ms), (retryable, in_doubt, after), "{status}");
            let details: Value = serde_json::from_slice(&failure.details.unwrap().data).unwrap();
            assert_eq!(details["status"], status);
        }
    }

    #[tokio::test]
    async fn a_date_in_retry_after_is_understood() {
        let mut headers = HeaderMap::new();
        let date = (chrono::Utc::now() + chrono::TimeDelta::seconds(100)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        headers.insert(RETRY_AFTER, date.parse().unwrap());
        assert!((90..=100).contains(&retry_after(&headers).unwrap().as_secs()));
        headers.insert(RETRY_AFTER, "99999999999".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(RETRY_AFTER_MAX));
    }

    #[tokio::test]
    async fn expected_statuses_are_numbers_or_classes() {
        let stub = Stub::start().await;
        let expecting = |expect: Value, status: u16| {
            Bench::new(TASK_TYPE, &json!({"url": format!("{}/status/{status}", stub.base()), "allow_private": true, "expect": expect}))
        };
        assert_eq!(expecting(json!([404, "2xx"]), 404).output().await["status"], 404);
        assert_eq!(expecting(json!(["4XX"]), 410).output().await["status"], 410);
        assert!(expecting(json!([201]), 200).failure().await.non_retryable, "it was done, but not as expected");
    }

    #[tokio::test]
    async fn a_wrong_request_is_said_to_be_wrong_and_nothing_is_done() {
        let wrong = [
            json!({"url": "ftp://example.org/"}),
            json!({"url": "/relative"}),
            json!({"url": "http://example.org", "method": "NO SUCH"}),
            json!({"url": "http://example.org", "headers": {"a b": "c"}}),
            json!({"url": "http://example.org", "headers": {"a": "c\r\nd: e"}}),
            json!({"url": "http://example.org", "timeout": 3}),
            json!({}),
        ];
        for request in wrong {
            let failure = Bench::new(TASK_TYPE, &request).failure().await;
            assert_eq!(
                (failure.r#type.as_str(), failure.non_retryable, failure.nothing_done),
                ("QuorusInvalidRequest", true, true),
                "{request}: {failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn secrets_go_where_the_step_sends_them_and_nowhere_else() {
        let stub = Stub::start().await;
        let marker = quorus_secrets::marker("token");
        let request = json!({"method": "POST", "url": format!("{}/echo", stub.base()), "allow_private": true, "headers": {"authorization": format!("Bearer {marker}")}, "body": {"t": marker}, "expect": [201]});
        let mut bench = Bench::new(TASK_TYPE, &request);
        bench.task.secrets = vec!["token".to_owned()];
        let failure = bench.failure().await;
        assert_eq!(stub.requests()[0].header("authorization"), "Bearer s3cr3t-value");
        assert_eq!(stub.requests()[0].json(), json!({"t": "s3cr3t-value"}));
        let all = format!("{failure:?}{}", String::from_utf8_lossy(&failure.details.as_ref().unwrap().data));
        assert!(all.contains("***") && !all.contains("s3cr3t-value"), "{all}");
        bench.task.secrets = vec!["missing".to_owned()];
        let failure = bench.failure().await;
        assert_eq!((failure.r#type.as_str(), failure.nothing_done), ("QuorusSecretUnavailable", true));
        assert!(failure.message.contains("`missing`"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_step_that_is_to_fail_on_a_crash_does_not_call_again_after_a_lost_attempt() {
        let stub = Stub::start().await;
        let mut bench =
            Bench::new(TASK_TYPE, &json!({"url": format!("{}/status/500", stub.base()), "allow_private": true, "on_crash": "fail"}));
        let mut tried = bench.start();
        assert!(matches!(tried.end().await, Ending::Failed(failure) if !failure.non_retryable));
        assert_eq!(tried.checkpoints, [json!({"attempt": 1, "answered": false}), json!({"attempt": 1, "answered": true})]);
        // An answer came: the policy may try again.
        bench.task.checkpoint = Some(crate::executors::attempt::payload(&tried.checkpoints[1]));
        assert_eq!(bench.failure().await.r#type, "QuorusHttpStatus");
        assert_eq!(stub.requests().len(), 2);
        // None did: it may not.
        bench.task.checkpoint = Some(crate::executors::attempt::payload(&tried.checkpoints[0]));
        let failure = bench.failure().await;
        assert_eq!((failure.r#type.as_str(), failure.non_retryable, failure.nothing_done), ("QuorusHttpInterrupted", true, false));
        assert_eq!(stub.requests().len(), 2);
    }

    #[tokio::test]
    async fn a_call_that_hangs_ends_with_what_was_asked_of_it() {
        let stub = Stub::start().await;
        let bench = Bench::new(TASK_TYPE, &json!({"url": format!("{}/never", stub.base()), "allow_private": true}));
        let now = tokio::time::Instant::now();
        let cases = [
            (Stop::Cancelled { until: now }, cancelled(false)),
            (Stop::LeaseLost, cancelled(false)),
            (Stop::Draining { until: now }, released(None)),
        ];
        for (stop, expected) in cases {
            let mut tried = bench.start();
            tried.strings.stop.send_replace(Some(stop));
            assert_eq!(tried.end().await, expected);
        }
    }
}
