//! Judges the evidence of an experiment: one file per invariant, each with its formal statement.
//!
//! Pure: no clock, no files, no randomness; the same evidence gets the same verdict, and old evidence can be judged again by newer checkers. Everything is
//! sorted and joined once ([`joined`]), and each invariant is a few passes over that: O(n log n).
//!
//! Invariants of this module: a verdict is `violated` if any invariant is; else `unknown` if any is unknown, which coverage (I18) sees to; else `valid`. A
//! checker that looked at nothing is never valid. The checkers share no code with the engine: they must not share its mistakes.

pub mod coverage;
mod findings;
mod i01_no_lost_submission;
mod i02_no_phantom;
mod i03_one_outcome;
mod i04_one_live_attempt;
mod i05_server_faults_repeat_nothing;
mod i06_nothing_orphaned;
mod i07_compensation;
mod i08_order;
mod i09_never_early;
mod i10_linearizable;
mod i11_signals_and_cancels;
mod i12_late_completion;
mod i13_replicas_agree;
mod i14_power_loss;
mod i15_corruption;
mod i16_unique_ids;
mod i17_overload;
mod i18_coverage;
mod joined;
mod path;
pub mod recheck;
mod standing;
mod testimony;
pub mod verdict;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;

use crate::record::Evidence;
use findings::{Findings, Invariant};
use joined::Joined;
pub(crate) use path::in_shape;
pub use verdict::{Counterexample, InvariantResult, Results, Testimony, Verdict};

/// All of them, in order.
const INVARIANTS: [Invariant; 18] = [
    i01_no_lost_submission::INVARIANT,
    i02_no_phantom::INVARIANT,
    i03_one_outcome::INVARIANT,
    i04_one_live_attempt::INVARIANT,
    i05_server_faults_repeat_nothing::INVARIANT,
    i06_nothing_orphaned::INVARIANT,
    i07_compensation::INVARIANT,
    i08_order::INVARIANT,
    i09_never_early::INVARIANT,
    i10_linearizable::INVARIANT,
    i11_signals_and_cancels::INVARIANT,
    i12_late_completion::INVARIANT,
    i13_replicas_agree::INVARIANT,
    i14_power_loss::INVARIANT,
    i15_corruption::INVARIANT,
    i16_unique_ids::INVARIANT,
    i17_overload::INVARIANT,
    i18_coverage::INVARIANT,
];

/// Judges everything.
pub fn judge(evidence: &Evidence) -> Results {
    let joined = Joined::new(evidence);
    let invariants: Vec<InvariantResult> = INVARIANTS
        .iter()
        .map(|invariant| {
            let mut findings = Findings::default();
            (invariant.check)(&joined, &mut findings);
            findings.into_result(invariant, evidence.setup.expects.get(invariant.id).copied())
        })
        .collect();
    let any = |verdict: Verdict| invariants.iter().any(|result| result.verdict == verdict);
    let verdict = if any(Verdict::Violated) {
        Verdict::Violated
    } else if any(Verdict::Unknown) {
        Verdict::Unknown
    } else {
        Verdict::Valid
    };
    let unknown = invariants.iter().filter(|result| result.verdict == Verdict::Unknown);
    let reasons = unknown.map(|result| format!("{}: {}", result.id, result.reason)).collect();
    let coverage = joined.coverage().clone();
    let setup = &evidence.setup;
    Results { title: setup.title.clone(), seed: setup.seed, commit: setup.commit.clone(), verdict, reasons, invariants, coverage }
}

/// True for names such as `I7`.
fn is_invariant(name: &str) -> bool {
    INVARIANTS.iter().any(|invariant| invariant.id == name)
}
