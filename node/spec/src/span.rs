//! Places in a text: byte ranges, and what people count, lines and columns.

use std::ops::Range;

/// A range of bytes of the text that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// From `start` up to, not including, `end`; a range that ends before it starts is empty.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// As a range, to index the text with.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// The part of the span on its first line, since that is what a caret can underline; a byte at least, if the text has one there.
    ///
    /// Trailing blanks are left out. The result lies on character boundaries of `text`, whatever the span was.
    pub(crate) fn first_line(self, text: &str) -> Self {
        let start = floor_boundary(text, self.start);
        let end = floor_boundary(text, self.end.max(start));
        let line = text[start..end].split('\n').next().unwrap_or_default().trim_end();
        if line.is_empty() {
            let next = text[start..].chars().next().filter(|c| *c != '\n' && *c != '\r').map_or(0, char::len_utf8);
            return Self::new(start, start + next);
        }
        Self::new(start, start + line.len())
    }
}

/// The nearest character boundary at or before `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Where lines start, so that finding a position takes a binary search and not a walk over the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    /// First byte of each line; the first is 0.
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        Self { starts }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub(crate) fn position(&self, text: &str, byte: usize) -> (u32, u32) {
        let byte = floor_boundary(text, byte);
        let line = self.starts.partition_point(|start| *start <= byte).max(1) - 1;
        let start = self.starts.get(line).copied().unwrap_or(0);
        (count(line) + 1, count(text[start..byte].chars().count()) + 1)
    }

    /// The byte of a line and column, both from 1. Past the end it is the end.
    pub(crate) fn byte(&self, text: &str, line: u32, column: u32) -> usize {
        let start = self.starts.get((line.max(1) - 1) as usize).copied().unwrap_or(text.len());
        let rest = text[start..].split('\n').next().unwrap_or_default();
        start + rest.char_indices().nth((column.max(1) - 1) as usize).map_or(rest.len(), |(at, _)| at)
    }

    /// The bytes of the lines from the one with `first` to the one with `last`, and the first one's number.
    pub(crate) fn around(&self, text: &str, first: usize, last: usize) -> (Span, u32) {
        let from = self.starts.partition_point(|start| *start <= first).max(1) - 1;
        let to = self.starts.partition_point(|start| *start <= last);
        let start = self.starts.get(from).copied().unwrap_or(0);
        let end = self.starts.get(to).map_or(text.len(), |next| next - 1);
        (Span::new(start, end), count(from) + 1)
    }
}

/// Texts are bounded far below 2^32, so nothing is ever cut.
pub(crate) fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one_and_come_back() {
        let text = "ä: 1\nbb: ü x\n";
        let lines = Lines::of(text);
        let x = text.find('x').unwrap();
        assert_eq!(lines.position(text, x), (2, 7));
        assert_eq!(lines.byte(text, 2, 7), x);
        assert_eq!(lines.position(text, 0), (1, 1));
        assert_eq!(lines.position(text, 9999), (3, 1));
    }

    #[test]
    fn the_first_line_of_a_span_has_no_trailing_blanks_and_splits_no_character() {
        let text = "a: b  \n  c: ü";
        assert_eq!(Span::new(0, text.len()).first_line(text), Span::new(0, 4));
        let u = text.find('ü').unwrap();
        assert_eq!(Span::new(u + 1, u + 1).first_line(text), Span::new(u, u + 2));
        assert_eq!(Span::new(6, 6).first_line(text), Span::new(6, 6));
    }
}
