//! What applying a record led to: the answer that its proposer gets.
//!
//! `[1][0 or 1]` for an epoch (1: opened), `[2][one byte per batch, purge and discard]` for the others. Answers travel only within a process, from the group that applied
//! to the proposer that waits, so this layout may change with a version.

use bytes::Bytes;

/// What applying a record led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordAnswer {
    /// Answer to `OpenEpoch`.
    Epoch {
        /// False if a newer leadership is open already.
        opened: bool,
    },
    /// One per batch, in order, then one per purge, then one per discard.
    Batches(Vec<BatchAnswer>),
}

/// What became of a batch or a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchAnswer {
    /// Its events are in the history; or the run is gone.
    Applied,
    /// A no-op: the record's term is not that of the open epoch. Decide nothing any more.
    StaleTerm,
    /// A no-op: the run is not where the decision assumed, or there is no such run. Decide again from fresh state. For a purge also: the run has
    /// not ended, or owes something.
    StaleSequence,
    /// A no-op: the run id is not held by the run that the start replaces, or that run has not ended. Decide again from fresh state.
    IdTaken,
    /// A no-op: the batch contradicts itself (a bad uid, a start that is not one). A bug of the proposer; the same on every replica, so an answer.
    Malformed,
}

impl RecordAnswer {
    /// The answer as bytes.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Epoch { opened } => Bytes::copy_from_slice(&[1, u8::from(*opened)]),
            Self::Batches(answers) => {
                let mut bytes = Vec::with_capacity(1 + answers.len());
                bytes.push(2);
                bytes.extend(answers.iter().map(|answer| answer.to_byte()));
                bytes.into()
            }
        }
    }

    /// The answer of these bytes; `None` if they are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [1, opened @ (0 | 1)] => Some(Self::Epoch { opened: *opened == 1 }),
            [2, answers @ ..] => Some(Self::Batches(answers.iter().map(|byte| BatchAnswer::from_byte(*byte)).collect::<Option<_>>()?)),
            _ => None,
        }
    }
}

impl BatchAnswer {
    fn to_byte(self) -> u8 {
        match self {
            Self::Applied => 0,
            Self::StaleTerm => 1,
            Self::StaleSequence => 2,
            Self::IdTaken => 3,
            Self::Malformed => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Applied),
            1 => Some(Self::StaleTerm),
            2 => Some(Self::StaleSequence),
            3 => Some(Self::IdTaken),
            4 => Some(Self::Malformed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back() {
        use BatchAnswer::*;
        for answer in [
            RecordAnswer::Epoch { opened: true },
            RecordAnswer::Epoch { opened: false },
            RecordAnswer::Batches(vec![]),
            RecordAnswer::Batches(vec![Applied, StaleTerm, StaleSequence, IdTaken, Malformed]),
        ] {
            assert_eq!(RecordAnswer::decode(&answer.encode()), Some(answer));
        }
        for bytes in [&[][..], &[0], &[1], &[1, 2], &[2, 5], &[3, 0]] {
            assert_eq!(RecordAnswer::decode(bytes), None);
        }
    }
}
