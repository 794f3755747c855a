//! What a judgement says, in a form for people and for programs.
//!
//! Invariant: `violated` beats `unknown`, which beats `valid`. An invariant that had nothing to look at says so; it is never called valid.

use serde::{Deserialize, Serialize};

use super::coverage::Coverage;

/// How an invariant, or an experiment, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was looked at, and holds.
    Valid,
    /// It does not hold.
    Violated,
    /// Nobody can tell.
    Unknown,
    /// There was nothing to look at, and nobody had promised that there would be.
    NotApplicable,
}

impl Verdict {
    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Violated => "VIOLATED",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// The judgement of an experiment: `results.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Title of the experiment.
    pub title: String,
    /// Its seed.
    pub seed: u64,
    /// Commit of the programs under test.
    pub commit: String,
    /// Of everything: never [`Verdict::NotApplicable`].
    pub verdict: Verdict,
    /// Why it is unknown, a sentence each.
    pub reasons: Vec<String>,
    /// One by one.
    pub invariants: Vec<InvariantResult>,
    /// What was done and seen.
    pub coverage: Coverage,
}

/// How one invariant stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvariantResult {
    /// `I1` to `I18`.
    pub id: String,
    /// What it says, in a few words.
    pub title: String,
    /// How it stands.
    pub verdict: Verdict,
    /// Why it is unknown or not applicable.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many facts were looked at.
    pub checked: u64,
    /// How many violations there are.
    pub violated: u64,
    /// The first of them.
    pub violations: Vec<Counterexample>,
}

/// Facts that can't be true together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterexample {
    /// What is wrong, in a sentence.
    pub summary: String,
    /// In which run: its id, and its uid if it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// In which step.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Who said what, in the order of time.
    pub evidence: Vec<Testimony>,
}

/// What a witness said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Testimony {
    /// When, in microseconds of the experiment's clock. The time of a history event is converted and thus only as good as the nodes' clocks.
    pub at_us: i64,
    /// Who.
    pub who: String,
    /// What.
    pub said: String,
}

impl Counterexample {
    /// Without evidence, about no step.
    pub(super) fn new(run: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), run: run.into(), step: String::new(), evidence: Vec::new() }
    }

    /// About a step.
    pub(super) fn step(self, step: impl Into<String>) -> Self {
        Self { step: step.into(), ..self }
    }

    /// With more evidence, kept in the order of time. What is the same is kept once.
    pub(super) fn with(mut self, evidence: impl IntoIterator<Item = Testimony>) -> Self {
        for testimony in evidence {
            if !self.evidence.contains(&testimony) {
                self.evidence.push(testimony);
            }
        }
        self.evidence.sort_by_key(|testimony| testimony.at_us);
        self
    }
}
