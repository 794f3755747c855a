//! Keeps a bounded part of what a program writes, and reads on so that the program never blocks on a full pipe.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// More of a line is not shown.
const LINE_MAX: usize = 8 * 1024;

/// Which part is kept when there is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The beginning: for results.
    Head,
    /// The end: for messages, where the last line says what went wrong.
    Tail,
}

/// A bounded copy of a stream.
#[derive(Debug)]
pub(super) struct Capture {
    keep: Keep,
    max: usize,
    bytes: VecDeque<u8>,
    truncated: bool,
}

impl Capture {
    pub(super) fn new(keep: Keep, max: usize) -> Self {
        Self { keep, max, bytes: VecDeque::new(), truncated: false }
    }

    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    fn push(&mut self, data: &[u8]) {
        match self.keep {
            Keep::Head => {
                let room = self.max - self.bytes.len();
                self.truncated |= data.len() > room;
                self.bytes.extend(&data[..room.min(data.len())]);
            }
            Keep::Tail => {
                self.bytes.extend(data);
                let excess = self.bytes.len().saturating_sub(self.max);
                self.truncated |= excess > 0;
                self.bytes.drain(..excess);
            }
        }
    }

    /// Cuts further.
    pub(super) fn shrink(&mut self, max: usize) {
        self.max = max;
        let excess = self.bytes.len().saturating_sub(max);
        self.truncated |= excess > 0;
        match self.keep {
            Keep::Head => self.bytes.truncate(max),
            Keep::Tail => drop(self.bytes.drain(..excess)),
        }
    }

    /// As text. A character that the cut went through is left out; other bytes that are no UTF-8 become replacement characters.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let whole = match self.keep {
            _ if !self.truncated => &bytes[..],
            Keep::Head => &bytes[..bytes.len() - cut_at_end(&bytes)],
            Keep::Tail => &bytes[bytes.iter().take(3).take_while(|byte| is_continuation(**byte)).count()..],
        };
        String::from_utf8_lossy(whole).into_owned()
    }

    /// Reads to the end of the stream, keeping what fits, and shows each line.
    pub(super) async fn read(&mut self, mut stream: impl AsyncRead + Unpin, mut show: impl FnMut(&str)) {
        let mut buffer = vec![0; 16 * 1024];
        let mut line = Vec::new();
        // A pipe that breaks is a pipe that ends.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            self.push(&buffer[..count]);
            for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                let room = LINE_MAX.saturating_sub(line.len());
                line.extend_from_slice(&part[..part.len().min(room)]);
                if part.ends_with(b"\n") {
                    show(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            show(&String::from_utf8_lossy(&line));
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// How many bytes at the end belong to a character that is not whole.
fn cut_at_end(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(3).take_while(|byte| is_continuation(**byte)).count();
    let Some(&first) = bytes.len().checked_sub(tail + 1).and_then(|index| bytes.get(index)) else { return 0 };
    let wanted = match first {
        0b1100_0000..=0b1101_1111 => 2,
        0b1110_0000..=0b1110_1111 => 3,
        0b1111_0000..=0b1111_0111 => 4,
        _ => 1,
    };
    if wanted > tail + 1 { tail + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(keep: Keep, max: usize, parts: &[&str]) -> (String, bool) {
        let mut capture = Capture::new(keep, max);
        parts.iter().for_each(|part| capture.push(part.as_bytes()));
        (capture.text(), capture.truncated())
    }

    #[test]
    fn the_head_keeps_the_beginning() {
        assert_eq!(captured(Keep::Head, 5, &["abc", "defg", "h"]), ("abcde".to_owned(), true));
        assert_eq!(captured(Keep::Head, 5, &["abcde"]), ("abcde".to_owned(), false));
    }

    #[test]
    fn the_tail_keeps_the_end() {
        assert_eq!(captured(Keep::Tail, 5, &["abc", "defg", "h"]), ("defgh".to_owned(), true));
    }

    #[test]
    fn a_character_is_never_cut_in_half() {
        assert_eq!(captured(Keep::Head, 4, &["aé€x"]), ("aé".to_owned(), true));
        assert_eq!(captured(Keep::Head, 6, &["aé€x"]), ("aé€".to_owned(), true));
        assert_eq!(captured(Keep::Tail, 3, &["aé€x"]), ("x".to_owned(), true));
        assert_eq!(captured(Keep::Tail, 4, &["aé€x"]), ("€x".to_owned(), true));
    }

    #[test]
    fn shrinking_cuts_further() {
        let mut capture = Capture::new(Keep::Tail, 10);
        capture.push(b"abcdef");
        capture.shrink(2);
        assert_eq!((capture.text(), capture.truncated()), ("ef".to_owned(), true));
    }
}
