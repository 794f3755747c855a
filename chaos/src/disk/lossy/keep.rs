//! How much of what was not synced is found after a loss of power.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::disk::chance::Chance;

/// What is kept of the changes that no sync covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Nothing: the cache was never written back.
    Nothing,
    /// Per file, the first few changes, as many as chance says.
    Prefix,
    /// Each change by its own chance, in percent: pages are written back in any order, and files get holes. Names are kept as a prefix, since file systems
    /// journal them in order.
    Scattered(u8),
    /// Everything, as when only the process dies.
    Everything,
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nothing" | "none" => Ok(Self::Nothing),
            "prefix" => Ok(Self::Prefix),
            "everything" | "all" => Ok(Self::Everything),
            percent => match percent.trim_end_matches('%').parse() {
                Ok(percent) if percent <= 100 => Ok(Self::Scattered(percent)),
                _ => Err(format!("`{text}` is not one of nothing, prefix, everything, or a percentage such as 50%")),
            },
        }
    }
}

/// Decides over a row of changes, one after the other.
pub(super) struct Choice {
    keep: Keep,
    left: usize,
    torn: bool,
}

impl Keep {
    pub(super) fn choose(self, changes: usize, chance: &mut Chance) -> Choice {
        let left = match self {
            Self::Prefix => chance.index(changes + 1),
            Self::Nothing | Self::Scattered(_) | Self::Everything => 0,
        };
        Choice { keep: self, left, torn: false }
    }

    /// How many changes of names are kept: always the first ones.
    pub(super) fn names(self, changes: usize, chance: &mut Chance) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Prefix | Self::Scattered(_) => chance.index(changes + 1),
            Self::Everything => changes,
        }
    }
}

impl Choice {
    /// Whether the next change is kept.
    pub(super) fn next(&mut self, chance: &mut Chance) -> bool {
        match self.keep {
            Keep::Nothing => false,
            Keep::Everything => true,
            Keep::Scattered(percent) => chance.percent(percent),
            Keep::Prefix => {
                let kept = self.left > 0;
                self.left = self.left.saturating_sub(1);
                kept
            }
        }
    }

    /// Whether the change that was just not kept is torn instead: the first one after a prefix, and each second one of scattered ones.
    pub(super) fn tears(&mut self, chance: &mut Chance) -> bool {
        match self.keep {
            Keep::Scattered(_) => chance.percent(50),
            _ => !std::mem::replace(&mut self.torn, true),
        }
    }
}
