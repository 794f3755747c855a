//! What is wrong with a file: where, and what to do about it.

use std::fmt;

/// A place in a text, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// One remark about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// True if the file can't be used.
    pub error: bool,
    /// JSON pointer to the value; empty for the whole file.
    pub pointer: String,
    /// Where, if known.
    pub place: Option<Place>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(if self.error { "error: " } else { "warning: " })?;
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

/// All remarks about one file.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// In the order in which they were found.
    pub list: Vec<Finding>,
}

impl Findings {
    /// True if the file can't be used.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.error)
    }

    /// As lines that editors can jump to.
    pub fn render(&self, file: &str) -> String {
        let separator = |finding: &Finding| if finding.place.is_some() { ":" } else { ": " };
        self.list.iter().map(|finding| format!("{file}{}{finding}\n", separator(finding))).collect()
    }
}

/// Appends a key to a JSON pointer.
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
