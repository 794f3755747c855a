//! Single runs to look into. Those that matter come first: violated ones, those that failed or whose end is not known, those with more than one attempt
//! of a step, the slowest; then others, spread evenly over time.

use std::collections::BTreeMap;

use quorus_client::{LedgerEntry, LedgerEvent};
use serde::Serialize;

use super::{
    material::Material,
    series::{End, Series},
};
use crate::record::{Call, Ending, Operation};

/// How many runs are in a page at most.
const RUNS_MAX: usize = 400;
/// How many bars they have together at most.
const BARS_MAX: usize = 12_000;

/// A run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Never reused.
    pub uid: String,
    /// The workflow's name.
    pub workflow: String,
    /// `succeeded`, ..., if the replicas say so.
    pub status: String,
    /// Why it is worth a look.
    pub mark: String,
    /// The first moment, in milliseconds since the beginning.
    pub from: f64,
    /// The last one.
    pub to: f64,
    /// What clients asked.
    pub calls: Vec<Bar>,
    /// What workers did, by step.
    pub attempts: Vec<Bar>,
    /// What is wrong.
    pub violations: Vec<String>,
}

/// Something with a beginning and an end, in milliseconds since the beginning.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// The step, or the call.
    pub row: String,
    /// When it began.
    pub from: f64,
    /// When it ended; none if nobody wrote that down.
    pub to: Option<f64>,
    /// `succeeded`, `ok`, ...
    pub end: String,
    /// Attempt, token, worker; client.
    pub note: String,
    /// Moments in between at which something became visible outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<f64>,
}

/// The runs of a page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Runs {
    /// How many there were.
    pub total: usize,
    /// Those to look into.
    pub list: Vec<Run>,
}

/// What was written about the attempts of a run, by step, number and token.
type Attempts<'a> = BTreeMap<(&'a str, u32, u64), Vec<&'a LedgerEntry>>;

/// Chooses runs and gathers what is known about them.
pub fn gather(material: &Material, series: &Series) -> Runs {
    let evidence = &material.evidence;
    let relative = |at: u64| (at.saturating_sub(series.from_us) as f64 / 1_000.0 * 100.0).round() / 100.0;
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    let mut attempts: BTreeMap<&str, Attempts<'_>> = BTreeMap::new();
    for entry in evidence.ledger.iter().filter(|entry| entry.mono_us > 0) {
        ids.insert(&entry.run_uid, &entry.run_id);
        attempts.entry(&entry.run_id).or_default().entry((&entry.step, entry.attempt, entry.token)).or_default().push(entry);
        let run = runs.entry(entry.run_id.clone()).or_default();
        entry.run_uid.clone_into(&mut run.uid);
    }
    let mut calls: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &evidence.operations {
        let about = operation.call.run();
        let id = ids.get(about).copied().unwrap_or(about);
        calls.entry(id).or_default().push(operation);
        let run = runs.entry(id.to_owned()).or_default();
        if let Call::Start { workflow, .. } = &operation.call {
            workflow.clone_into(&mut run.workflow);
        }
        if let Some(Ending::Ok(answer)) = &operation.ending
            && run.uid.is_empty()
        {
            answer.run_uid.clone_into(&mut run.uid);
        }
    }
    for recorded in evidence.histories().into_values() {
        let run = runs.entry(recorded.run_id.clone()).or_default();
        recorded.run_uid.clone_into(&mut run.uid);
        recorded.workflow.clone_into(&mut run.workflow);
        run.status = recorded.status.trim_start_matches("RUN_STATUS_").to_ascii_lowercase();
    }
    let violations = material.violations();
    for (id, run) in &mut runs {
        run.id.clone_from(id);
        run.calls = calls.remove(id.as_str()).unwrap_or_default().into_iter().map(|call| call_bar(call, &relative)).collect();
        let entries = attempts.remove(id.as_str()).unwrap_or_default();
        run.attempts = entries.into_iter().map(|(key, entries)| attempt_bar(key, &entries, &relative)).collect();
        run.attempts.sort_by(|left, right| left.from.total_cmp(&right.from));
        let about = |key: &&str| key.contains(id.as_str()) || (!run.uid.is_empty() && key.contains(run.uid.as_str()));
        run.violations = violations.iter().filter(|(key, _)| about(key)).flat_map(|(_, texts)| texts.clone()).collect();
        let bars = || run.calls.iter().chain(&run.attempts);
        run.from = bars().map(|bar| bar.from).fold(f64::INFINITY, f64::min);
        run.to = bars().flat_map(|bar| [Some(bar.from), bar.to]).flatten().fold(0.0, f64::max);
        if !run.from.is_finite() {
            run.from = 0.0;
        }
        run.mark = mark(run);
    }
    let total = runs.len();
    Runs { total, list: choose(runs.into_values().collect()) }
}

fn mark(run: &Run) -> String {
    let mut steps: BTreeMap<&str, u32> = BTreeMap::new();
    for bar in &run.attempts {
        *steps.entry(&bar.row).or_default() += 1;
    }
    let open = run.attempts.iter().any(|bar| bar.to.is_none());
    let unknown = run.calls.iter().any(|bar| bar.end == "info");
    let mark = if !run.violations.is_empty() {
        "violated"
    } else if open {
        "an attempt without an end"
    } else if unknown {
        "an answer that nobody got"
    } else if steps.values().any(|count| *count > 1) {
        "several attempts"
    } else if !matches!(run.status.as_str(), "" | "succeeded") {
        "did not succeed"
    } else {
        ""
    };
    mark.to_owned()
}

fn choose(mut runs: Vec<Run>) -> Vec<Run> {
    let weight = |run: &Run| match run.mark.as_str() {
        "violated" => 0,
        "an attempt without an end" => 1,
        "an answer that nobody got" => 2,
        "several attempts" => 3,
        "did not succeed" => 4,
        _ => 5,
    };
    if runs.len() > RUNS_MAX {
        // Half for those that stand out, a quarter for the slowest, the rest evenly over time.
        runs.sort_by(|left, right| weight(left).cmp(&weight(right)).then(left.from.total_cmp(&right.from)));
        let mut others = runs.split_off(runs.iter().filter(|run| weight(run) < 5).count().min(RUNS_MAX / 2));
        others.sort_by(|left, right| (right.to - right.from).total_cmp(&(left.to - left.from)));
        let rest = others.split_off(RUNS_MAX / 4);
        runs.append(&mut others);
        let mut rest: Vec<Run> = rest;
        rest.sort_by(|left, right| left.from.total_cmp(&right.from));
        let room = RUNS_MAX - runs.len();
        let every = rest.len().div_ceil(room.max(1)).max(1);
        runs.extend(rest.into_iter().step_by(every));
    }
    runs.sort_by(|left, right| weight(left).cmp(&weight(right)).then(left.from.total_cmp(&right.from)));
    let mut bars = 0;
    runs.retain(|run| {
        bars += run.calls.len() + run.attempts.len();
        bars <= BARS_MAX || !run.violations.is_empty()
    });
    runs
}

fn call_bar(operation: &Operation, relative: &impl Fn(u64) -> f64) -> Bar {
    let (end, what) = match &operation.ending {
        Some(Ending::Ok(answer)) => (End::Ok, answer.status.trim_start_matches("RUN_STATUS_").to_ascii_lowercase()),
        Some(Ending::Fail { reason }) => (End::Fail, reason.clone()),
        Some(Ending::Info { what }) => (End::Info, what.clone()),
        None => (End::Info, "no answer".to_owned()),
    };
    let row = serde_json::to_value(&operation.call).ok().and_then(|call| call["kind"].as_str().map(str::to_owned)).unwrap_or_default();
    let end = match end {
        End::Ok => "ok",
        End::Fail => "fail",
        End::Info => "info",
    };
    let note = [operation.client.as_str(), what.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ");
    Bar { row, from: relative(operation.invoked_us), to: operation.ended_us.map(relative), end: end.to_owned(), note, effects: Vec::new() }
}

fn attempt_bar((step, attempt, token): (&str, u32, u64), entries: &[&LedgerEntry], relative: &impl Fn(u64) -> f64) -> Bar {
    let first = |event: LedgerEvent| entries.iter().filter(|entry| entry.event == event).map(|entry| entry.mono_us).min();
    let last = entries.iter().filter(|entry| entry.event == LedgerEvent::End).max_by_key(|entry| entry.mono_us);
    let worker = entries.first().map(|entry| entry.worker.as_str()).unwrap_or_default();
    let begins = entries.iter().filter(|entry| entry.event == LedgerEvent::Begin).count();
    let twice = if begins > 1 { format!(", begun {begins} times") } else { String::new() };
    Bar {
        row: step.to_owned(),
        from: relative(first(LedgerEvent::Begin).or_else(|| entries.iter().map(|entry| entry.mono_us).min()).unwrap_or(0)),
        to: last.map(|entry| relative(entry.mono_us)),
        end: last.map_or_else(|| "no end".to_owned(), |entry| entry.outcome.clone()),
        note: format!("attempt {attempt}, token {token}, {worker}{twice}"),
        effects: entries.iter().filter(|entry| entry.event == LedgerEvent::Effect).map(|entry| relative(entry.mono_us)).collect(),
    }
}
