//! The file's layer: TOML to texts, each with its line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    layers::{Layer, Text},
    problem::{Origin, Problem, did_you_mean},
    setting::{Kind, SETTINGS, Setting},
};

/// Reads a file. Mistakes are added to `problems`; what could be read is returned all the same, so that later checks can go on.
pub fn read(path: &Path, problems: &mut Vec<Problem>) -> Layer {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text, problems),
        Err(error) => {
            problems.push(Problem::new(Origin::File(path.to_owned(), 1), format!("can't be read: {error}")));
            Layer::new()
        }
    }
}

/// Reads the text of a file.
pub fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Layer {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { path: path.to_owned(), text, layer: Layer::new(), problems };
    for error in errors {
        let origin = reader.origin(error.span().map_or(0, |span| span.start));
        reader.problems.push(Problem::new(origin, error.message().to_owned()));
    }
    reader.table("", document.get_ref());
    reader.layer
}

struct Reader<'a> {
    path: PathBuf,
    text: &'a str,
    layer: Layer,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Origin::File(self.path.clone(), 1 + before.iter().filter(|byte| **byte == b'\n').count())
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let origin = self.origin(name.span().start);
            match (Setting::by_key(&key), value.get_ref()) {
                (Some(setting), _) => self.setting(setting, origin, value),
                (None, DeValue::Table(inner)) if is_table(&key) => self.table(&key, inner),
                (None, _) if is_table(&key) => self.problems.push(Problem::new(origin, format!("'{key}' is a table; write [{key}]"))),
                (None, _) => {
                    let hint = did_you_mean(&key, SETTINGS.iter().map(|setting| setting.key));
                    self.problems.push(Problem::new(origin, format!("unknown key '{key}'{hint}")));
                }
            }
        }
    }

    fn setting(&mut self, setting: &'static Setting, origin: Origin, value: &Spanned<DeValue<'_>>) {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Array(ranges) if setting.kind == Kind::Cidrs => {
                let texts = ranges.iter().map(|range| match range.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                });
                let Some(texts) = texts.collect::<Option<Vec<_>>>() else {
                    self.problems.push(Problem::new(origin, format!("{}: a list of texts is needed", setting.key)));
                    return;
                };
                texts.join(",")
            }
            DeValue::Table(peers) if setting.kind == Kind::Peers => {
                let mut entries = Vec::new();
                for (id, address) in peers.iter() {
                    match address.get_ref() {
                        DeValue::String(address) => entries.push(format!("{}={address}", id.get_ref())),
                        _ => {
                            let origin = self.origin(address.span().start);
                            self.problems.push(Problem::new(origin, format!("peers.{}: a text \"host:port\" is needed", id.get_ref())));
                            return;
                        }
                    }
                }
                entries.join(",")
            }
            _ => {
                self.problems.push(Problem::new(origin, format!("{}: a {} is needed", setting.key, kind_of_value(setting.kind))));
                return;
            }
        };
        self.layer.insert(setting.key, Text { text, origin });
    }
}

fn is_table(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.split_once('.').is_some_and(|(table, _)| table == key))
}

fn kind_of_value(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer(..) => "whole number",
        Kind::Duration(..) => "text with a duration such as \"30s\"",
        Kind::Peers => "table such as 1 = \"host:port\"",
        Kind::Cidrs => "list such as [\"10.0.0.0/8\"]",
        Kind::Socket | Kind::HostPort | Kind::Path | Kind::Choice(_) | Kind::LogFilter => "text",
    }
}
