//! `gate`, and the guard of a group.

use serde_json::{Value, json};

use super::http::literal;
use crate::expr::{GateCondition, ResponseValue, Template};
use crate::plan::Problem;
use crate::plan::check_fields::zero;
use crate::plan::expressions::{At, Compiler};
use crate::{GateDefinition, MetricQuery, Millis};

const INTERVAL: Millis = Millis(15_000);
/// Looking more often than this is a load, not a look.
const INTERVAL_MIN: Millis = Millis(1_000);
const QUERIES_MAX: usize = 32;

impl Compiler<'_> {
    /// The request document of [`crate::BuiltIn::Gate`]. `field` is the path of the gate below its step; `breach_for` makes it a guard.
    pub(in crate::plan) fn gate(&mut self, at: &At, field: &str, gate: &GateDefinition, breach_for: Option<Option<Millis>>) -> Template {
        let path = format!("{}.{field}", at.path);
        let queries = self.queries(at, field, gate);
        let names: Option<Vec<&str>> = gate.query.is_none().then(|| gate.queries.keys().map(String::as_str).collect());
        if gate.condition.is_empty() {
            self.error(format!("{path}.condition"), "missing-condition", "the gate has no condition", "for example \"value < 0.01\"");
        } else {
            self.condition(format!("{path}.condition"), &gate.condition, names.as_deref());
        }
        if let Some(fail_if) = &gate.fail_if {
            self.condition(format!("{path}.fail_if"), fail_if, names.as_deref());
        }
        if gate.interval.is_some_and(|interval| interval < INTERVAL_MIN) {
            self.error(
                format!("{path}.interval"),
                "invalid-interval",
                "a gate looks at most once a second",
                "at least 1s; the default is 15s",
            );
        }
        if breach_for.is_some() && gate.hold_for.is_some() {
            self.error(
                format!("{path}.hold_for"),
                "field-not-allowed",
                "a guard has no `hold_for`",
                "`breach_for`, beside `gate`, says how long",
            );
        }
        if breach_for == Some(Some(Millis(0))) {
            self.problems.push(zero(path.replace(".gate", ".breach_for"), "breach_for"));
        }
        let mut members = vec![
            ("queries".to_owned(), queries),
            literal("single", json!(gate.query.is_some())),
            literal("condition", json!(gate.condition)),
            literal("interval_ms", json!(gate.interval.unwrap_or(INTERVAL).0)),
            literal("hold_for_ms", json!(gate.hold_for.unwrap_or_default().0)),
            literal("no_data", json!(if gate.fail_on_no_data { "fail" } else { "wait" })),
            literal("guard", json!(breach_for.is_some())),
            literal("breach_for_ms", json!(breach_for.flatten().unwrap_or_default().0)),
        ];
        if let Some(fail_if) = &gate.fail_if {
            members.push(literal("fail_if", json!(fail_if)));
        }
        Template::object(members)
    }

    fn queries(&mut self, at: &At, field: &str, gate: &GateDefinition) -> Template {
        let path = format!("{}.{field}", at.path);
        match (&gate.query, gate.queries.is_empty()) {
            (Some(_), false) => {
                let message = "a gate has either one query without a name or `queries`";
                self.error(format!("{path}.queries"), "more-than-one", message, "give the query a name in `queries`");
            }
            (None, true) => {
                let message = "the gate has nothing to look at";
                self.error(path.clone(), "missing-query", message, "give it `prometheus`, `http` or `queries`");
            }
            (Some(_), true) | (None, false) => {}
        }
        if gate.queries.len() > QUERIES_MAX {
            let message = format!("{} queries are more than {QUERIES_MAX}", gate.queries.len());
            self.error(format!("{path}.queries"), "too-many-queries", message, "");
        }
        let mut members = Vec::new();
        if let Some(query) = &gate.query {
            members.push((GateCondition::SINGLE.to_owned(), self.query(at, &format!(".{field}"), query)));
        }
        for (name, query) in &gate.queries {
            let below = format!(".{field}.queries.{name}");
            let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !fits {
                let message = format!("`{}` can't be the name of a query", name.escape_debug());
                self.error(
                    format!("{}{below}", at.path),
                    "invalid-name",
                    message,
                    "lower-case letters, digits and `_`, beginning with a letter",
                );
            }
            match query {
                Some(query) => members.push((name.clone(), self.query(at, &below, query))),
                None => {
                    let message = format!("the query `{name}` has nothing to look at");
                    self.error(format!("{}{below}", at.path), "missing-query", message, "give it `prometheus` or `http`");
                }
            }
        }
        Template::object(members)
    }

    fn query(&mut self, at: &At, below: &str, query: &MetricQuery) -> Template {
        match query {
            MetricQuery::Prometheus { url, query, headers, allow_private } => {
                let below = format!("{below}.prometheus");
                if query.is_empty() {
                    let hint = "for example sum(rate(http_errors_total[1m]))";
                    self.error(format!("{}{below}.query", at.path), "missing-query", "the query is missing", hint);
                }
                let members = vec![
                    ("url".to_owned(), self.url(at, &format!("{below}.url"), url)),
                    ("query".to_owned(), self.text(at, &format!("{below}.query"), query)),
                    ("headers".to_owned(), self.headers(at, &format!("{below}.headers"), headers)),
                    literal("allow_private", json!(allow_private)),
                ];
                Template::object(vec![("prometheus".to_owned(), Template::object(members))])
            }
            MetricQuery::Http { url, headers, value, allow_private } => {
                let below = format!("{below}.http");
                let path = format!("{}{below}.value", at.path);
                if value.is_empty() {
                    let message = "nothing says which number of the answer is meant";
                    self.error(path, "missing-value", message, "for example response.body.error_rate");
                } else if let Err(problems) = ResponseValue::compile(value) {
                    self.placed(&path, problems);
                }
                let members = vec![
                    ("url".to_owned(), self.url(at, &format!("{below}.url"), url)),
                    ("headers".to_owned(), self.headers(at, &format!("{below}.headers"), headers)),
                    literal("value", Value::String(value.clone())),
                    literal("allow_private", json!(allow_private)),
                ];
                Template::object(vec![("http".to_owned(), Template::object(members))])
            }
        }
    }

    /// The executor compiles it again; here it must be possible.
    fn condition(&mut self, path: String, source: &str, queries: Option<&[&str]>) {
        if let Err(problems) = GateCondition::compile(source, queries) {
            self.placed(&path, problems);
        }
    }

    fn placed(&mut self, path: &str, problems: Vec<Problem>) {
        self.problems.extend(problems.into_iter().map(|problem| Problem { path: path.to_owned(), ..problem }));
    }
}
