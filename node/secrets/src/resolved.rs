//! The secrets of one attempt.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use crate::{MARKER_END, MARKER_START, mask::Mask};

/// Values by name, for as long as an attempt lasts.
#[derive(Clone, Default)]
pub struct Resolved {
    values: BTreeMap<String, String>,
    mask: Mask,
}

impl Resolved {
    pub(crate) fn new(values: BTreeMap<String, String>) -> Self {
        let mask = Mask::new(values.values().map(String::as_str));
        Self { values, mask }
    }

    /// True if there is nothing to put in or to mask.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// JSON text with every marker of a known name replaced by the value. Markers stand inside of JSON strings and need no escape there, so the
    /// rest of the text stays as it is, to the last digit of its numbers. Markers of other names stay, too.
    pub fn put_into_json(&self, json: &str) -> String {
        self.put_into(json, |value| {
            let quoted = serde_json::Value::from(value).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        })
    }

    /// Plain text with every marker of a known name replaced by the value.
    pub fn put_into_text(&self, text: &str) -> String {
        self.put_into(text, str::to_owned)
    }

    fn put_into(&self, text: &str, form: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(MARKER_START) {
            let after = &rest[start + MARKER_START.len()..];
            let found = after.find(MARKER_END).and_then(|end| Some((end, self.values.get(&after[..end])?)));
            match found {
                Some((end, value)) => {
                    out.push_str(&rest[..start]);
                    out.push_str(&form(value));
                    rest = &after[end + MARKER_END.len()..];
                }
                None => {
                    out.push_str(&rest[..start + MARKER_START.len()]);
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Text in which no value is left.
    pub fn mask_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.mask.text(text)
    }

    /// A value's bytes in which no value is left; JSON stays JSON.
    pub fn mask_bytes<'a>(&self, data: &'a [u8], json: bool) -> Cow<'a, [u8]> {
        if json { self.mask.json(data) } else { self.mask.bytes(data) }
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker;

    fn resolved() -> Resolved {
        Resolved::new(BTreeMap::from([("token".to_owned(), "a\"b\\c".to_owned())]))
    }

    #[test]
    fn json_stays_json_and_its_numbers_stay_as_they_were() {
        let json = format!("{{\"n\": 123456789012345678901234567890, \"auth\": \"Bearer {}\"}}", marker("token"));
        let put = resolved().put_into_json(&json);
        assert!(put.contains("123456789012345678901234567890"));
        let value: serde_json::Value = serde_json::from_str(&put).unwrap();
        assert_eq!(value["auth"], "Bearer a\"b\\c");
    }

    #[test]
    fn other_markers_stay() {
        let text = format!("{} {} {{{{quorus.secret:", marker("token"), marker("other"));
        assert_eq!(resolved().put_into_text(&text), format!("a\"b\\c {} {{{{quorus.secret:", marker("other")));
    }

    #[test]
    fn debug_output_has_names_only() {
        assert_eq!(format!("{:?}", resolved()), "{\"token\"}");
    }
}
