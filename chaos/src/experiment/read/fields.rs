//! The fields of a map.

use serde_json::{Map, Value};

use super::{super::finding::join, Reader, describe};

/// A map at its place.
pub(super) struct Fields<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) pointer: String,
}

impl<'a> Fields<'a> {
    /// The fields of a value that must be a map.
    pub(super) fn of(reader: &mut Reader<'_>, value: &'a Value, pointer: &str, what: &str) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self { map, pointer: pointer.to_owned() }),
            other => {
                reader.error(pointer, format!("{what} is a map of fields, this is {}", describe(other)));
                None
            }
        }
    }

    /// A field; null counts as not there.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The pointer to a field.
    pub(super) fn at(&self, name: &str) -> String {
        join(&self.pointer, name)
    }

    /// A text that must be there and not be empty.
    pub(super) fn required_text(&self, reader: &mut Reader<'_>, name: &str, hint: &str) -> Option<String> {
        match self.get(name) {
            Some(Value::String(text)) if !text.trim().is_empty() => return Some(text.clone()),
            Some(Value::String(_)) => reader.error(&self.at(name), format!("this is empty; {hint}")),
            Some(other) => reader.error(&self.at(name), format!("this must be a text, not {}; {hint}", describe(other))),
            None => reader.error(&self.pointer, format!("`{name}` is missing; {hint}")),
        }
        None
    }

    /// A text that may be missing.
    pub(super) fn text(&self, reader: &mut Reader<'_>, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                reader.error(&self.at(name), format!("this must be a text, not {}", describe(other)));
                None
            }
        }
    }

    /// A truth value that may be missing.
    pub(super) fn truth(&self, reader: &mut Reader<'_>, name: &str, default: bool) -> bool {
        match self.get(name) {
            None => default,
            Some(Value::Bool(truth)) => *truth,
            Some(other) => {
                reader.error(&self.at(name), format!("this must be true or false, not {}", describe(other)));
                default
            }
        }
    }

    /// Seconds: a number that is not negative, or `${name}`.
    pub(super) fn seconds(&self, reader: &mut Reader<'_>, name: &str) -> Value {
        let Some(value) = self.get(name) else { return Value::Null };
        let fine = match value {
            Value::Number(number) => number.as_f64().is_some_and(|seconds| seconds >= 0.0),
            Value::String(text) => text.starts_with("${") && text.ends_with('}'),
            _ => false,
        };
        if fine {
            return value.clone();
        }
        reader.error(&self.at(name), "this must be a number of seconds, not negative, or a reference such as ${pause}");
        Value::Null
    }

    /// Warns of fields that are not among the known ones. `x-…` belongs to whoever wrote it.
    pub(super) fn warn_unknown(&self, reader: &mut Reader<'_>, known: &[&str]) {
        for name in self.map.keys().filter(|name| !known.contains(&name.as_str()) && !name.starts_with("x-")) {
            let hint =
                nearest(name, known).map_or_else(|| format!("known are: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            reader.warning(&self.at(name), format!("this field is not known and is ignored; {hint}"));
        }
    }
}

/// The known name that differs least, if it differs little.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|known| (distance(name, known), *known)).min()?;
    (near.0 <= 2.max(name.len() / 4)).then_some(near.1)
}

/// How many letters must be changed, added or left out.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.chars().enumerate() {
        let mut next = vec![at + 1];
        for (column, other) in right.iter().enumerate() {
            next.push((row[column] + usize::from(letter != *other)).min(row[column + 1] + 1).min(next[column] + 1));
        }
        row = next;
    }
    row[right.len()]
}
