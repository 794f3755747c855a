//! Joins what the cluster says with what the workers wrote down.
//!
//! Per step of an accepted run, with `b` attempts that workers began and `f` that they reported as failed:
//!
//! | finding | when |
//! |---|---|
//! | lost | the run did not succeed, or a task counts as succeeded but no worker wrote that it did |
//! | orphaned | an attempt was begun and never ended, or was begun for a run or step that nobody knows |
//! | duplicated | `b > 1 + f`: an attempt that no reported failure explains; or two ends that both say succeeded |

use std::collections::{BTreeMap, BTreeSet};

use quorus_client::{LedgerEntry, LedgerEvent};
use quorus_proto::v1::{Run, RunStatus, StepStatus};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Runs that were accepted.
    pub runs: usize,
    /// Steps of their plans.
    pub steps: usize,
    /// Attempts that workers began.
    pub attempts: usize,
    /// What was lost, one sentence each.
    pub lost: Vec<String>,
    /// What was orphaned.
    pub orphaned: Vec<String>,
    /// What was duplicated.
    pub duplicated: Vec<String>,
}

impl Audit {
    /// True if nothing was found.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.orphaned.is_empty() && self.duplicated.is_empty()
    }
}

/// What the ledgers say about one step of one run.
#[derive(Default)]
struct Done {
    begun: BTreeSet<(u32, u64)>,
    begun_twice: usize,
    ended: BTreeSet<(u32, u64)>,
    succeeded: usize,
    failed: usize,
}

/// Audits runs in their final state. `accepted` are the ids of all runs whose start was acknowledged.
pub fn audit(accepted: &BTreeSet<String>, runs: &[Run], entries: &[LedgerEntry]) -> Audit {
    let mut ledger: BTreeMap<(&str, &str), Done> = BTreeMap::new();
    for entry in entries {
        ledger.entry((&entry.run_uid, &entry.step)).or_default().note(entry);
    }
    let attempts = ledger.values().map(|done| done.begun.len() + done.begun_twice).sum();
    let mut audit = Audit { runs: accepted.len(), steps: 0, attempts, ..Audit::default() };
    let found: BTreeSet<&str> = runs.iter().map(|run| run.run_id.as_str()).collect();
    for id in accepted.iter().filter(|id| !found.contains(id.as_str())) {
        audit.lost.push(format!("run {id}: accepted, and now nobody knows it"));
    }
    for run in runs {
        audit.steps += run.steps.len();
        if run.status() != RunStatus::Succeeded {
            audit.lost.push(format!("run {}: ended as {}", run.run_id, run.status().as_str_name()));
        }
        for step in &run.steps {
            let place = format!("run {} step {}", run.run_id, step.step);
            let done = ledger.remove(&(run.run_uid.as_str(), step.step.as_str())).unwrap_or_default();
            if step.status() != StepStatus::Succeeded {
                audit.lost.push(format!("{place}: ended as {}", step.status().as_str_name()));
            } else if step.kind == "task" && done.succeeded == 0 {
                audit.lost.push(format!("{place}: succeeded, but no worker wrote that it did"));
            }
            done.judge(&place, &mut audit);
        }
    }
    for ((uid, step), done) in ledger {
        audit.orphaned.push(format!("run uid {uid} step {step}: {} attempts of what nobody accepted", done.begun.len()));
    }
    audit
}

impl Done {
    fn note(&mut self, entry: &LedgerEntry) {
        let attempt = (entry.attempt, entry.token);
        match entry.event {
            LedgerEvent::Begin => self.begun_twice += usize::from(!self.begun.insert(attempt)),
            LedgerEvent::Effect => {}
            LedgerEvent::End => {
                self.ended.insert(attempt);
                self.succeeded += usize::from(entry.outcome == "succeeded");
                self.failed += usize::from(entry.outcome == "failed");
            }
        }
    }

    fn judge(&self, place: &str, audit: &mut Audit) {
        for (attempt, token) in self.begun.difference(&self.ended) {
            audit.orphaned.push(format!("{place}: attempt {attempt} (token {token}) was begun and never ended"));
        }
        let begun = self.begun.len() + self.begun_twice;
        if begun > 1 + self.failed {
            audit.duplicated.push(format!("{place}: {begun} attempts, {} reported failures", self.failed));
        } else if self.succeeded > 1 {
            audit.duplicated.push(format!("{place}: succeeded {} times", self.succeeded));
        }
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::StepState;

    use super::*;

    fn run(status: RunStatus, steps: &[(&str, StepStatus)]) -> Run {
        let steps = steps
            .iter()
            .map(|(id, status)| StepState {
                step: (*id).to_owned(),
                kind: "task".to_owned(),
                status: (*status).into(),
                ..StepState::default()
            })
            .collect();
        Run { run_id: "r".to_owned(), run_uid: "u".to_owned(), status: status.into(), steps, ..Run::default() }
    }

    fn line(event: LedgerEvent, step: &str, attempt: u32, outcome: &str) -> LedgerEntry {
        LedgerEntry {
            event,
            namespace: "default".to_owned(),
            run_id: "r".to_owned(),
            run_uid: "u".to_owned(),
            step: step.to_owned(),
            attempt,
            token: u64::from(attempt),
            worker: "w".to_owned(),
            time_ms: 0,
            mono_us: 0,
            input_sha256: String::new(),
            output_sha256: String::new(),
            outcome: outcome.to_owned(),
        }
    }

    fn attempt(step: &str, attempt: u32, outcome: &str) -> [LedgerEntry; 2] {
        [line(LedgerEvent::Begin, step, attempt, ""), line(LedgerEvent::End, step, attempt, outcome)]
    }

    fn audit_one(run: Run, entries: &[LedgerEntry]) -> Audit {
        audit(&BTreeSet::from(["r".to_owned()]), &[run], entries)
    }

    #[test]
    fn one_attempt_and_one_per_reported_failure_are_clean() {
        let entries = [attempt("a", 1, "failed"), attempt("a", 2, "succeeded")].concat();
        let audit = audit_one(run(RunStatus::Succeeded, &[("a", StepStatus::Succeeded)]), &entries);
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!((audit.runs, audit.steps, audit.attempts), (1, 1, 2));
    }

    #[test]
    fn an_attempt_that_no_failure_explains_is_a_duplicate() {
        let again = [attempt("a", 1, "lost"), attempt("a", 2, "succeeded")].concat();
        assert_eq!(audit_one(run(RunStatus::Succeeded, &[("a", StepStatus::Succeeded)]), &again).duplicated.len(), 1);
        let twice = [attempt("a", 1, "succeeded"), attempt("a", 1, "succeeded")].concat();
        assert_eq!(audit_one(run(RunStatus::Succeeded, &[("a", StepStatus::Succeeded)]), &twice).duplicated.len(), 1);
    }

    #[test]
    fn an_attempt_without_an_end_or_of_nobody_is_an_orphan() {
        let entries = [attempt("a", 1, "succeeded").to_vec(), vec![line(LedgerEvent::Begin, "x", 1, "")]].concat();
        let audit = audit_one(run(RunStatus::Succeeded, &[("a", StepStatus::Succeeded)]), &entries);
        assert_eq!((audit.lost.len(), audit.orphaned.len()), (0, 1), "{audit:?}");
        let open = [attempt("a", 1, "failed").to_vec(), vec![line(LedgerEvent::Begin, "a", 2, "")]].concat();
        let audit = audit_one(run(RunStatus::Succeeded, &[("a", StepStatus::Succeeded)]), &open);
        assert_eq!((audit.lost.len(), audit.orphaned.len()), (1, 1), "succeeded, but nobody wrote so: {audit:?}");
    }

    #[test]
    fn a_run_that_is_gone_or_did_not_succeed_is_lost() {
        assert_eq!(audit(&BTreeSet::from(["r".to_owned()]), &[], &[]).lost.len(), 1);
        let failed = run(RunStatus::Failed, &[("a", StepStatus::Failed)]);
        assert_eq!(audit_one(failed, &attempt("a", 1, "failed")).lost.len(), 2);
    }
}
