//! What a YAML or JSON document says, with the place of every key and value.
//!
//! Nothing here knows workflows. Scalars keep their text, so that a message about `name: 1.10` can repeat what was written and not
//! what a number made of it.

use std::collections::BTreeMap;

use crate::span::Span;

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something about which an error was already reported.
    Broken,
}

/// A key with its value. Keys can repeat: who reads a map decides what to say about it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A leaf.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// The text after escapes and folding.
    pub(crate) text: String,
    pub(crate) kind: Literal,
    pub(crate) layout: Layout,
}

/// How a scalar's text lies in the source; needed to point into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The text stands in the source as it is, from this byte on.
    Verbatim(usize),
    /// A block after `|`: each line stands in the source, indented.
    Block,
    /// Escaped or folded: only the whole has a place.
    Altered,
}

/// What a scalar means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    /// Wide enough for every 64-bit integer of either sign.
    Int(i128),
    Float(f64),
    Text,
}

impl Node {
    /// The node and all below it.
    pub(crate) fn size(&self) -> usize {
        match &self.value {
            Value::Scalar(_) | Value::Broken => 1,
            Value::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| 1 + entry.value.size()).sum::<usize>(),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { kind: Literal::Null, .. }))
    }

    /// In words, for "found ...".
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Broken => "something unreadable".into(),
            Value::Scalar(scalar) => match scalar.kind {
                Literal::Null => "nothing".into(),
                Literal::Bool(_) => format!("the boolean `{}`", scalar.text),
                Literal::Int(_) | Literal::Float(_) => format!("the number `{}`", scalar.text),
                Literal::Text if scalar.text.chars().count() <= 40 => format!("the text {:?}", scalar.text),
                Literal::Text => "a text".into(),
            },
        }
    }
}

/// Entries by key, the first of each; later ones with the same key come back with the place of the first.
pub(crate) fn unique(entries: &[Entry]) -> (Vec<&Entry>, Vec<(&Entry, Span)>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    let (mut firsts, mut repeats) = (Vec::new(), Vec::new());
    for entry in entries {
        match seen.get(entry.key.text.as_str()) {
            Some(first) => repeats.push((entry, *first)),
            None => {
                seen.insert(&entry.key.text, entry.key.span);
                firsts.push(entry);
            }
        }
    }
    (firsts, repeats)
}
