//! How a scalar's text lies in the source, and back: from a place in the text to a place in the source.

use granit_parser::ScalarStyle;

use crate::{
    node::{Layout, Scalar},
    span::Span,
};

pub(crate) fn layout(source: &str, span: Span, text: &str, style: ScalarStyle) -> Layout {
    let quote = match style {
        ScalarStyle::Plain => 0,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Literal => return Layout::Block,
        _ => return Layout::Altered,
    };
    let start = span.start + quote;
    match source.get(start..) {
        Some(rest) if rest.starts_with(text) => Layout::Verbatim(start),
        _ => Layout::Altered,
    }
}

/// The byte of `source` at which byte `offset` of the scalar's text stands, if that can be said.
pub(crate) fn locate(source: &str, span: Span, scalar: &Scalar, offset: usize) -> Option<usize> {
    match scalar.layout {
        Layout::Verbatim(start) => (offset <= scalar.text.len()).then_some(start + offset),
        Layout::Altered => None,
        Layout::Block => {
            let before = scalar.text.get(..offset)?;
            let (line, column) = (before.matches('\n').count(), offset - before.rfind('\n').map_or(0, |at| at + 1));
            let text_line = scalar.text.lines().nth(line)?;
            // The span of a block is its content, without the `|` before it.
            let mut start = span.start;
            for (number, source_line) in source.get(span.range())?.split_inclusive('\n').enumerate() {
                if number == line {
                    let indent = source_line.find(text_line)?;
                    return Some(start + indent + column);
                }
                start += source_line.len();
            }
            None
        }
    }
}
