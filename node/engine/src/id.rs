//! Names and positions, as types that can't be mixed up.

use std::{fmt, sync::Arc};

/// A run's random identity, recorded in its first event and never reused, even when the run id is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunUid(pub u128);

impl RunUid {
    /// Big-endian, so that the order of keys is the order of values.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns `None` unless there are exactly 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for RunUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A step's path in its run.
///
/// At the root and in groups it is the step's own id (`shift`). Below `for_each` and `repeat` the positions of the items come before it:
/// `regions[3].deploy`, `a[1].b[2].c`. The scope of an item has an entry of its own, `regions[3]`, and so has what undoes a step:
/// `regions[3].deploy:compensate`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub Arc<str>);

/// What follows the path of a step in the path of its compensation.
const COMPENSATION: &str = ":compensate";

impl StepId {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of what undoes this step.
    pub fn compensation(&self) -> Self {
        Self(format!("{}{COMPENSATION}", self.0).into())
    }

    /// The path of the step that this one undoes, if it is a compensation.
    pub fn undoes(&self) -> Option<Self> {
        self.0.strip_suffix(COMPENSATION).map(Self::from)
    }

    /// The path of an item of this step.
    pub fn item(&self, position: u32) -> Self {
        Self(format!("{}[{position}]", self.0).into())
    }

    /// The item that the path names, with the path of its container; `None` if the path does not end with a position.
    pub fn as_item(&self) -> Option<(Self, u32)> {
        let (container, position) = self.0.strip_suffix(']')?.rsplit_once('[')?;
        Some((Self::from(container), position.parse().ok()?))
    }

    /// The path of the item that this step is below of, nested in the deepest way: `a[1].b[2]` for `a[1].b[2].c`.
    pub fn within(&self) -> Option<Self> {
        self.0.rsplit_once('.').map(|(item, _)| Self::from(item))
    }

    /// The id of the step in the plan: without items, and of a compensation with its ending.
    pub fn planned(&self) -> &str {
        let last = self.0.rsplit_once('.').map_or(&*self.0, |(_, last)| last);
        last.split_once('[').map_or(last, |(id, _)| id)
    }

    /// True for what has one entry in its run at most: no item, nothing below an item, and no compensation.
    pub fn is_plain(&self) -> bool {
        !self.0.contains(['[', ':'])
    }
}

impl From<&str> for StepId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A point in wall time, in milliseconds since the Unix epoch, as the leader's clock showed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The point `duration` later, saturating.
    pub fn plus(self, duration: Millis) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.0).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::expr::format_timestamp(*self))
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// The right to execute an attempt: rises strictly with every lease of a run, across leaders and nodes.
///
/// It is the sequence of the event that granted it, so it needs no counter of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A signal that a run received. Those of one name are taken in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalKey {
    /// Its name.
    pub name: Arc<str>,
    /// The sequence of the event that received it.
    pub seq: u64,
}
