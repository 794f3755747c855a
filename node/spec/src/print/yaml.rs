//! A JSON value as YAML in block style, short lists of plain values in one line.
//!
//! A text is left unquoted only if it is certain to be read back as that text; all other texts are quoted as in JSON, which is valid YAML.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::{node::Literal, scalar};

/// Lists whose items fit in a line of this many characters are written in one.
const LINE_MAX: usize = 100;

pub(super) fn print(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(&mut text, map, 0),
        Value::Array(items) if !items.is_empty() => list(&mut text, items, 0),
        _ => {
            text.push_str(&leaf(value));
            text.push('\n');
        }
    }
    text
}

fn entries(text: &mut String, map: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            pad(text, indent);
        }
        entry(text, key, value, indent);
    }
}

/// A key and its value; the cursor already stands at the key's column.
fn entry(text: &mut String, key: &str, value: &Value, indent: usize) {
    // The parser wants a key's end within 1,024 characters, unless it is announced by a question mark.
    let key = scalar_text(key);
    if key.chars().count() > 500 {
        let _ = write!(text, "? {key}\n{:indent$}:", "");
    } else {
        let _ = write!(text, "{key}:");
    }
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            pad(text, indent + 2);
            entries(text, map, indent + 2);
        }
        Value::Array(items) if !items.is_empty() && one_line(items).is_none() => {
            text.push('\n');
            pad(text, indent + 2);
            list(text, items, indent + 2);
        }
        Value::String(string) if is_block(string) => block(text, string, indent + 2),
        _ => {
            let _ = writeln!(text, " {}", leaf(value));
        }
    }
}

fn list(text: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(text, indent);
        }
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => entries(text, map, indent + 2),
            Value::Array(items) if !items.is_empty() && one_line(items).is_none() => list(text, items, indent + 2),
            _ => {
                let _ = writeln!(text, "{}", leaf(item));
            }
        }
    }
}

fn pad(text: &mut String, indent: usize) {
    let _ = write!(text, "{:indent$}", "");
}

/// What stands in one line.
fn leaf(value: &Value) -> String {
    match value {
        Value::String(string) => scalar_text(string),
        Value::Array(items) => one_line(items).unwrap_or_else(|| "[]".into()),
        Value::Object(_) => "{}".into(),
        _ => value.to_string(),
    }
}

fn one_line(items: &[Value]) -> Option<String> {
    let simple = |item: &Value| !matches!(item, Value::Array(_) | Value::Object(_));
    if !items.iter().all(simple) {
        return None;
    }
    let line = format!("[{}]", items.iter().map(leaf).collect::<Vec<_>>().join(", "));
    (line.chars().count() <= LINE_MAX).then_some(line)
}

/// Several lines of ordinary characters, which a block shows best.
fn is_block(string: &str) -> bool {
    string.trim_end_matches('\n').contains('\n')
        && string.strip_suffix('\n').unwrap_or(string).split('\n').all(|line| line.trim_end() == line && !line.is_empty())
        && !string.starts_with(char::is_whitespace)
        && string.chars().all(|c| c == '\n' || printable(c))
}

fn block(text: &mut String, string: &str, indent: usize) {
    let (body, header) = match string.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (string, "|-"),
    };
    let _ = writeln!(text, " {header}");
    for line in body.split('\n') {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
}

fn scalar_text(string: &str) -> String {
    if is_plain(string) { string.to_owned() } else { quoted(string) }
}

/// True for texts that stay what they are without quotes, wherever they stand.
fn is_plain(string: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.');
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | '+' | '@' | '=' | '(' | ')' | ' ');
    string.starts_with(first)
        && !string.ends_with(' ')
        && string.len() <= LINE_MAX
        && string.chars().all(inner)
        && string != "..."
        && scalar::resolve(string) == Literal::Text
        // What older readers of YAML take for booleans is better quoted, though this one does not.
        && !matches!(string.to_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off")
}

fn quoted(string: &str) -> String {
    let mut text = String::from("\"");
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if printable(c) => text.push(c),
            c if u32::from(c) <= 0xffff => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(text, "\\U{:08x}", u32::from(c));
            }
        }
    }
    text.push('"');
    text
}

fn printable(c: char) -> bool {
    matches!(c, ' '..='~') || (c.is_alphanumeric() && !c.is_control())
}
