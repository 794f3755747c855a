//! Shows a configuration with the origin of each value: `quorusd config print`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    Resolved,
    setting::{Kind, Setting},
    value,
};

/// As a table for people.
pub fn table(resolved: &Resolved) -> String {
    let rows: Vec<_> = resolved.values.iter().map(|(key, text, origin)| (*key, text.as_str(), origin.to_string())).collect();
    let width = |cell: fn(&(&'static str, &str, String)) -> usize, header: &str| rows.iter().map(cell).max().unwrap_or(0).max(header.len());
    let (key_width, value_width) = (width(|row| row.0.len(), "SETTING"), width(|row| row.1.len(), "VALUE"));
    let mut out = format!("{:key_width$}  {:value_width$}  ORIGIN\n", "SETTING", "VALUE");
    for (key, text, origin) in &rows {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{key:key_width$}  {text:value_width$}  {origin}");
    }
    out
}

/// As a JSON object: key to value and origin.
pub fn json(resolved: &Resolved) -> String {
    let entry = |(key, text, origin): &(&'static str, String, super::Origin)| {
        let value = match Setting::by_key(key).map(|setting| setting.kind) {
            Some(Kind::Integer(..)) => text.trim().parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
            Some(Kind::Peers) => value::peers(text).map_or_else(|_| json!(text), |peers| json!(peers)),
            _ => json!(text),
        };
        ((*key).to_owned(), json!({ "value": value, "origin": origin.to_string() }))
    };
    let object: Map<String, Value> = resolved.values.iter().map(entry).collect();
    format!("{:#}\n", Value::Object(object))
}

/// As a file that says the same, the origins as comments.
pub fn toml(resolved: &Resolved) -> String {
    let mut out = String::new();
    // Plain keys first: after a table's header they would belong to it.
    let (plain, in_tables): (Vec<_>, Vec<_>) = resolved.values.iter().partition(|(key, ..)| !key.contains('.') && *key != "peers");
    for (key, text, origin) in plain {
        let _ = writeln!(out, "{key} = {} # {origin}", literal(key, text));
    }
    let mut open = "";
    for (key, text, origin) in in_tables {
        match key.split_once('.') {
            Some((table, name)) => {
                if table != open {
                    let _ = writeln!(out, "\n[{table}]");
                    open = table;
                }
                let _ = writeln!(out, "{name} = {} # {origin}", literal(key, text));
            }
            None => {
                let _ = writeln!(out, "\n[{key}] # {origin}");
                open = key;
                for (id, address) in value::peers(text).unwrap_or_default() {
                    let _ = writeln!(out, "{id} = {}", quoted(&address));
                }
            }
        }
    }
    out
}

fn literal(key: &str, text: &str) -> String {
    match Setting::by_key(key).map(|setting| setting.kind) {
        Some(Kind::Integer(..)) => text.trim().to_owned(),
        _ => quoted(text),
    }
}

/// JSON strings are TOML basic strings, too, as far as paths and words go.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
