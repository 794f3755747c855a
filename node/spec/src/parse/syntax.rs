//! What the parser can't read, said so that people know what to change.

use granit_parser::{ErrorKind, ScanError};

use crate::{finding::Finding, span::Span};

pub(crate) fn finding(text: &str, error: &ScanError) -> Finding {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let line_start = text.get(..at).map_or(0, |before| before.rfind('\n').map_or(0, |newline| newline + 1));
    let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let message = format!("this is not valid YAML: {}", error.kind());
    Finding::error("syntax", "", Span::new(at, at + 1), message).hint(hint(error.kind(), line))
}

/// The usual reason, where there is one.
fn hint(kind: &ErrorKind, line: &str) -> &'static str {
    let indentation = line.chars().take_while(|c| c.is_whitespace());
    if matches!(kind, ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation)
        || indentation.clone().any(|c| c == '\t')
    {
        return "indent with spaces, YAML takes no tabs for that";
    }
    if line.contains("${") && !line.contains(['"', '\'']) {
        return "put quotes around a value that holds `${...}`, for example \"${input.name}\"";
    }
    match kind {
        ErrorKind::UnclosedQuotedScalar => "close the quotes",
        ErrorKind::UnclosedFlowCollection { open: '[' } => "close the list with `]`",
        ErrorKind::UnclosedFlowCollection { .. } => "close the mapping with `}`",
        ErrorKind::MismatchedFlowCollectionEnd { open: '[', .. } => "the list that was opened with `[` is closed with `]`",
        ErrorKind::MismatchedFlowCollectionEnd { .. } => "the mapping that was opened with `{` is closed with `}`",
        ErrorKind::UnknownQuotedScalarEscape => "write `\\\\` for a backslash, or use single quotes",
        ErrorKind::UnexpectedCharacter { .. } => "put quotes around a value that starts with this character",
        ErrorKind::RecursionLimitExceeded => "values nest at most 64 deep",
        _ if line.matches(": ").count() > 1 && !line.contains('{') => "put quotes around a value that holds `: `",
        _ => "check the indentation, and that texts with special characters are quoted",
    }
}
