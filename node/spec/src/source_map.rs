//! From the path of a value, such as `spec.steps[2].needs[0]`, to its place in the text.

use std::collections::BTreeMap;

use crate::{
    node::{Node, Scalar, Value},
    parse::locate,
    span::Span,
};

/// Where the parts of a definition stand in the text they were read from.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    places: BTreeMap<String, Place>,
}

/// Where a value and its key stand.
#[derive(Clone, Debug)]
struct Place {
    key: Option<Span>,
    value: Span,
    /// Kept for texts, so that a place inside can be found.
    scalar: Option<Scalar>,
    /// A collection is shown by its key: underlining the first of its lines would point at a part of it.
    collection: bool,
}

impl SourceMap {
    pub(crate) fn insert(&mut self, path: &str, key: Option<Span>, node: &Node) {
        let scalar = match &node.value {
            Value::Scalar(scalar) => Some(scalar.clone()),
            _ => None,
        };
        let collection = matches!(node.value, Value::List(_) | Value::Map(_));
        self.places.insert(path.to_owned(), Place { key, value: node.span, scalar, collection });
    }

    /// Where the value of exactly this path stands.
    pub fn value(&self, path: &str) -> Option<Span> {
        self.places.get(path).map(|place| place.value)
    }

    /// Where the key of exactly this path stands; items of lists have none.
    pub fn key(&self, path: &str) -> Option<Span> {
        self.places.get(path).and_then(|place| place.key)
    }

    /// The best place to show for a problem at `path`: inside its text if there is an `offset` (in bytes), else at the value, else at the
    /// nearest thing around it that was written. Inside a text it is the word at the offset.
    pub fn find(&self, text: &str, path: &str, offset: Option<usize>) -> Option<Span> {
        let mut path = path;
        let mut exact = true;
        loop {
            if let Some(place) = self.places.get(path) {
                let inside = offset.filter(|_| exact).zip(place.scalar.as_ref());
                let inside = inside.and_then(|(offset, scalar)| locate(text, place.value, scalar, offset));
                return Some(match inside {
                    Some(start) => word(text, start),
                    None => self.shown(path, place),
                });
            }
            exact = false;
            path = parent(path)?;
        }
    }

    /// A step is known by its id, a need by its step; other collections by their key.
    fn shown(&self, path: &str, place: &Place) -> Span {
        if !place.collection {
            return place.value;
        }
        let name = ["id", "step"].iter().find_map(|name| self.value(&format!("{path}.{name}")));
        name.or(place.key).unwrap_or(place.value)
    }
}

/// The word that an offset is about: expressions point at the dot before a name, and at the parenthesis after a function's.
fn word(text: &str, at: usize) -> Span {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default());
    let start = match after.chars().next() {
        Some('.') => at + 1,
        Some('(') => at - (before.len() - before.trim_end_matches(part).len()),
        _ => at,
    };
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.len() - rest.trim_start_matches(part).len();
    Span::new(start, start + length.max(1))
}

/// The path without its last part; the whole document is the empty path, which has no parent.
fn parent(path: &str) -> Option<&str> {
    if path.is_empty() {
        return None;
    }
    Some(path.rfind(['.', '[']).map_or("", |end| &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_stands_for_the_word_around_it() {
        let text = "a.outptu + foo(1) ?";
        assert_eq!(word(text, 1), Span::new(2, 8));
        assert_eq!(word(text, text.find('(').unwrap()), Span::new(11, 14));
        assert_eq!(word(text, 0), Span::new(0, 1));
        assert_eq!(word(text, text.len() - 1), Span::new(18, 19));
    }

    #[test]
    fn paths_lose_their_last_part() {
        assert_eq!(parent("spec.steps[2].needs[0]"), Some("spec.steps[2].needs"));
        assert_eq!(parent("spec.steps[2]"), Some("spec.steps"));
        assert_eq!(parent("spec"), Some(""));
        assert_eq!(parent(""), None);
    }
}
