//! What the parser can't read, said so that people know what to change.

use granit_parser::{ErrorKind, ScanError};

use crate::{finding::Finding, span::Span};

pub(crate) fn finding(text: &str, error: &ScanError) -> Finding {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let line_start = text.get(..at).map_or(0, |before| before.rfind('\n').map_or(0, |newline| newline + 1));
    let mut lines = text.get(line_start..).unwrap_or_default().lines();
    let (line, next) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let message = format!("this is not valid YAML: {}", error.kind());
    Finding::error("syntax", "", Span::new(at, at + 1), message).hint(hint(error.kind(), line, next))
}

/// The usual reason, where there is one.
fn hint(kind: &ErrorKind, line: &str, next: &str) -> &'static str {
    let tab = |line: &str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    if tab(line) || tab(next) {
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
        ErrorKind::ExpectedFlowMappingSeparator => "a `,` or a `}` is missing before this",
        ErrorKind::ExpectedFlowSequenceSeparator => "a `,` or a `]` is missing before this",
        ErrorKind::ExpectedBlockMappingKey => "the keys of a mapping start in the same column",
        ErrorKind::ExpectedBlockSequenceEntry => "the items of a list start in the same column, each with `- `",
        ErrorKind::UnknownQuotedScalarEscape => "write `\\\\` for a backslash, or use single quotes",
        ErrorKind::UnexpectedCharacter { character } if character.is_control() || *character > '\u{7e}' => {
            "write it as an escape such as `\\u007f`, in double quotes"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put quotes around a value that starts with this character",
        ErrorKind::RecursionLimitExceeded => "values nest at most 64 deep",
        _ if line.matches(": ").count() > 1 && !line.contains('{') => "put quotes around a value that holds `: `",
        _ => "check the indentation, and that texts with special characters are quoted",
    }
}
