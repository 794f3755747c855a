//! Asks one query: Prometheus' query API, or any URL with an expression for the number in its answer.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Method, Url, header::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json};

use super::condition::ResponseNumber;
use crate::executors::{
    Services,
    attempt::{Attempt, Fault},
    http::{self, headers},
    outgoing::{self, Answer, Call},
};

/// How long one query may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longer answers are an error.
const ANSWER_MAX: usize = 1024 * 1024;
/// How much of an error's text is told.
const MESSAGE_MAX: usize = 300;

/// A query as a step describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum QuerySpec {
    Prometheus(PrometheusSpec),
    Http(HttpSpec),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrometheusSpec {
    url: String,
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpSpec {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    value: String,
    #[serde(default)]
    allow_private: bool,
}

/// A query that can be asked.
pub(super) struct Query {
    call: Call,
    read: Read,
}

enum Read {
    Prometheus,
    Http(ResponseNumber),
}

impl Query {
    pub(super) fn new(spec: QuerySpec, attempt: &Attempt) -> Result<Self, Fault> {
        let call = |url: Url, headers: HeaderMap, private: bool| Call {
            method: Method::GET,
            url,
            headers,
            body: None,
            timeout: Some(ANSWER_WITHIN),
            body_max: ANSWER_MAX,
            private,
            confidential: attempt.is_confidential(),
        };
        match spec {
            QuerySpec::Prometheus(spec) => {
                let mut url = outgoing::url(&spec.url)?;
                // The base may have a path, behind a proxy.
                let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
                url.set_path(&path);
                url.query_pairs_mut().append_pair("query", &spec.query);
                Ok(Self { call: call(url, headers(&spec.headers, attempt)?, spec.allow_private), read: Read::Prometheus })
            }
            QuerySpec::Http(spec) => {
                let number = ResponseNumber::compile(&spec.value)?;
                Ok(Self {
                    call: call(outgoing::url(&spec.url)?, headers(&spec.headers, attempt)?, spec.allow_private),
                    read: Read::Http(number),
                })
            }
        }
    }

    /// The value now; `None` if there is no data.
    pub(super) async fn ask(&self, services: &Services) -> Result<Option<f64>, String> {
        let answer = services.outgoing.send(self.call.clone()).await.map_err(|error| error.to_string())?;
        match &self.read {
            Read::Prometheus => prometheus(&answer),
            Read::Http(number) => number.read(response(&answer)),
        }
    }
}

/// What the expression of an HTTP query reads as `response`.
fn response(answer: &Answer) -> Value {
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()));
    json!({"status": answer.status, "headers": Value::Object(headers.collect()), "body": http::body(answer)})
}

/// Reads the answer of Prometheus' query API: a scalar, or a vector with one element.
fn prometheus(answer: &Answer) -> Result<Option<f64>, String> {
    let document: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let text = |name: &str| document.as_ref().and_then(|document| document.get(name)).and_then(Value::as_str).unwrap_or_default();
    if answer.status != 200 || text("status") != "success" {
        let why: String = match text("error") {
            "" => String::from_utf8_lossy(&answer.body).chars().take(MESSAGE_MAX).collect(),
            error => error.chars().take(MESSAGE_MAX).collect(),
        };
        return Err(format!("Prometheus answered {}: {why}", answer.status));
    }
    let data = document.as_ref().and_then(|document| document.get("data")).unwrap_or(&Value::Null);
    let result = &data["result"];
    match data["resultType"].as_str().unwrap_or_default() {
        "scalar" => sample(result).map(Some),
        "vector" => match result.as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([series]) => sample(&series["value"]).map(Some),
            Some(several) => {
                Err(format!("the query gives {} series; a gate needs one: aggregate them, for example with sum()", several.len()))
            }
            None => Err("Prometheus' answer can't be read".to_owned()),
        },
        other => Err(format!("the query gives a {other:?}; a gate needs a scalar or a vector with one element")),
    }
}

/// `[time, "value"]`; the value may be `NaN`, `+Inf` or `-Inf`.
fn sample(pair: &Value) -> Result<f64, String> {
    let text = pair.get(1).and_then(Value::as_str).ok_or("Prometheus' answer can't be read")?;
    text.parse().map_err(|_| format!("Prometheus' value {text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Option<f64>, String> {
        prometheus(&Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() })
    }

    fn vector(result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
    }

    #[test]
    fn recorded_answers_of_prometheus_are_read() {
        let series = |value: &str| format!(r#"{{"metric":{{"job":"api"}},"value":[1732490000.781,"{value}"]}}"#);
        assert_eq!(read(200, &vector(&series("0.0125"))), Ok(Some(0.0125)));
        assert_eq!(read(200, &vector(&series("+Inf"))), Ok(Some(f64::INFINITY)));
        assert!(read(200, &vector(&series("NaN"))).unwrap().unwrap().is_nan());
        assert_eq!(read(200, &vector("")), Ok(None));
        assert!(read(200, &vector(&format!("{0},{0}", series("1")))).unwrap_err().contains("2 series"));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1732490000.781,"42"]}}"#;
        assert_eq!(read(200, scalar), Ok(Some(42.0)));
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert!(read(200, matrix).unwrap_err().contains("\"matrix\""));
    }

    #[test]
    fn errors_of_prometheus_are_told_with_their_cause() {
        let error = r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error: unclosed left parenthesis"}"#;
        assert_eq!(read(400, error).unwrap_err(), "Prometheus answered 400: 1:4: parse error: unclosed left parenthesis");
        assert_eq!(read(502, "bad gateway").unwrap_err(), "Prometheus answered 502: bad gateway");
    }
}
