//! Values to a model, with all mistakes of a file at once.
//!
//! Unknown fields are warnings: the format is open, and other runners may know them. A misspelt field is told with the nearest known one.

mod activity;
mod fields;
mod parts;

use std::path::Path;

use serde_json::Value;

use super::{
    finding::{Finding, Findings},
    model::Experiment,
    source::Source,
};
use fields::Fields;

/// Fields of an experiment. `version` and `dry` are read by nobody, and common.
const FIELDS: &[&str] = &[
    "title",
    "description",
    "method",
    "steady-state-hypothesis",
    "rollbacks",
    "tags",
    "configuration",
    "secrets",
    "controls",
    "contributions",
    "extensions",
    "runtime",
    "version",
    "dry",
];

/// What reading carries along.
struct Reader<'a> {
    source: &'a Source,
    findings: Findings,
}

impl Reader<'_> {
    fn error(&mut self, pointer: &str, message: impl Into<String>) {
        self.find(true, pointer, message.into());
    }

    fn warning(&mut self, pointer: &str, message: impl Into<String>) {
        self.find(false, pointer, message.into());
    }

    fn find(&mut self, error: bool, pointer: &str, message: String) {
        let place = self.source.place(pointer);
        self.findings.list.push(Finding { error, pointer: pointer.to_owned(), place, message });
    }
}

/// Reads a text. The model is there if there was no error; the findings hold warnings all the same.
pub fn read(text: &str) -> (Option<Experiment>, Findings) {
    let source = match Source::read(text) {
        Ok(source) => source,
        Err(finding) => return (None, Findings { list: vec![finding] }),
    };
    let mut reader = Reader { source: &source, findings: Findings::default() };
    let experiment = reader.experiment();
    let findings = reader.findings;
    (experiment.filter(|_| !findings.has_errors()), findings)
}

/// Reads a file.
pub fn read_file(path: &Path) -> (Option<Experiment>, Findings) {
    match std::fs::read_to_string(path) {
        Ok(text) => read(&text),
        Err(wrong) => {
            let message = format!("can't read the file: {wrong}");
            (None, Findings { list: vec![Finding { error: true, pointer: String::new(), place: None, message }] })
        }
    }
}

impl Reader<'_> {
    fn experiment(&mut self) -> Option<Experiment> {
        let root = &self.source.value;
        let fields = Fields::of(self, root, "", "an experiment")?;
        fields.warn_unknown(self, FIELDS);
        let title = fields.required_text(self, "title", "say in one line what is asked");
        let description = fields.required_text(self, "description", "say why it is asked, and what is expected");
        let tags = self.tags(&fields);
        let configuration = self.settings(&fields, "configuration");
        let secrets = self.secrets(&fields);
        let named = activity::by_name(root);
        let hypothesis = self.hypothesis(&fields, &named);
        let method = match fields.get("method") {
            None => {
                self.error("", "`method` is missing; an empty list only tests the hypothesis");
                Vec::new()
            }
            Some(value) => self.activities(value, "/method", &named),
        };
        let rollbacks = fields.get("rollbacks").map(|value| self.activities(value, "/rollbacks", &named)).unwrap_or_default();
        if fields.get("controls").is_some() {
            self.warning("/controls", "controls are Python and are ignored here");
        }
        let (rollback_strategy, hypothesis_strategy) = self.runtime(&fields);
        let game_day = self.game_day(&fields);
        self.warn_unknown_references(root, &configuration, &secrets);
        Some(Experiment {
            title: title?,
            description: description?,
            tags,
            configuration,
            secrets,
            hypothesis,
            method,
            rollbacks,
            rollback_strategy,
            hypothesis_strategy,
            game_day,
            raw: parts::without_secrets(root.clone()),
        })
    }
}

/// The type of a value, for people.
fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests;
