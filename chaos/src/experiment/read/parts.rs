//! The other parts of an experiment: hypothesis, configuration, secrets, runtime, extension.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum as _;
use serde_json::Value;

use super::{
    super::{
        finding::join,
        game_day::{self, GameDay},
        model::{Hypothesis, HypothesisStrategy, RollbackStrategy, Setting},
        scope::{MASK, convert},
    },
    Fields, Reader,
    activity::Named,
    describe,
};

/// Names that the runner gives itself.
const GIVEN: &[&str] = &["target", "seed", "endpoints", "results"];

type Settings = BTreeMap<String, Setting>;

impl Reader<'_> {
    pub(super) fn tags(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let Some(value) = fields.get("tags") else { return Vec::new() };
        let tags: Vec<String> = value.as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        if value.as_array().is_none_or(|items| items.len() != tags.len()) || tags.iter().any(|tag| tag.trim().is_empty()) {
            self.error("/tags", "tags are a list of texts, none of them empty");
        }
        tags
    }

    pub(super) fn hypothesis(&mut self, fields: &Fields<'_>, named: &Named<'_>) -> Option<Hypothesis> {
        let pointer = fields.at("steady-state-hypothesis");
        let Some(value) = fields.get("steady-state-hypothesis") else {
            self.warning("", "there is no `steady-state-hypothesis`: nothing is tested before and after the method");
            return None;
        };
        let fields = Fields::of(self, value, &pointer, "a hypothesis")?;
        fields.warn_unknown(self, &["title", "probes", "controls"]);
        let title = fields.required_text(self, "title", "say what must hold");
        let probes = fields.get("probes").map(|value| self.activities(value, &fields.at("probes"), named)).unwrap_or_default();
        let raw = fields.get("probes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (number, probe) in raw.iter().enumerate() {
            let at = join(&fields.at("probes"), &number.to_string());
            if probe.is_object() && probe.get("ref").is_none() && probe.get("tolerance").is_none_or(Value::is_null) {
                self.error(&at, "a probe of a hypothesis needs a `tolerance`: which answers are allowed");
            }
            if probe["type"] == "action" {
                self.error(&at, "a hypothesis only asks; make this a probe, or move it to the method");
            }
        }
        Some(Hypothesis { title: title?, probes })
    }

    pub(super) fn settings(&mut self, fields: &Fields<'_>, name: &str) -> Settings {
        let Some(value) = fields.get(name) else { return Settings::new() };
        let Some(fields) = Fields::of(self, value, &fields.at(name), "this") else { return Settings::new() };
        let read = |(name, value): (&String, &Value)| Some((name.clone(), self.setting(value, &fields.at(name))?));
        fields.map.iter().filter_map(read).collect()
    }

    fn setting(&mut self, value: &Value, pointer: &str) -> Option<Setting> {
        let Some(kind) = value.as_object().and_then(|map| map.get("type")).and_then(Value::as_str) else {
            return Some(Setting::Static(value.clone()));
        };
        match kind {
            "env" => {
                let fields = Fields::of(self, value, pointer, "this")?;
                fields.warn_unknown(self, &["type", "key", "default", "env_var_type", "description"]);
                let key = fields.required_text(self, "key", "name the environment variable")?;
                let kind = fields.text(self, "env_var_type").unwrap_or_default();
                if let Err(wrong) = convert("1", &kind) {
                    self.error(&fields.at("env_var_type"), wrong.to_string());
                }
                Some(Setting::Env { key, default: fields.get("default").cloned(), kind })
            }
            "probe" => self.activity(value, pointer, &Named::new()).map(|probe| Setting::Probe(Box::new(probe))),
            "vault" => {
                self.error(pointer, "this runner has no client for Vault; put the value into an environment variable and take {\"type\": \"env\", \"key\": …}");
                None
            }
            _ => Some(Setting::Static(value.clone())),
        }
    }

    pub(super) fn secrets(&mut self, fields: &Fields<'_>) -> BTreeMap<String, Settings> {
        let Some(value) = fields.get("secrets") else { return BTreeMap::new() };
        let Some(scopes) = Fields::of(self, value, "/secrets", "secrets") else { return BTreeMap::new() };
        let mut secrets = BTreeMap::new();
        for (scope, value) in scopes.map {
            if value.is_object() {
                secrets.insert(scope.clone(), self.settings(&scopes, scope));
            } else {
                let found = describe(value);
                self.error(&scopes.at(scope), format!("secrets are grouped: {{\"group\": {{\"name\": …}}}}; this is {found}"));
            }
        }
        for (scope, settings) in &secrets {
            for name in settings.iter().filter(|(_, setting)| matches!(setting, Setting::Static(_))).map(|(name, _)| name) {
                let at = join(&join("/secrets", scope), name);
                self.warning(&at, "a secret is written into the file; take it from the environment: {\"type\": \"env\", \"key\": …}");
            }
        }
        secrets
    }

    pub(super) fn runtime(&mut self, fields: &Fields<'_>) -> (Option<RollbackStrategy>, Option<HypothesisStrategy>) {
        let Some(value) = fields.get("runtime") else { return (None, None) };
        let Some(runtime) = Fields::of(self, value, "/runtime", "runtime") else { return (None, None) };
        runtime.warn_unknown(self, &["rollbacks", "hypothesis"]);
        let strategy = |part: &str| {
            let strategy = &value[part]["strategy"];
            strategy.as_str().map(|strategy| (strategy.to_owned(), format!("/runtime/{part}/strategy")))
        };
        let rollbacks = strategy("rollbacks").and_then(|(name, at)| match RollbackStrategy::from_str(&name, false) {
            Ok(strategy) => Some(strategy),
            Err(_) => {
                self.error(&at, format!("there is no strategy `{name}`; take default, always, never or deviated"));
                None
            }
        });
        let hypothesis = strategy("hypothesis").and_then(|(name, at)| match HypothesisStrategy::from_str(&name, false) {
            Ok(strategy) => Some(strategy),
            Err(_) => {
                let known = "default, before-method-only, after-method-only, during-method-only or continuously";
                self.error(&at, format!("there is no strategy `{name}`; take {known}"));
                None
            }
        });
        (rollbacks, hypothesis)
    }

    pub(super) fn game_day(&mut self, fields: &Fields<'_>) -> GameDay {
        let Some(value) = fields.get("extensions") else { return GameDay::default() };
        let Value::Array(items) = value else {
            self.error("/extensions", "extensions are a list of maps, each with a `name`");
            return GameDay::default();
        };
        let mut game_day = GameDay::default();
        for (number, item) in items.iter().enumerate() {
            let at = join("/extensions", &number.to_string());
            match item.get("name").and_then(Value::as_str) {
                Some(game_day::NAME) => match serde_json::from_value(item.clone()) {
                    Ok(read) => game_day = read,
                    Err(wrong) => self.error(&at, format!("the extension `{}` can't be read: {wrong}", game_day::NAME)),
                },
                Some(name) if !name.trim().is_empty() => {}
                _ => self.error(&at, "an extension needs a `name`"),
            }
        }
        game_day
    }

    /// A reference that nothing gives stays as it is, which is rarely meant.
    pub(super) fn warn_unknown_references(&mut self, root: &Value, configuration: &Settings, secrets: &BTreeMap<String, Settings>) {
        let mut known: BTreeSet<&str> = GIVEN.iter().copied().collect();
        known.extend(configuration.keys().map(String::as_str));
        known.extend(secrets.values().flat_map(BTreeMap::keys).map(String::as_str));
        let mut unknown = Vec::new();
        for part in ["steady-state-hypothesis", "method", "rollbacks"] {
            references(&root[part], &join("", part), &mut |pointer, name| {
                if !known.contains(name) {
                    unknown.push((pointer.to_owned(), name.to_owned()));
                }
            });
        }
        for (pointer, name) in unknown {
            self.warning(
                &pointer,
                format!("nothing gives `${{{name}}}`, so it stays as it is; add it to `configuration`, or write `$${{{name}}}`"),
            );
        }
    }
}

fn references(value: &Value, pointer: &str, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => {
            let mut pieces = text.split("${");
            let mut before = pieces.next().unwrap_or_default();
            for piece in pieces {
                if let Some((name, _)) = piece.split_once('}').filter(|_| !before.ends_with('$')) {
                    found(pointer, name);
                }
                before = piece;
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| references(item, &join(pointer, &at.to_string()), found)),
        Value::Object(map) => map.iter().for_each(|(name, item)| references(item, &join(pointer, name), found)),
        _ => {}
    }
}

/// The file with every secret that is written into it masked.
pub(super) fn without_secrets(mut root: Value) -> Value {
    let scopes = root.get_mut("secrets").and_then(Value::as_object_mut);
    for secret in
        scopes.into_iter().flat_map(|scopes| scopes.values_mut()).filter_map(Value::as_object_mut).flat_map(|scope| scope.values_mut())
    {
        if secret.get("type").is_none() {
            *secret = Value::from(MASK);
        } else if let Some(default) = secret.get_mut("default") {
            *default = Value::from(MASK);
        }
    }
    root
}
