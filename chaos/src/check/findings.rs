//! What a checker found: it counts everything it looked at and everything that is wrong, and keeps the first counterexamples.

use super::verdict::{Counterexample, InvariantResult, Verdict};

/// How many counterexamples of an invariant are kept; the others are counted.
const KEPT_MAX: usize = 10;

/// An invariant and what checks it.
#[derive(Clone, Copy)]
pub(super) struct Invariant {
    /// `I1` to `I18`.
    pub(super) id: &'static str,
    /// What it says, in a few words.
    pub(super) title: &'static str,
    /// Looks at everything, and reports to the findings.
    pub(super) check: fn(&super::joined::Joined<'_>, &mut Findings),
}

/// What a checker found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    checked: u64,
    violated: u64,
    kept: Vec<Counterexample>,
    unknown: Vec<String>,
    not_applicable: String,
}

impl Findings {
    /// A fact was looked at.
    pub(super) fn look(&mut self) {
        self.checked += 1;
    }

    /// Something is wrong.
    pub(super) fn violated(&mut self, make: impl FnOnce() -> Counterexample) {
        self.violated += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(make());
        }
    }

    /// A fact was looked at, and is as it must be or not.
    pub(super) fn expect(&mut self, holds: bool, make: impl FnOnce() -> Counterexample) {
        self.look();
        if !holds {
            self.violated(make);
        }
    }

    /// True if nothing is wrong.
    pub(super) fn is_clean(&self) -> bool {
        self.violated == 0
    }

    /// Takes over what was found elsewhere.
    pub(super) fn absorb(&mut self, other: Self) {
        self.checked += other.checked;
        self.violated += other.violated;
        let room = KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.into_iter().take(room));
    }

    /// Something can't be told.
    pub(super) fn unknown(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.unknown.len() < KEPT_MAX && !self.unknown.contains(&reason) {
            self.unknown.push(reason);
        }
    }

    /// The invariant says nothing about this experiment.
    pub(super) fn not_applicable(&mut self, reason: impl Into<String>) {
        self.not_applicable = reason.into();
    }

    /// `wanted` is how many facts the experiment promised.
    pub(super) fn into_result(self, invariant: &Invariant, wanted: Option<u64>) -> InvariantResult {
        let short = wanted.filter(|wanted| self.checked < *wanted);
        let (verdict, reason) = if self.violated > 0 {
            (Verdict::Violated, String::new())
        } else if let Some(wanted) = short {
            let why = if self.not_applicable.is_empty() { String::new() } else { format!(": {}", self.not_applicable) };
            (Verdict::Unknown, format!("{} facts were looked at, the experiment promised {wanted}{why}", self.checked))
        } else if !self.unknown.is_empty() {
            (Verdict::Unknown, self.unknown.join("; "))
        } else if !self.not_applicable.is_empty() {
            (Verdict::NotApplicable, self.not_applicable)
        } else if self.checked == 0 {
            (Verdict::NotApplicable, "there was nothing to look at".to_owned())
        } else {
            (Verdict::Valid, String::new())
        };
        InvariantResult {
            id: invariant.id.to_owned(),
            title: invariant.title.to_owned(),
            verdict,
            reason,
            checked: self.checked,
            violated: self.violated,
            violations: self.kept,
        }
    }
}
