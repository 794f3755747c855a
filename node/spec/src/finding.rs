//! A mistake while it is still next to the text: what is wrong and which bytes it is about.
//!
//! [`crate::Diagnostic`] is the same with a name and line numbers, for whoever doesn't have the text at hand.

use crate::{
    diagnostic::{Diagnostic, Related, Severity},
    span::{Lines, Span, count},
};

/// A text with its name and lines.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) lines: Lines,
}

impl Source {
    pub(crate) fn new(text: &str, name: &str) -> Self {
        Self { name: name.into(), text: text.into(), lines: Lines::of(text) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) code: String,
    pub(crate) path: String,
    pub(crate) span: Span,
    pub(crate) message: String,
    /// What stands beside the caret; short.
    pub(crate) label: String,
    /// What to do about it.
    pub(crate) hint: String,
    /// Another place that matters.
    pub(crate) related: Option<(Span, String)>,
}

impl Finding {
    pub(crate) fn error(code: &str, path: &str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: code.into(),
            path: path.into(),
            span,
            message: message.into(),
            label: String::new(),
            hint: String::new(),
            related: None,
        }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related = Some((span, message.into()));
        self
    }

    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Gives it its line and column.
    pub(crate) fn place(self, source: &Source) -> Diagnostic {
        let span = self.span.first_line(&source.text);
        let (line, column) = source.lines.position(&source.text, span.start);
        Diagnostic {
            severity: self.severity,
            code: self.code,
            path: self.path,
            message: self.message,
            label: self.label,
            hint: self.hint,
            source: source.name.clone(),
            line,
            column,
            length: count(source.text[span.range()].chars().count()),
            span,
            related: self.related.map(|(span, message)| {
                let span = span.first_line(&source.text);
                let (line, column) = source.lines.position(&source.text, span.start);
                Related { message, line, column, span }
            }),
        }
    }
}
