//! [`Diagnostic`]: a mistake as people see it.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use quorus_proto::v1::Problem;

use crate::span::{Lines, Span, count};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The definition can't be used.
    Error,
    /// The definition is legal but deserves a look.
    Warning,
}

/// A mistake in a definition, or something that deserves a look, with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code, for example `unknown-field`.
    pub code: String,
    /// What it is about, for example `spec.steps[2].needs[0]`. Empty if it is about the text as a whole.
    pub path: String,
    /// A sentence for people.
    pub message: String,
    /// A few words beside the caret. May be empty.
    pub label: String,
    /// What to do about it. May be empty.
    pub hint: String,
    /// Name of the text, for example the file's.
    pub source: String,
    /// From 1; 0 if there is no text.
    pub line: u32,
    /// In characters, from 1; 0 if there is no text.
    pub column: u32,
    /// How many characters to underline.
    pub length: u32,
    /// The same as bytes of the text; never more than one line.
    pub span: Span,
    /// Another place that matters, for example the first of two equal keys.
    pub related: Option<Related>,
}

/// A second place that a [`Diagnostic`] is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Related {
    /// What is there.
    pub message: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The same as bytes of the text.
    pub span: Span,
}

impl Diagnostic {
    /// True unless it is only a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// A problem that a server reported about `text`; it gave no bytes, so they are found by line and column.
    pub fn from_problem(problem: &Problem, text: &str, name: &str) -> Self {
        let lines = Lines::of(text);
        let span = if problem.line == 0 {
            Span::default()
        } else {
            let start = lines.byte(text, problem.line, problem.column);
            let end = lines.byte(text, problem.line, problem.column.saturating_add(problem.length));
            Span::new(start, end)
        };
        Self {
            severity: if problem.warning { Severity::Warning } else { Severity::Error },
            code: problem.code.clone(),
            path: problem.path.clone(),
            message: problem.message.clone(),
            label: String::new(),
            hint: problem.hint.clone(),
            source: name.into(),
            line: problem.line,
            column: problem.column,
            length: problem.length,
            span,
            related: None,
        }
    }

    /// Several lines in the manner of rustc: what, where, the line with a caret under it, and what to do. Ends without a line break.
    ///
    /// `text` is what was read. With `color` the result holds ANSI escapes.
    pub fn render(&self, text: &str, color: bool) -> String {
        let level = if self.is_error() { Level::ERROR } else { Level::WARNING };
        let mut group = Group::with_title(level.primary_title(&self.message).id(&self.code));
        let shown;
        if self.line == 0 {
            let place = if self.path.is_empty() { self.source.clone() } else { format!("{}: {}", self.source, self.path) };
            group = group.element(Origin::path(place));
        } else {
            // Only the lines that matter are handed over: the renderer walks over all it gets, for every diagnostic.
            let related = self.related.as_ref().map_or(self.span, |related| related.span);
            let (lines, first) =
                Lines::of(text).around(text, self.span.start.min(related.start), self.span.end.max(related.end).max(self.span.start));
            shown = text[lines.range()].replace(['\t', '\r'], " ");
            let within = |span: Span| (span.start - lines.start).min(shown.len())..(span.end - lines.start).min(shown.len());
            let mut snippet = Snippet::source(&shown)
                .path(&self.source)
                .line_start(first as usize)
                .annotation(AnnotationKind::Primary.span(within(self.span)).label((!self.label.is_empty()).then_some(self.label.as_str())));
            if let Some(related) = &self.related {
                snippet = snippet.annotation(AnnotationKind::Context.span(within(related.span)).label(related.message.as_str()));
            }
            group = group.element(snippet);
        }
        if !self.hint.is_empty() {
            group = group.element(Level::HELP.message(&self.hint));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group] as &[Group<'_>])
    }

    /// Orders by place, errors before warnings at the same one.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (self.span, self.severity, self.code.clone(), self.path.clone())
    }
}

impl fmt::Display for Diagnostic {
    /// One line, as compilers print them: `file:line:column: severity[code]: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        if self.line == 0 {
            write!(f, "{}: {severity}[{}]: {}", self.source, self.code, self.message)
        } else {
            write!(f, "{}:{}:{}: {severity}[{}]: {}", self.source, self.line, self.column, self.code, self.message)
        }
    }
}

impl std::error::Error for Diagnostic {}

impl From<&Diagnostic> for Problem {
    fn from(diagnostic: &Diagnostic) -> Self {
        // The label has no field of its own; a hint is the nearest place for it.
        let hint = match (diagnostic.label.as_str(), diagnostic.hint.as_str()) {
            (label, "") => label.into(),
            ("", hint) => hint.into(),
            (label, hint) => format!("{label}; {hint}"),
        };
        Self {
            path: diagnostic.path.clone(),
            code: diagnostic.code.clone(),
            message: diagnostic.message.clone(),
            hint,
            warning: !diagnostic.is_error(),
            line: diagnostic.line,
            column: diagnostic.column,
            length: diagnostic.length,
        }
    }
}

impl From<Diagnostic> for Problem {
    fn from(diagnostic: Diagnostic) -> Self {
        (&diagnostic).into()
    }
}

/// Counts and renders all, a blank line between each, for a terminal.
pub fn render_all(diagnostics: &[Diagnostic], text: &str, color: bool) -> String {
    let mut rendered: Vec<String> = diagnostics.iter().map(|diagnostic| diagnostic.render(text, color)).collect();
    let errors = count(diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count());
    let warnings = count(diagnostics.len()) - errors;
    let plural = |number: u32, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => {}
        (0, _) => rendered.push(plural(warnings, "warning")),
        (_, 0) => rendered.push(plural(errors, "error")),
        _ => rendered.push(format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))),
    }
    rendered.join("\n\n")
}
