//! How keys are made: `[group u32][family u8][parts...]`, compared as bytes.
//!
//! The group comes first, because a snapshot of a group is a prefix. Numbers are big-endian, times have their sign bit flipped, text is ended by
//! a zero byte (with 0 and 1 inside it escaped), so that the order of keys is the order of values and no two lists of parts give the same key.
//! Only the last part of a key may be raw, since nothing follows that it could run into.

use bytes::Bytes;
use quorus_engine::{RunUid, StepId, Timestamp};
use quorus_raft::GroupId;

use super::StoreError;

/// What a key is about. The letters are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Family {
    /// The shard's open leadership.
    Epoch = b'E',
    /// Run id to run uid.
    Id = b'N',
    /// Run info.
    Info = b'R',
    /// Run head.
    Head = b'h',
    /// Input and output of runs.
    Payload = b'P',
    /// Steps.
    Step = b'S',
    /// Events.
    History = b'H',
    /// Timers by due time.
    Timer = b'T',
    /// Queued and leased steps.
    Open = b'O',
    /// What is owed to others.
    Owed = b'X',
    /// Steps that wait for a signal or for people.
    Awaiting = b'A',
    /// What needs a person.
    DeadLetter = b'B',
    /// Dead letters that were settled otherwise.
    Discarded = b'b',
    /// Signals that runs received.
    Signal = b'G',
    /// Runs, newest first.
    List = b'I',
    /// Runs that have not ended, newest first.
    OpenRun = b'a',
    /// Runs of each workflow, newest first.
    WorkflowRun = b'J',
    /// Ended runs, by when they are to be removed.
    Expiry = b'Z',
    /// Requests that started runs.
    Request = b'Q',
    /// The same, oldest first.
    RequestAge = b'q',
    /// Definitions by digest.
    Definition = b'D',
    /// Group 0: the cluster.
    Cluster = b'C',
    /// Group 0: workflow names.
    Workflow = b'L',
    /// Group 0: versions of workflows.
    WorkflowVersion = b'W',
    /// Group 0: index of the last applied entry.
    Revision = b'V',
    /// Group 0: schedules.
    Schedule = b'K',
    /// Group 0: firings of schedules.
    Firing = b'Y',
    /// Group 0: triggers.
    Trigger = b'j',
    /// Group 0: concurrency keys that are held.
    SlotKey = b'k',
    /// Group 0: holders of a concurrency key, and who waits for it.
    SlotPlace = b'e',
    /// Group 0: where a run stands with its concurrency key.
    SlotClaim = b'c',
    /// Group 0: claims that are over, oldest first.
    SlotEnded = b'z',
    /// Group 0: limits.
    Limit = b'l',
    /// Group 0: queues that are paused.
    PausedQueue = b'p',
    /// Group 0: workers that are drained.
    DrainedWorker = b'w',
    /// Group 0: workflows that are paused.
    PausedWorkflow = b'o',
    /// Group 0: runs that are parked, by workflow, in the order of their starts.
    ParkedRun = b'f',
}

/// Builds a key.
pub(crate) struct KeyWriter(Vec<u8>);

impl KeyWriter {
    /// Starts a key; `capacity` is how many bytes of parts will follow, about.
    pub(crate) fn new(group: GroupId, family: Family, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(5 + capacity);
        bytes.extend_from_slice(&group.to_be_bytes());
        bytes.push(family as u8);
        Self(bytes)
    }

    pub(crate) fn uid(mut self, uid: RunUid) -> Self {
        self.0.extend_from_slice(&uid.to_bytes());
        self
    }

    pub(crate) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn number(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Earlier times first.
    pub(crate) fn time(self, time: Timestamp) -> Self {
        self.number(ordered(time))
    }

    /// Later times first.
    pub(crate) fn time_reversed(self, time: Timestamp) -> Self {
        self.number(!ordered(time))
    }

    /// Text with something after it.
    pub(crate) fn text(mut self, text: &str) -> Self {
        for &byte in text.as_bytes() {
            match byte {
                0 | 1 => self.0.extend_from_slice(&[1, byte + 1]),
                _ => self.0.push(byte),
            }
        }
        self.0.push(0);
        self
    }

    /// Bytes with nothing after them.
    pub(crate) fn last(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.into()
    }

    /// The range of all keys that start with what was written so far.
    pub(crate) fn range(self) -> (Bytes, Bytes) {
        let end = prefix_end(&self.0);
        (self.0.into(), end)
    }
}

/// Takes a key apart.
pub(crate) struct KeyReader<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// Skips group and family; the caller scanned within them.
    pub(crate) fn new(key: &'a [u8]) -> Result<Self, StoreError> {
        let rest = key.get(5..).ok_or_else(|| malformed(key))?;
        Ok(Self { key, rest })
    }

    pub(crate) fn uid(&mut self) -> Result<RunUid, StoreError> {
        Ok(RunUid(u128::from_be_bytes(self.take()?)))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StoreError> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        Ok(unordered(self.number()?))
    }

    pub(crate) fn time_reversed(&mut self) -> Result<Timestamp, StoreError> {
        Ok(unordered(!self.number()?))
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        let mut text = Vec::new();
        let mut bytes = self.rest.iter();
        loop {
            match bytes.next() {
                Some(0) => break,
                Some(1) => match bytes.next() {
                    Some(&escaped @ (1 | 2)) => text.push(escaped - 1),
                    _ => return Err(malformed(self.key)),
                },
                Some(&byte) => text.push(byte),
                None => return Err(malformed(self.key)),
            }
        }
        self.rest = bytes.as_slice();
        String::from_utf8(text).map_err(|_| malformed(self.key))
    }

    /// Everything that is left, as text.
    pub(crate) fn last_text(self) -> Result<&'a str, StoreError> {
        std::str::from_utf8(self.rest).map_err(|_| malformed(self.key))
    }

    /// Everything that is left, as a step; nothing is `None`.
    pub(crate) fn last_step(self) -> Result<Option<StepId>, StoreError> {
        let text = self.last_text()?;
        Ok((!text.is_empty()).then(|| text.into()))
    }

    /// Makes sure that nothing is left.
    pub(crate) fn end(self) -> Result<(), StoreError> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed(self.key)) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| malformed(self.key))?;
        self.rest = rest;
        Ok(*head)
    }
}

/// The first key after all keys that start with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}

fn ordered(time: Timestamp) -> u64 {
    (time.0 as u64) ^ (1 << 63)
}

fn unordered(value: u64) -> Timestamp {
    Timestamp((value ^ (1 << 63)) as i64)
}

fn malformed(key: &[u8]) -> StoreError {
    StoreError::Key { key: key.iter().map(|byte| format!("{byte:02x}")).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(first: &str, time: i64, reversed: i64, last: &str) -> Bytes {
        KeyWriter::new(7, Family::Timer, 64)
            .text(first)
            .time(Timestamp(time))
            .time_reversed(Timestamp(reversed))
            .last(last.as_bytes())
            .finish()
    }

    proptest! {
        #[test]
        fn parts_come_back_as_they_went_in(first in "[\\x00-\\x03a-zé]{0,6}", time: i64, reversed: i64, last in "[\\x00a-z]{1,4}") {
            let key = key(&first, time, reversed, &last);
            let mut reader = KeyReader::new(&key).unwrap();
            prop_assert_eq!(reader.text().unwrap(), first);
            prop_assert_eq!(reader.time().unwrap(), Timestamp(time));
            prop_assert_eq!(reader.time_reversed().unwrap(), Timestamp(reversed));
            prop_assert_eq!(reader.last_step().unwrap(), Some(StepId(last.into())));
        }

        #[test]
        fn order_of_keys_is_order_of_parts(
            a in ("[\\x00-\\x03ab]{0,4}", any::<i64>(), any::<i64>(), "[ab]{0,2}"),
            b in ("[\\x00-\\x03ab]{0,4}", any::<i64>(), any::<i64>(), "[ab]{0,2}"),
        ) {
            let by_key = key(&a.0, a.1, a.2, &a.3).cmp(&key(&b.0, b.1, b.2, &b.3));
            let by_value = (&a.0, a.1, std::cmp::Reverse(a.2), &a.3).cmp(&(&b.0, b.1, std::cmp::Reverse(b.2), &b.3));
            prop_assert_eq!(by_key, by_value);
        }

        #[test]
        fn damaged_keys_never_panic(key in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(mut reader) = KeyReader::new(&key) {
                let _ = reader.text();
                let _ = reader.uid();
                let _ = reader.number();
                let _ = reader.last_step();
            }
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_have_it() {
        assert_eq!(prefix_end(&[1, 2]), Bytes::from_static(&[1, 3]));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), Bytes::from_static(&[2]));
    }
}
