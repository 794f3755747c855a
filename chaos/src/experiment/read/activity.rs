//! Activities, their providers and tolerances.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    super::{
        finding::join,
        model::{Activity, ActivityKind, Provider},
        tolerance::Tolerance,
    },
    Fields, Reader, describe,
};

const ACTIVITY: &[&str] =
    &["type", "name", "provider", "tolerance", "background", "pauses", "timeout", "ref", "controls", "secrets", "configuration", "dry"];
const PROCESS: &[&str] = &["type", "path", "arguments", "timeout", "secrets"];
const HTTP: &[&str] =
    &["type", "url", "method", "headers", "arguments", "timeout", "verify_tls", "expected_status", "secrets", "max_retries"];

/// Activities that others may refer to by `ref`.
pub(super) type Named<'a> = BTreeMap<&'a str, &'a Value>;

/// All activities of an experiment that have a name.
pub(super) fn by_name(root: &Value) -> Named<'_> {
    let lists = [&root["steady-state-hypothesis"]["probes"], &root["method"], &root["rollbacks"]];
    let activities = lists.into_iter().filter_map(Value::as_array).flatten();
    activities.filter_map(|activity| Some((activity.get("name")?.as_str()?, activity))).collect()
}

impl Reader<'_> {
    pub(super) fn activities(&mut self, value: &Value, pointer: &str, named: &Named<'_>) -> Vec<Activity> {
        let Value::Array(items) = value else {
            self.error(pointer, format!("this must be a list of activities, not {}", describe(value)));
            return Vec::new();
        };
        let read = |(number, item): (usize, &Value)| self.activity(item, &join(pointer, &number.to_string()), named);
        items.iter().enumerate().filter_map(read).collect()
    }

    pub(super) fn activity(&mut self, value: &Value, pointer: &str, named: &Named<'_>) -> Option<Activity> {
        let mut fields = Fields::of(self, value, pointer, "an activity")?;
        if let Some(name) = fields.text(self, "ref") {
            let Some(referred) = named.get(name.as_str()) else {
                self.error(&fields.at("ref"), format!("no activity of this experiment has the name `{name}`"));
                return None;
            };
            fields = Fields::of(self, referred, pointer, "an activity")?;
        }
        fields.warn_unknown(self, ACTIVITY);
        let kind = match fields.required_text(self, "type", "take \"probe\" or \"action\"").as_deref() {
            Some("probe") => Some(ActivityKind::Probe),
            Some("action") => Some(ActivityKind::Action),
            Some(other) => {
                self.error(&fields.at("type"), format!("there is no activity of type `{other}`; take \"probe\" or \"action\""));
                None
            }
            None => None,
        };
        let name = fields.required_text(self, "name", "name what it does");
        if fields.get("controls").is_some() {
            self.warning(&fields.at("controls"), "controls are Python and are ignored here");
        }
        let (provider, provider_timeout) = self.provider(&fields)?;
        let timeout = fields.seconds(self, "timeout");
        let tolerance = fields.get("tolerance").and_then(|value| self.tolerance(value, &fields.at("tolerance"), named));
        if let (Some(Tolerance::Scalar(Value::String(_) | Value::Bool(_))), Provider::Process { .. } | Provider::Http { .. }) =
            (&tolerance, &provider)
        {
            let hint = "take a number for its status, or {\"type\": \"regex\", \"target\": \"stdout\", \"pattern\": …}";
            self.warning(&fields.at("tolerance"), format!("a text or truth value never equals the answer of a process or request; {hint}"));
        }
        let pauses = fields.get("pauses").and_then(|value| Fields::of(self, value, &fields.at("pauses"), "pauses"));
        let mut pause = |name: &str| pauses.as_ref().map_or(Value::Null, |pauses| pauses.seconds(self, name));
        let (pause_before, pause_after) = (pause("before"), pause("after"));
        Some(Activity {
            kind: kind?,
            name: name?,
            provider,
            tolerance,
            background: fields.truth(self, "background", false),
            pause_before,
            pause_after,
            timeout: if timeout.is_null() { provider_timeout } else { timeout },
            raw: Value::Object(fields.map.clone()),
        })
    }

    fn provider(&mut self, activity: &Fields<'_>) -> Option<(Provider, Value)> {
        let Some(value) = activity.get("provider") else {
            self.error(&activity.pointer, "`provider` is missing; take {\"type\": \"process\", \"path\": …, \"arguments\": …}");
            return None;
        };
        let fields = Fields::of(self, value, &activity.at("provider"), "a provider")?;
        let kind = fields.required_text(self, "type", "take \"process\" or \"http\"")?;
        let arguments = fields.get("arguments").cloned().unwrap_or_default();
        let provider = match kind.as_str() {
            "process" => {
                fields.warn_unknown(self, PROCESS);
                if !matches!(arguments, Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_)) {
                    self.error(&fields.at("arguments"), "arguments are a text, a list or a map");
                }
                Provider::Process { path: fields.required_text(self, "path", "name the program")?, arguments }
            }
            "http" => {
                fields.warn_unknown(self, HTTP);
                let headers = fields.get("headers").cloned().unwrap_or_default();
                if !matches!(headers, Value::Null | Value::Object(_)) {
                    self.error(&fields.at("headers"), "header fields are a map of texts");
                }
                Provider::Http {
                    url: fields.required_text(self, "url", "say whom to ask")?,
                    method: fields.text(self, "method").unwrap_or_else(|| "GET".to_owned()).to_ascii_uppercase(),
                    headers,
                    arguments,
                    verify_tls: fields.truth(self, "verify_tls", true),
                }
            }
            "python" => {
                let hint = "use the provider `process` with a program, for example {\"type\": \"process\", \"path\": \"python3\", …}";
                self.error(
                    &fields.at("type"),
                    format!("there is no Python in this runner; {hint}, or run the file with the Chaos Toolkit"),
                );
                return None;
            }
            other => {
                self.error(&fields.at("type"), format!("there is no provider `{other}`; take \"process\" or \"http\""));
                return None;
            }
        };
        let timeout = fields.seconds(self, "timeout");
        Some((provider, timeout))
    }

    fn tolerance(&mut self, value: &Value, pointer: &str, named: &Named<'_>) -> Option<Tolerance> {
        let map = match value {
            Value::Array(items) => return Some(Tolerance::List(items.clone())),
            Value::Object(_) => Fields::of(self, value, pointer, "a tolerance")?,
            scalar => return Some(Tolerance::Scalar(scalar.clone())),
        };
        let target = map.text(self, "target").unwrap_or_default();
        match map.required_text(self, "type", "take regex, jsonpath, range or probe")?.as_str() {
            "range" => {
                let bounds: Vec<f64> = map.get("range").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_f64).collect();
                let [low, high] = bounds.as_slice() else {
                    self.error(&map.at("range"), "a range has two numbers: [low, high]");
                    return None;
                };
                Some(Tolerance::Range { target, low: *low, high: *high })
            }
            "regex" => {
                let pattern = map.required_text(self, "pattern", "give the regular expression")?;
                if let Err(wrong) = regex::Regex::new(&pattern)
                    && !pattern.contains("${")
                {
                    self.error(&map.at("pattern"), format!("this is not a regular expression: {}", wrong.to_string().replace('\n', " ")));
                }
                Some(Tolerance::Regex { target, pattern })
            }
            "jsonpath" => {
                let path = map.required_text(self, "path", "give the JSONPath")?;
                if let Err(wrong) = serde_json_path::JsonPath::parse(&path)
                    && !path.contains("${")
                {
                    self.error(&map.at("path"), format!("this is not a JSONPath (RFC 9535): {wrong}"));
                }
                let count = map.get("count").and_then(Value::as_u64);
                Some(Tolerance::JsonPath { target, path, count, expect: map.get("expect").cloned() })
            }
            "probe" => self.activity(value, pointer, named).map(|probe| Tolerance::Probe(Box::new(probe))),
            other => {
                self.error(&map.at("type"), format!("there is no tolerance `{other}`; take regex, jsonpath, range or probe"));
                None
            }
        }
    }
}
