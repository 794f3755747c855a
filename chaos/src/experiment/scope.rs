//! Values for `${name}`: from the file, from the environment, from `--var`.
//!
//! As the Chaos Toolkit has it: a text that is nothing but `${name}` becomes the value with its type; inside of a longer text it becomes text; `$$` is a
//! `$`; what is not known stays as it is, because it may be meant for a shell. Invariant: [`Scope::mask`] goes over everything that leaves the runner.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use super::model::{Experiment, Setting};

/// What secrets are shown as.
pub const MASK: &str = "***";

/// Known values.
#[derive(Clone, Default)]
pub struct Scope {
    values: BTreeMap<String, Value>,
    /// Texts that must not be shown, the longest first.
    hidden: Vec<String>,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("names", &self.values.keys()).finish_non_exhaustive()
    }
}

impl Scope {
    /// Looks everything up. Values that probes give are left out; [`super::player`] adds them.
    pub fn load(experiment: &Experiment, vars: &BTreeMap<String, Value>) -> anyhow::Result<Self> {
        let mut scope = Self::default();
        for (scope_name, secrets) in &experiment.secrets {
            for (name, setting) in secrets {
                let value = look_up(setting).with_context(|| format!("the secret {scope_name}.{name}"))?;
                if let Some(value) = value {
                    scope.hide(&value);
                    scope.values.insert(name.clone(), value);
                }
            }
        }
        for (name, setting) in &experiment.configuration {
            let value = match vars.get(name) {
                Some(value) => Some(value.clone()),
                None => look_up(setting).with_context(|| format!("the configuration {name}"))?,
            };
            if let Some(value) = value {
                scope.values.insert(name.clone(), value);
            }
        }
        for (name, value) in vars {
            if !experiment.configuration.contains_key(name) {
                let known: Vec<&str> = experiment.configuration.keys().map(String::as_str).collect();
                bail!("--var {name}={value}: the experiment has no configuration of that name; it has: {}", known.join(", "));
            }
        }
        Ok(scope)
    }

    /// Adds a value.
    pub fn set(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    fn hide(&mut self, value: &Value) {
        let text = plain(value);
        if !text.is_empty() {
            self.hidden.push(text);
            self.hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
    }

    /// A value with all `${name}` replaced.
    pub fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.fill(item)).collect()),
            Value::Object(map) => Value::Object(map.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect::<Map<_, _>>()),
            other => other.clone(),
        }
    }

    /// A text with all `${name}` replaced, as text.
    pub fn text(&self, text: &str) -> String {
        plain(&self.fill_text(text))
    }

    fn fill_text(&self, text: &str) -> Value {
        if let Some(value) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|name| self.values.get(name)) {
            return value.clone();
        }
        let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let after = &from[1..];
            if let Some(after) = after.strip_prefix('$') {
                filled.push('$');
                rest = after;
                continue;
            }
            let (name, end) = reference(after);
            match self.values.get(name) {
                Some(value) if !name.is_empty() => {
                    filled.push_str(&plain(value));
                    rest = &after[end..];
                }
                _ => {
                    filled.push('$');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Value::String(filled)
    }

    /// A value without secrets.
    pub fn mask(&self, value: Value) -> Value {
        if self.hidden.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.mask_text(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.mask(item)).collect()),
            Value::Object(map) => {
                let entry = |(name, value): (String, Value)| (self.mask_text(&name), self.mask(value));
                Value::Object(map.into_iter().map(entry).collect::<Map<_, _>>())
            }
            other if self.hidden.contains(&plain(&other)) && other.is_number() => Value::String(MASK.to_owned()),
            other => other,
        }
    }

    /// A text without secrets.
    pub fn mask_text(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, hidden| text.replace(hidden.as_str(), MASK))
    }
}

/// The name at the start of what stands behind a `$`, and where it ends. Empty if there is none.
fn reference(after: &str) -> (&str, usize) {
    let name = |text: &str| text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if let Some(inner) = after.strip_prefix('{') {
        let length = name(inner);
        return if inner[length..].starts_with('}') { (&inner[..length], length + 2) } else { ("", 0) };
    }
    let length = name(after);
    (&after[..length], length)
}

/// A value as it stands in a text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn look_up(setting: &Setting) -> anyhow::Result<Option<Value>> {
    match setting {
        Setting::Static(value) => Ok(Some(value.clone())),
        Setting::Probe(_) => Ok(None),
        Setting::Env { key, default, kind } => match (std::env::var(key), default) {
            (Ok(text), _) => convert(&text, kind).map(Some),
            (Err(_), Some(default)) => Ok(Some(default.clone())),
            (Err(_), None) => bail!("the environment variable {key} is not set; set it, or give the value a `default`"),
        },
    }
}

/// A text as the type that `env_var_type` and `--var name:type=…` name.
pub fn convert(text: &str, kind: &str) -> anyhow::Result<Value> {
    Ok(match kind {
        "" | "str" | "string" | "bytes" => Value::String(text.to_owned()),
        "int" | "integer" => Value::from(text.parse::<i64>().with_context(|| format!("`{text}` is not a whole number"))?),
        "float" | "number" => Value::from(text.parse::<f64>().with_context(|| format!("`{text}` is not a number"))?),
        "bool" | "boolean" => Value::Bool(matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")),
        "json" => serde_json::from_str(text).with_context(|| format!("`{text}` is not JSON"))?,
        other => bail!("there is no type `{other}`; take str, int, float, bool or json"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::default();
        scope.set("n", json!(3));
        scope.set("who", json!("node-1"));
        scope.hide(&json!("hunter2"));
        scope
    }

    #[test]
    fn a_lone_reference_keeps_its_type_and_others_become_text() {
        let filled = scope().fill(&json!(["${n}", "n=${n}!", "$who", "$$n", "${other} $", "${n", {"deep": "${who}"}]));
        assert_eq!(filled, json!([3, "n=3!", "node-1", "$n", "${other} $", "${n", {"deep": "node-1"}]));
    }

    #[test]
    fn secrets_leave_nothing_behind() {
        let masked = scope().mask(json!({"stdout": "password hunter2", "list": ["hunter2"]}));
        assert_eq!(masked, json!({"stdout": "password ***", "list": ["***"]}));
        assert!(!format!("{:?}", scope()).contains("hunter2"));
    }
}
