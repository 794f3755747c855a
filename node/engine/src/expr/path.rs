//! A path from a root into a document, known when the expression is compiled.

use std::fmt::{self, Write};

use serde_json::Value;

/// Where a path starts. Steps are named by their index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Root {
    /// What the run was started with.
    Input,
    /// What a step returned; null unless it succeeded.
    Output(usize),
    /// A step's status as a word.
    Status(usize),
    /// Why a step failed, `{type, message}`; null unless it failed.
    Error(usize),
    /// About the run: what never changes.
    Run,
    /// How the run is about to end, as a word. Only in `finally` and `on_attention`.
    RunStatus,
    /// Why the run fails, `{type, message}`, or null. Only in `finally` and `on_attention`.
    RunError,
    /// The instant of the decision.
    Now,
    /// The item of the `for_each` at this position that the reader is in.
    Item(usize),
    /// The number, from 0, of the item or iteration of the container at this position that the reader is in.
    Index(usize),
    /// The signal that is being matched: `{id, name, payload}`. Only in `match`.
    Signal,
    /// What a compensation undoes: `{with, output, checkpoint, state, item}` (`state` is the step's status as a word); for the `output` of a
    /// `workflow` step `{output}` of its child.
    This,
    /// A document that the caller names, see [`super::Formula`].
    Named(usize),
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Of an object.
    Key(String),
    /// Of an array.
    Index(usize),
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) if is_identifier(key) => write!(f, ".{key}"),
            Self::Key(key) => write!(f, "[{key:?}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path as the definition spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Where it starts.
    pub(crate) root: Root,
    /// Where it goes from there.
    pub(crate) segments: Vec<Segment>,
    /// The part of the text that the root stands for: `input`, `steps.a.output`.
    pub(crate) root_text: String,
}

impl Path {
    /// The value at its end.
    pub(crate) fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.segments.iter().try_fold(document, |value, segment| member(value, segment))
    }

    /// Says why [`Path::find`] found nothing: names the last part that is there.
    pub(crate) fn explain(&self, document: &Value) -> String {
        let mut text = self.root_text.clone();
        let mut value = document;
        for segment in &self.segments {
            let Some(next) = member(value, segment) else {
                let is = match value {
                    Value::Null => "is null",
                    Value::Object(_) => "has no such member",
                    Value::Array(_) => "has no such element",
                    Value::Bool(_) | Value::Number(_) | Value::String(_) => "is not an object",
                };
                return format!("`{self}` does not exist: `{text}` {is}");
            };
            let _ = write!(text, "{segment}");
            value = next;
        }
        format!("`{self}` does not exist")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root_text)?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

fn member<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match (value, segment) {
        (Value::Object(members), Segment::Key(key)) => members.get(key),
        (Value::Array(elements), Segment::Index(index)) => elements.get(*index),
        _ => None,
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
