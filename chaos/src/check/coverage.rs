//! What an experiment did and saw, counted.
//!
//! | name | counts |
//! |---|---|
//! | `operations`, `operations.<call>`, `operations.<call>.<ok, fail or info>` | calls of clients |
//! | `faults`, `faults.on_leader`, `faults.<kind>`, `faults.<kind>.on_leader` | faults in force, and those on a leader of a shard |
//! | `runs`, `runs.<status>`, `steps`, `attempts`, `attempts.<outcome>` | what is recorded |
//! | `executions` | attempts that workers began |
//! | `lease_expiries` | attempts that were given up because their worker was lost |
//! | `stale_completions_refused` | outcomes that came late and were refused |
//! | `repeated_completions` | outcomes that were sent again, and accepted |
//! | `leader_changes_with_open_leases` | faults on a leader while a run of a shard that it led had a lease |
//! | `compensations`, `compensations_under_fault` | steps that were undone, and those while a fault was in force |
//! | `retries`, `timers`, `signals`, `approvals`, `children`, `repairs` | as they are recorded |
//! | `snapshot_installs`, `membership_changes`, `power_losses` | as the faults say |
//!
//! The names are those of `expects` in the setup. There, a fault's kind may stand without `faults.`, and `I7` means facts that invariant I7 looked at.

use std::collections::BTreeMap;

use quorus_proto::v1::EventType;

use super::{i14_power_loss, joined::Joined, path, standing, testimony::signed};
use crate::record::{Call, Ending, FaultPhase};

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Coverage(pub BTreeMap<String, u64>);

/// Names that are always there, so that a zero shows.
const ALWAYS: [&str; 24] = [
    "operations",
    "faults",
    "faults.on_leader",
    "runs",
    "steps",
    "attempts",
    "executions",
    "lease_expiries",
    "stale_completions_refused",
    "repeated_completions",
    "leader_changes_with_open_leases",
    "compensations",
    "compensations_under_fault",
    "retries",
    "timers",
    "signals",
    "approvals",
    "children",
    "repairs",
    "snapshot_installs",
    "membership_changes",
    "power_losses",
    "operations.ok",
    "operations.info",
];

impl Coverage {
    pub(super) fn of(joined: &Joined<'_>) -> Self {
        let mut coverage = Self(ALWAYS.into_iter().map(|name| (name.to_owned(), 0)).collect());
        coverage.operations(joined);
        coverage.faults(joined);
        coverage.runs(joined);
        coverage.executions(joined);
        coverage
    }

    /// How often, by a name of the table or a kind of fault; 0 for what nobody counted.
    pub fn get(&self, name: &str) -> u64 {
        let counted = self.0.get(name).or_else(|| self.0.get(&format!("faults.{name}")));
        counted.copied().unwrap_or(0)
    }

    fn add(&mut self, name: impl Into<String>, count: u64) {
        *self.0.entry(name.into()).or_default() += count;
    }

    fn operations(&mut self, joined: &Joined<'_>) {
        for operation in &joined.evidence.operations {
            let call = match operation.call {
                Call::Start { .. } => "start",
                Call::Signal { .. } => "signal",
                Call::Approve { .. } => "approve",
                Call::Cancel { .. } => "cancel",
                Call::Terminate { .. } => "terminate",
                Call::Pause { .. } => "pause",
                Call::Resume { .. } => "resume",
                Call::Get { .. } => "get",
                Call::Complete { .. } => "complete",
            };
            let ending = match operation.ending {
                Some(Ending::Ok(_)) => "ok",
                Some(Ending::Fail { .. }) => "fail",
                Some(Ending::Info { .. }) | None => "info",
            };
            for name in [
                "operations".to_owned(),
                format!("operations.{ending}"),
                format!("operations.{call}"),
                format!("operations.{call}.{ending}"),
            ] {
                self.add(name, 1);
            }
            if let Call::Complete { repeated, late, .. } = operation.call {
                let accepted = operation.answer().map(|answer| answer.accepted.unwrap_or(true)).or(operation.refusal().map(|_| false));
                self.add("stale_completions_refused", u64::from(late && accepted == Some(false)));
                self.add("repeated_completions", u64::from(repeated && accepted == Some(true)));
            }
        }
    }

    fn faults(&mut self, joined: &Joined<'_>) {
        let leases = open_leases(joined);
        for fault in joined.evidence.faults.iter().filter(|fault| fault.phase == FaultPhase::Installed) {
            let on_leader = !fault.led_shards.is_empty();
            self.add("faults", 1);
            self.add(format!("faults.{}", fault.kind), 1);
            self.add("faults.on_leader", u64::from(on_leader));
            self.add(format!("faults.{}.on_leader", fault.kind), u64::from(on_leader));
            let at = signed(fault.at_us);
            let held = |shard: &u32| leases.get(shard).is_some_and(|leases| leases.iter().any(|(from, to)| *from <= at && at < *to));
            self.add("leader_changes_with_open_leases", u64::from(fault.led_shards.iter().any(held)));
            let says = |words: &[&str]| u64::from(words.iter().any(|word| fault.kind.contains(word)));
            self.add("snapshot_installs", says(&["snapshot"]));
            self.add("membership_changes", says(&["member", "join", "leave"]));
            self.add("power_losses", u64::from(i14_power_loss::is_power_loss(fault)));
        }
    }

    fn runs(&mut self, joined: &Joined<'_>) {
        for run in joined.runs.values() {
            self.add("runs", 1);
            if let Some(status) = standing::statuses(&run.record.events).last() {
                self.add(format!("runs.{}", status.as_str_name().trim_start_matches("RUN_STATUS_").to_lowercase()), 1);
            }
            for event in &run.record.events {
                let name = match event.r#type() {
                    EventType::StepWaiting | EventType::ScopeRetried => "timers",
                    EventType::SignalReceived => "signals",
                    EventType::ApprovalRecorded => "approvals",
                    EventType::ChildStarted => "children",
                    EventType::Repaired => "repairs",
                    _ => continue,
                };
                self.add(name, 1);
            }
            for (step, view) in &run.steps {
                self.add("steps", 1);
                self.add("compensations", u64::from(path::undoes(step).is_some() && view.of_type(EventType::StepEnded).next().is_some()));
                for attempt in &view.attempts {
                    self.add("attempts", 1);
                    let outcome = attempt.outcome();
                    if !outcome.is_empty() {
                        self.add(format!("attempts.{outcome}"), 1);
                    }
                    self.add("lease_expiries", u64::from(outcome == "abandoned"));
                    self.add("retries", u64::from(attempt.ended.is_some_and(|ended| ended.due_at.is_some())));
                    // It ended in the worker's eyes, and that is not what was recorded.
                    let late = matches!(outcome, "abandoned" | "timed_out").then(|| {
                        let execution = joined.executions(run.uid(), step).iter().find(|known| known.token == attempt.leased.token);
                        execution
                            .and_then(|execution| execution.end)
                            .is_some_and(|end| matches!(end.outcome.as_str(), "succeeded" | "failed"))
                    });
                    self.add("stale_completions_refused", u64::from(late == Some(true)));
                }
            }
        }
    }

    fn executions(&mut self, joined: &Joined<'_>) {
        for ((_, step), executions) in &joined.executed {
            for execution in executions {
                self.add("executions", 1);
                let (from, to) = (execution.begun_us(), execution.lines().map(|line| signed(line.mono_us)).max().unwrap_or(0));
                let under_fault =
                    path::undoes(step).is_some() && joined.windows.iter().any(|window| window.from_us <= to && from <= window.to_us);
                self.add("compensations_under_fault", u64::from(under_fault));
            }
        }
    }
}

/// When leases were held, by shard.
fn open_leases(joined: &Joined<'_>) -> BTreeMap<u32, Vec<(i64, i64)>> {
    let mut leases: BTreeMap<u32, Vec<(i64, i64)>> = BTreeMap::new();
    for run in joined.runs.values() {
        for attempt in run.steps.values().flat_map(|view| &view.attempts) {
            let from = joined.clock.at_us(attempt.leased);
            let to = attempt.ended.map_or(i64::MAX, |ended| joined.clock.at_us(ended));
            leases.entry(run.shard).or_default().push((from, to));
        }
    }
    leases
}
