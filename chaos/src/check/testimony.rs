//! Facts as sentences of who said them.

use quorus_client::{LedgerEntry, LedgerEvent};
use quorus_proto::v1::{EventType, HistoryEvent, RunStatus, StepStatus};

use super::verdict::Testimony;
use crate::record::{Call, Ending, Fault, Operation, Replica};

/// Turns the nodes' wall time into the experiment's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Wall time at microsecond 0.
    pub(super) wall_at_zero_ms: i64,
    /// Bound between two nodes' clocks, with a moment for the scheduler of the machine.
    pub(super) slack_us: i64,
}

impl Clock {
    /// When an event was decided, in microseconds of the experiment's clock.
    pub(super) fn at_us(&self, event: &HistoryEvent) -> i64 {
        (wall_ms(event) - self.wall_at_zero_ms) * 1000
    }

    /// What a history says.
    pub(super) fn event(&self, event: &HistoryEvent) -> Testimony {
        Testimony { at_us: self.at_us(event), who: "history".to_owned(), said: event_text(event) }
    }
}

/// When an event was decided, in milliseconds since 1970 by its leader.
pub(super) fn wall_ms(event: &HistoryEvent) -> i64 {
    millis(event.time.as_ref())
}

/// When what an event armed is due, in milliseconds since 1970.
pub(super) fn due_ms(event: &HistoryEvent) -> Option<i64> {
    event.due_at.as_ref().map(|due| millis(Some(due)))
}

fn millis(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

/// `EVENT_TYPE_STEP_LEASED` becomes `step leased`.
fn words(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase().replace('_', " ")
}

fn event_text(event: &HistoryEvent) -> String {
    let mut text = format!("#{} {}", event.sequence, words(event.r#type().as_str_name(), "EVENT_TYPE_"));
    let mut add = |word: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!(", {word}{value}"));
        }
    };
    add("", &event.step);
    if event.attempt > 0 {
        add("attempt ", &event.attempt.to_string());
    }
    if event.r#type() == EventType::StepLeased {
        add("token ", &event.token.to_string());
        add("to ", &event.worker);
    }
    add("", &event.outcome);
    if event.r#type() == EventType::StepEnded && event.step_status() != StepStatus::Unspecified {
        add("", &words(event.step_status().as_str_name(), "STEP_STATUS_"));
    }
    if event.r#type() == EventType::RunEnded && event.run_status() != RunStatus::Unspecified {
        add("", &words(event.run_status().as_str_name(), "RUN_STATUS_"));
    }
    add("phase ", &event.phase);
    add("", event.failure.as_ref().map_or("", |failure| &failure.r#type));
    add("signal ", &event.signal);
    add("id ", &event.signal_id);
    add("child ", &event.child_run_uid);
    add("repair ", &event.repair);
    if let Some(due) = due_ms(event) {
        add("due ", &format!("{} ms after it", due - wall_ms(event)));
    }
    text
}

/// What a worker wrote down.
pub(super) fn ledger(entry: &LedgerEntry) -> Testimony {
    let what = match entry.event {
        LedgerEvent::Begin => "begins".to_owned(),
        LedgerEvent::Effect => "does something".to_owned(),
        LedgerEvent::End => format!("ends as {}", entry.outcome),
    };
    Testimony {
        at_us: signed(entry.mono_us),
        who: format!("worker {}", short_worker(&entry.worker)),
        said: format!("{what} {} attempt {} token {}", entry.step, entry.attempt, entry.token),
    }
}

/// `name/incarnation` with a short incarnation.
fn short_worker(worker: &str) -> String {
    match worker.split_once('/') {
        Some((name, incarnation)) => format!("{name}/{}", incarnation.chars().take(6).collect::<String>()),
        None => worker.to_owned(),
    }
}

/// What a client asked, and what it was told.
pub(super) fn operation(operation: &Operation) -> Vec<Testimony> {
    let who = format!("client {}", operation.client);
    let asked = Testimony {
        at_us: signed(operation.invoked_us),
        who: who.clone(),
        said: format!("asks (operation {}): {}", operation.id, call_text(&operation.call)),
    };
    let told = operation.ending.as_ref().map(|ending| Testimony {
        at_us: signed(operation.ended_us.unwrap_or(operation.invoked_us)),
        who,
        said: format!("is told (operation {}): {}", operation.id, ending_text(ending)),
    });
    std::iter::once(asked).chain(told).collect()
}

fn call_text(call: &Call) -> String {
    match call {
        Call::Start { run_id, request_id, workflow, .. } => format!("start run {run_id} of {workflow}, request {request_id}"),
        Call::Signal { run_id, signal, signal_id } => format!("signal {signal} with id {signal_id} to run {run_id}"),
        Call::Approve { run_id, step, subject, approve } => {
            format!("{subject} {} {step} of run {run_id}", if *approve { "approves" } else { "rejects" })
        }
        Call::Cancel { run_id } => format!("cancel run {run_id}"),
        Call::Terminate { run_id } => format!("terminate run {run_id}"),
        Call::Pause { run_id } => format!("pause run {run_id}"),
        Call::Resume { run_id } => format!("resume run {run_id}"),
        Call::Get { run_id, stale } => format!("read run {run_id}{}", if *stale { ", stale is fine" } else { "" }),
        Call::Complete { step, attempt, token, repeated, late, .. } => {
            let how = match (repeated, late) {
                (true, _) => "again",
                (false, true) => "late",
                (false, false) => "in time",
            };
            format!("complete {step} attempt {attempt} token {token} {how}")
        }
    }
}

fn ending_text(ending: &Ending) -> String {
    match ending {
        Ending::Ok(answer) => {
            let accepted = answer.accepted.map(|accepted| if accepted { ", accepted" } else { ", refused" }).unwrap_or_default();
            let status = if answer.status.is_empty() { String::new() } else { format!(", {} at #{}", answer.status, answer.sequence) };
            format!("done{status}{accepted}")
        }
        Ending::Fail { reason } => format!("refused: {reason}"),
        Ending::Info { what } => format!("nobody knows: {what}"),
    }
}

/// What was done to the cluster.
pub(super) fn fault(fault: &Fault) -> Testimony {
    Testimony {
        at_us: signed(fault.at_us),
        who: "nemesis".to_owned(),
        said: format!("{} of {}: {:?}", fault.kind, fault.targets.join(", "), fault.phase).to_lowercase(),
    }
}

/// What a replica says of itself, at the time of the export.
pub(super) fn replica(replica: &Replica, exported_us: u64, said: String) -> Testimony {
    Testimony {
        at_us: signed(exported_us),
        who: format!("node {}, shard {}", replica.node, replica.shard),
        said: format!("applied {} of term {}: {said}", replica.index, replica.term),
    }
}

/// Times are compared with others that may be before the start.
pub(super) fn signed(time_us: u64) -> i64 {
    i64::try_from(time_us).unwrap_or(i64::MAX)
}
