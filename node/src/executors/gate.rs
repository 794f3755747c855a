//! `gate` steps: looks at metrics until a condition has held for a while. Guards: look until the condition was broken for a while.
//!
//! Each look asks all queries at once; [`query`] asks, [`condition`] judges, [`watch`] adds looks up. How long the condition has held is kept in
//! checkpoints, so that another node goes on from there; the time in which nobody looked does not count.

mod condition;
mod query;
mod watch;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::{
    condition::Conditions,
    query::{Query, QuerySpec},
    watch::{Look, Rules, Verdict, Watch},
};
use super::{
    Services,
    attempt::{Attempt, Ending, Fault, Stop, cancelled, payload, released, succeeded},
};

/// The task type.
pub(super) const TASK_TYPE: &str = "quorus.gate";

/// What a step asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateRequest {
    queries: BTreeMap<String, QuerySpec>,
    #[serde(default)]
    single: bool,
    condition: String,
    #[serde(default)]
    fail_if: Option<String>,
    interval_ms: u64,
    #[serde(default)]
    hold_for_ms: u64,
    #[serde(default)]
    no_data: NoData,
    #[serde(default)]
    guard: bool,
    #[serde(default)]
    breach_for_ms: u64,
}

/// What a look without data means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoData {
    #[default]
    Wait,
    Fail,
}

/// What is kept for the next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// How long the condition has held (of a guard: was broken) without a break.
    ms: u64,
}

/// Executes an attempt.
pub(super) async fn execute(services: &Services, attempt: &Attempt) -> Ending {
    let mut gate = match Gate::new(attempt) {
        Ok(gate) => gate,
        Err(fault) => return fault.ending(),
    };
    loop {
        let looked = tokio::select! {
            biased;
            stop = attempt.stopped() => return gate.stopped(&stop),
            looked = gate.look(services, attempt) => looked,
        };
        if let Some(ending) = looked {
            return ending;
        }
        tokio::select! {
            biased;
            stop = attempt.stopped() => return gate.stopped(&stop),
            () = tokio::time::sleep(gate.rules.interval) => {}
        }
    }
}

struct Gate {
    queries: BTreeMap<String, Query>,
    conditions: Conditions,
    rules: Rules,
    watch: Watch,
    began: Instant,
    kept: Kept,
}

impl Gate {
    fn new(attempt: &Attempt) -> Result<Self, Fault> {
        let request: GateRequest = attempt.request()?;
        let millis = Duration::from_millis;
        let rules = Rules {
            interval: millis(request.interval_ms.max(1)),
            hold_for: millis(if request.guard { request.breach_for_ms } else { request.hold_for_ms }),
            guard: request.guard,
            no_data_fails: request.no_data == NoData::Fail,
        };
        let mut queries = BTreeMap::new();
        for (name, spec) in request.queries {
            queries.insert(name, Query::new(spec, attempt)?);
        }
        let names: Vec<&str> = queries.keys().map(String::as_str).collect();
        let names = (!request.single).then_some(names.as_slice());
        let conditions = Conditions::new(names, &request.condition, request.fail_if.as_deref())?;
        let kept: Kept = attempt.last_checkpoint().unwrap_or_default();
        let watch = Watch::new(rules, millis(kept.ms));
        Ok(Self { queries, conditions, rules, watch, began: Instant::now(), kept })
    }

    /// Looks once; the ending, if that settles it.
    async fn look(&mut self, services: &Services, attempt: &Attempt) -> Option<Ending> {
        let asked = self.queries.iter().map(|(name, query)| async move { (name.clone(), query.ask(services).await) });
        let answers = futures::future::join_all(asked).await;
        attempt.progress();
        let mut values = BTreeMap::new();
        let mut look = None;
        for (name, answer) in answers {
            match answer {
                Ok(Some(value)) => drop(values.insert(name, value)),
                Ok(None) => look = look.or(Some(Look::NoData(name))),
                // A query that can't be asked says more than one without data.
                Err(why) => look = Some(Look::Error(format!("query `{name}`: {why}"))),
            }
        }
        let look = match look {
            Some(look) => look,
            None => match self.conditions.judge(&values) {
                Ok(look) => look,
                Err(fault) => return Some(fault.ending()),
            },
        };
        match self.watch.add(self.began.elapsed(), look) {
            Verdict::GoOn => {
                self.keep(attempt);
                None
            }
            Verdict::Passed => Some(succeeded(&json!({"values": numbers(&values)}))),
            Verdict::Failed(fault) => Some(fault.details(&json!({"values": numbers(&values)})).ending()),
        }
    }

    /// Keeps progress when it is lost, and every so often when it grows: each time is a commit.
    fn keep(&mut self, attempt: &Attempt) {
        let now = self.progress();
        let grown = Duration::from_millis(now.ms.saturating_sub(self.kept.ms));
        if now.ms < self.kept.ms || grown >= self.rules.keep_every() {
            self.kept = now;
            attempt.note(&now);
        }
    }

    fn progress(&self) -> Kept {
        Kept { ms: u64::try_from(self.watch.progress().as_millis()).unwrap_or(u64::MAX) }
    }

    fn stopped(&self, stop: &Stop) -> Ending {
        match stop {
            Stop::Draining { .. } => released(Some(payload(&self.progress()))),
            // Looking changes nothing.
            Stop::Cancelled { .. } | Stop::LeaseLost => cancelled(true),
        }
    }
}

/// JSON has no NaN and no infinity; they are texts, as in Prometheus' answers.
fn numbers(values: &BTreeMap<String, f64>) -> Value {
    let number = |value: f64| match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => Value::from(value.to_string()),
    };
    Value::Object(values.iter().map(|(name, value)| (name.clone(), number(*value))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests;
