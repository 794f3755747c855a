//! What a request to the stub gets: the next recorded response of its route, or a value as a Prometheus server gives it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::file::{Recorded, Route, StubFile};

/// More recorded requests than this push the oldest out.
const REQUESTS_MAX: usize = 1000;

/// What is sent back.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) delay: Duration,
}

/// A stub that serves.
#[derive(Debug)]
pub(super) struct Stub {
    file: StubFile,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often each route was asked, by the path that was asked for: two services of one route fail twice each.
    routes: BTreeMap<(usize, String), u32>,
    /// How often each series was asked.
    series: BTreeMap<usize, usize>,
    requests: Vec<Value>,
}

impl Stub {
    pub(super) fn new(file: StubFile) -> Self {
        Self { file, state: Mutex::default() }
    }

    pub(super) fn answer(&self, method: &str, path: &str, query: &str, headers: BTreeMap<String, String>, body: &[u8]) -> Answer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if path == "/_stub/requests" {
            let answer = json_answer(200, &Value::Array(state.requests.clone()));
            if method == "DELETE" {
                state.requests.clear();
            }
            return answer;
        }
        let text = String::from_utf8_lossy(body);
        let parsed = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.as_ref()));
        if state.requests.len() == REQUESTS_MAX {
            state.requests.remove(0);
        }
        state.requests.push(json!({"method": method, "path": path, "query": query, "headers": headers, "body": parsed}));
        if path.ends_with("/api/v1/query") {
            // A question may come in the body, too.
            let asked = parameter(query, "query").or_else(|| parameter(&text, "query")).unwrap_or_default();
            return self.metric(&mut state, &asked);
        }
        let route = self.file.routes.iter().enumerate().find(|(_, route)| fits(route, method, path));
        let Some((index, route)) = route else {
            return json_answer(404, &json!({"error": format!("the stub has no route for {method} {path}")}));
        };
        let asked = state.routes.entry((index, path.to_owned())).or_default();
        let recorded = nth(&route.responses, *asked);
        *asked += 1;
        respond(&recorded)
    }

    fn metric(&self, state: &mut State, asked: &str) -> Answer {
        let series = self.file.prometheus.iter().enumerate().find(|(_, series)| asked.contains(&series.query));
        let Some((index, series)) = series else {
            return json_answer(200, &vector(None));
        };
        let position = state.series.entry(index).or_default();
        let value = series.values.get(*position).or(series.values.last()).copied().flatten();
        *position += 1;
        json_answer(200, &vector(value))
    }
}

/// The response to the question with this number, counted from 0.
fn nth(responses: &[Recorded], number: u32) -> Recorded {
    let mut left = number;
    for response in responses {
        if left < response.times {
            return response.clone();
        }
        left -= response.times;
    }
    responses.last().cloned().unwrap_or_default()
}

fn respond(recorded: &Recorded) -> Answer {
    let mut answer = match &recorded.body {
        Value::Null => Answer { status: recorded.status, headers: Vec::new(), body: Vec::new(), delay: Duration::ZERO },
        Value::String(text) => Answer {
            status: recorded.status,
            headers: vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())],
            body: text.clone().into_bytes(),
            delay: Duration::ZERO,
        },
        value => json_answer(recorded.status, value),
    };
    answer.headers.extend(recorded.headers.clone());
    answer.delay = recorded.delay;
    answer
}

fn json_answer(status: u16, value: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: value.to_string().into_bytes(), delay: Duration::ZERO }
}

/// An instant vector with one element, or none.
fn vector(value: Option<f64>) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let result: Vec<_> = value.iter().map(|value| json!({"metric": {}, "value": [now, value.to_string()]})).collect();
    json!({"status": "success", "data": {"resultType": "vector", "result": result}})
}

fn fits(route: &Route, method: &str, path: &str) -> bool {
    let of_method = route.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
    let (mut wanted, mut given) = (route.path.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return of_method,
            (Some(wanted), Some(given)) if wanted == given || (wanted.starts_with('{') && wanted.ends_with('}') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

/// A parameter of a query string.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| decoded(value))
}

/// Without `+` and `%41`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None if *first == b'+' => bytes.push(b' '),
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub(yaml: &str) -> Stub {
        Stub::new(serde_saphyr::from_str(&format!("api_version: quorus/v1\nkind: Stub\n{yaml}")).unwrap())
    }

    fn ask(stub: &Stub, method: &str, path: &str, query: &str) -> (u16, Value) {
        let answer = stub.answer(method, path, query, BTreeMap::new(), b"{\"a\": 1}");
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    #[test]
    fn responses_come_one_after_the_other_for_each_path() {
        let stub = stub("routes: [{method: POST, path: '/x/{id}', responses: [{status: 503, times: 2}, {body: {ok: true}}]}]");
        let statuses: Vec<_> = (0..4).map(|_| ask(&stub, "POST", "/x/1", "").0).collect();
        assert_eq!(statuses, [503, 503, 200, 200]);
        assert_eq!(ask(&stub, "POST", "/x/2", "").0, 503, "another path begins anew");
        assert_eq!(ask(&stub, "GET", "/x/1", "").0, 404);
        assert_eq!(ask(&stub, "POST", "/x/1/y", "").0, 404);
        let (_, requests) = ask(&stub, "DELETE", "/_stub/requests", "");
        assert_eq!((requests.as_array().unwrap().len(), &requests[0]["body"]), (7, &json!({"a": 1})));
        assert_eq!(ask(&stub, "GET", "/_stub/requests", "").1, json!([]));
    }

    #[test]
    fn a_series_is_told_as_prometheus_tells_it() {
        let stub = stub("prometheus: [{query: 'rate(x[1m])', values: [0.5, null, 2]}]");
        let value = |query: &str| ask(&stub, "GET", "/api/v1/query", query).1["data"]["result"][0]["value"][1].clone();
        assert_eq!(value("query=sum%28rate%28x%5B1m%5D%29%29"), "0.5");
        assert_eq!(value("query=sum(rate(x[1m]))"), Value::Null);
        assert_eq!(value("time=1&query=rate(x[1m])"), "2");
        assert_eq!(value("query=rate(x[1m])"), "2");
        assert_eq!(value("query=other"), Value::Null);
    }
}
