//! Takes values out of what leaves an executor: as they are, and in the forms that programs commonly turn them into.
//!
//! Best effort, by nature: a program can transform a secret in ways that nobody recognises.

use std::{borrow::Cow, collections::BTreeSet};

use base64::Engine as _;
use serde_json::Value;

/// Stands where a value was.
pub const MASK: &str = "***";

/// Shorter values are not looked for: they would hit words and numbers that have nothing to do with them.
const CHARS_MIN: usize = 4;
/// Lines of a value (a key in PEM form, for example) are looked for on their own from this length on.
const LINE_MIN: usize = 8;

/// What to look for: longest first, so that a value that contains another one goes whole.
#[derive(Clone, Default)]
pub(crate) struct Mask {
    needles: Vec<String>,
}

impl Mask {
    pub(crate) fn new<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut needles = BTreeSet::new();
        for value in values {
            let lines = value.lines().filter(|line| line.len() >= LINE_MIN && line.len() < value.len());
            for text in std::iter::once(value).chain(lines).filter(|text| text.len() >= CHARS_MIN) {
                let quoted = Value::from(text).to_string();
                needles.insert(quoted[1..quoted.len() - 1].to_owned());
                needles.insert(percent_encoded(text));
                needles.insert(base64::engine::general_purpose::STANDARD_NO_PAD.encode(text));
                needles.insert(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text));
                needles.insert(text.to_owned());
            }
        }
        let mut needles: Vec<String> = needles.into_iter().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Self { needles }
    }

    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut masked = Cow::Borrowed(text);
        for needle in &self.needles {
            if masked.contains(needle.as_str()) {
                masked = Cow::Owned(masked.replace(needle.as_str(), MASK));
            }
        }
        masked
    }

    pub(crate) fn bytes<'a>(&self, data: &'a [u8]) -> Cow<'a, [u8]> {
        let mut masked = Cow::Borrowed(data);
        for needle in self.needles.iter().map(String::as_bytes) {
            if let Some(replaced) = replaced(&masked, needle) {
                masked = Cow::Owned(replaced);
            }
        }
        masked
    }

    pub(crate) fn json<'a>(&self, data: &'a [u8]) -> Cow<'a, [u8]> {
        // A text without escapes of single characters has a value only where the value's own characters stand.
        let escaped = data.windows(2).any(|pair| pair == b"\\u" || pair == b"\\/");
        if !escaped && !self.needles.iter().any(|needle| find(data, needle.as_bytes()).is_some()) {
            return Cow::Borrowed(data);
        }
        let Ok(value) = serde_json::from_slice::<Value>(data) else { return self.bytes(data) };
        let masked = self.value(value.clone());
        if masked == value { Cow::Borrowed(data) } else { Cow::Owned(masked.to_string().into_bytes()) }
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text).into_owned()),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.value(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(key, item)| (self.text(&key).into_owned(), self.value(item))).collect())
            }
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Borrowed(_) => Value::Number(number),
                Cow::Owned(masked) => Value::String(masked),
            },
            Value::Bool(_) | Value::Null => value,
        }
    }
}

fn find(data: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let place = from + data.get(from..)?.iter().position(|byte| *byte == first)?;
        if data[place..].starts_with(needle) {
            return Some(place);
        }
        from = place + 1;
    }
}

fn replaced(data: &[u8], needle: &[u8]) -> Option<Vec<u8>> {
    let mut place = find(data, needle)?;
    let (mut out, mut rest) = (Vec::with_capacity(data.len()), data);
    loop {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(MASK.as_bytes());
        rest = &rest[place + needle.len()..];
        match find(rest, needle) {
            Some(next) => place = next,
            None => break,
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: &[&str]) -> Mask {
        Mask::new(values.iter().copied())
    }

    fn json(mask: &Mask, text: &str) -> String {
        String::from_utf8(mask.json(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn a_value_goes_in_each_common_form() {
        let mask = mask(&["pa ss/word\"1"]);
        let base64 = base64::engine::general_purpose::STANDARD.encode("pa ss/word\"1");
        for form in ["pa ss/word\"1", "pa ss/word\\\"1", "pa%20ss%2Fword%221", &base64] {
            let masked = mask.text(form);
            assert!(masked.contains(MASK) && !masked.contains("word"), "{form} -> {masked}");
        }
    }

    #[test]
    fn json_stays_json() {
        let mask = mask(&["12345678", "hunter22"]);
        assert_eq!(json(&mask, r#"{"a": 12345678, "hunter22": ["x hunter22"], "n": 9007199254740993}"#), {
            r#"{"a":"***","***":["x ***"],"n":9007199254740993}"#
        });
        assert_eq!(json(&mask, r#""\u0068unter22""#), r#""***""#, "escapes don't hide a value");
        let untouched = r#"{ "n": 1.0e400 }"#;
        assert_eq!(json(&mask, untouched), untouched, "what has no value stays byte for byte");
    }

    #[test]
    fn lines_of_a_long_value_are_masked_one_by_one() {
        let mask = mask(&["-----BEGIN KEY-----\nabcdefgh12345678\n-----END KEY-----"]);
        assert_eq!(mask.text("found abcdefgh12345678 here"), "found *** here");
    }

    #[test]
    fn a_longer_value_goes_before_a_part_of_it() {
        assert_eq!(mask(&["abcd", "abcdefgh"]).text("abcdefgh abcd"), "*** ***");
    }

    #[test]
    fn bytes_that_are_no_text_are_searched_as_well() {
        assert_eq!(mask(&["abcd"]).bytes(b"\xffabcd\xfeabcd\xfd").as_ref(), b"\xff***\xfe***\xfd");
    }

    #[test]
    fn what_is_too_short_is_left_alone() {
        assert_eq!(mask(&["1"]).text("11 runs"), "11 runs");
    }
}
