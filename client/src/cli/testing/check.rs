//! Compares a run with what is expected of it.

use std::collections::BTreeMap;

use quorus_engine::{Failure, Payload, StepId};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::{
    expect::{ExpectFailure, ExpectStep},
    file::Delay,
    trace::{since, skip_word, word},
    world::World,
};

/// Something that is not as expected.
#[derive(Debug)]
pub(crate) struct Miss {
    /// The place of the expectation.
    pub(crate) at: Location,
    pub(crate) message: String,
    /// What stands beside the caret.
    pub(crate) label: String,
}

/// Everything that is not as expected.
pub(crate) fn check(world: &World<'_>) -> Vec<Miss> {
    let expect = &world.case().expect;
    let mut misses = Misses(Vec::new());
    let head = world.run.head();
    if let Some(status) = &expect.status {
        misses.word(status, "the run's status", &word(head.status));
    }
    if let Some(failure) = &expect.failure {
        misses.failure(failure.referenced, "the run", &failure.value, head.failure.as_ref());
    }
    if let Some(output) = &expect.output {
        misses.value(output.referenced, "the run's output", &output.value, head.output.as_ref());
    }
    for (id, step) in &expect.steps {
        misses.step(world, id, step);
    }
    let trace = &world.trace;
    if let Some(attempts) = &expect.attempts {
        misses.list(attempts, "the attempts", &trace.attempts);
    }
    if let Some(order) = &expect.order {
        misses.order(order, &trace.ends);
    }
    if let Some(compensations) = &expect.compensations {
        misses.list(compensations, "the compensations", &trace.compensations);
    }
    if let Some(waits) = &expect.waits_for {
        let waiting: Vec<_> = world.waiting().into_iter().map(|(step, _)| step).collect();
        misses.list(waits, "what the run waits for", &waiting);
    }
    if let Some(takes) = &expect.takes {
        let took = since(head.started_at, head.ended_at.unwrap_or(world.now));
        let ms = head.ended_at.unwrap_or(world.now).0 - head.started_at.0;
        let bound = |delay: Delay| i64::try_from(delay.0.0).unwrap_or(i64::MAX);
        let early = takes.value.at_least.is_some_and(|least| ms < bound(least));
        let late = takes.value.at_most.is_some_and(|most| ms > bound(most));
        if early || late {
            misses.add(takes.referenced, "the run's time is not as expected".to_owned(), format!("it took {took}"));
        }
    }
    for (index, reason) in &world.refused {
        let action = &world.case().actions[*index];
        misses.add(action.referenced, format!("action {} did not go as expected", index + 1), reason.clone());
    }
    for (index, action) in world.case().actions.iter().enumerate() {
        if !world.done.contains(&index) {
            misses.add(action.referenced, format!("action {} was never carried out", index + 1), "the run did not get there".to_owned());
        }
    }
    misses.0
}

struct Misses(Vec<Miss>);

impl Misses {
    fn add(&mut self, at: Location, message: String, label: String) {
        self.0.push(Miss { at, message, label });
    }

    fn word(&mut self, expected: &Spanned<String>, what: &str, found: &str) {
        if expected.value != found {
            self.add(expected.referenced, format!("{what} is `{found}`, expected `{}`", expected.value), format!("is `{found}`"));
        }
    }

    fn step(&mut self, world: &World<'_>, id: &str, expected: &Spanned<ExpectStep>) {
        let at = expected.referenced;
        let step = StepId::from(id);
        let state = world.run.step(&step);
        if state.is_none() && world.run.plan().step(&StepId::from(step.planned())).is_none() {
            self.add(at, format!("there is no step `{id}`"), "not in the workflow".to_owned());
            return;
        }
        let ExpectStep { status, skip, attempts, queue, output, failure, input } = &expected.value;
        if let Some(status) = status {
            let found = world.run.step_status(&step).name();
            if status != found {
                self.add(at, format!("step `{id}` is `{found}`, expected `{status}`"), format!("is `{found}`"));
            }
        }
        if let Some(skip) = skip {
            let found = state.and_then(|state| state.skip).map_or("none", skip_word);
            if skip != found {
                self.add(at, format!("the cause of `{id}`'s skip is `{found}`, expected `{skip}`"), format!("is `{found}`"));
            }
        }
        if let Some(attempts) = attempts {
            let found = state.map_or(0, |state| state.attempt);
            if *attempts != found {
                self.add(at, format!("step `{id}` had {found} attempts, expected {attempts}"), format!("had {found}"));
            }
        }
        if let Some(queue) = queue {
            let found = state.map_or("", |state| state.queue.as_str());
            if queue != found {
                self.add(at, format!("step `{id}` waited in queue `{found}`, expected `{queue}`"), format!("in `{found}`"));
            }
        }
        if let Some(output) = output {
            self.value(at, &format!("the output of `{id}`"), output, state.and_then(|state| state.output.as_ref()));
        }
        if let Some(input) = input {
            self.value(at, &format!("the input of `{id}`"), input, state.and_then(|state| state.input.as_ref()));
        }
        if let Some(failure) = failure {
            self.failure(at, &format!("step `{id}`"), failure, state.and_then(|state| state.failure.as_ref()));
        }
    }

    fn failure(&mut self, at: Location, what: &str, expected: &ExpectFailure, found: Option<&Failure>) {
        let Some(found) = found else {
            self.add(at, format!("{what} has no failure"), "did not fail".to_owned());
            return;
        };
        if let Some(kind) = expected.kind.as_ref().filter(|kind| **kind != found.kind) {
            self.add(at, format!("{what} failed with type `{}`, expected `{kind}`", found.kind), format!("is `{}`", found.kind));
        }
        if let Some(message) = expected.message.as_ref().filter(|message| !found.message.contains(*message)) {
            let label = format!("is {:?}", found.message);
            self.add(at, format!("{what} failed with another message, without {message:?}"), label);
        }
    }

    fn value(&mut self, at: Location, what: &str, expected: &Value, found: Option<&Payload>) {
        let found = match found {
            None => Value::Null,
            Some(payload) => match serde_json::from_slice(&payload.data) {
                Ok(value) => value,
                Err(_) => return self.add(at, format!("{what} is not JSON"), format!("{} bytes", payload.data.len())),
            },
        };
        if let Some((path, found)) = difference(expected, &found) {
            let path = if path.is_empty() { String::new() } else { format!(" at `{path}`") };
            self.add(at, format!("{what} is not as expected{path}"), format!("is {found}"));
        }
    }

    /// The same, in the same order.
    fn list(&mut self, expected: &Spanned<Vec<Spanned<String>>>, what: &str, found: &[String]) {
        let given = &expected.value;
        let first = (0..given.len().max(found.len())).find(|&index| given.get(index).map(|one| &one.value) != found.get(index));
        let Some(index) = first else { return };
        let all = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let message = format!("{what} are not as expected; they are: {all}");
        match (given.get(index), found.get(index)) {
            (Some(one), Some(found)) => self.add(one.referenced, message, format!("is `{found}`")),
            (Some(one), None) => self.add(one.referenced, message, "is not there".to_owned()),
            (None, found) => {
                let at = given.last().map_or(expected.referenced, |last| last.referenced);
                self.add(at, message, format!("is followed by `{}`", found.map_or("", String::as_str)));
            }
        }
    }

    /// In this order, whatever is between.
    fn order(&mut self, expected: &Spanned<Vec<Spanned<String>>>, ends: &[String]) {
        let mut last_end = BTreeMap::new();
        for (position, step) in ends.iter().enumerate() {
            last_end.insert(step.as_str(), position);
        }
        let mut before: Option<(usize, &str)> = None;
        for step in &expected.value {
            let Some(&position) = last_end.get(step.value.as_str()) else {
                self.add(step.referenced, format!("step `{}` never ended", step.value), "did not end".to_owned());
                return;
            };
            if let Some((_, name)) = before.filter(|(earlier, _)| *earlier > position) {
                let message = format!("step `{}` ended before `{name}`, not after it", step.value);
                self.add(step.referenced, message, format!("ended before `{name}`"));
                return;
            }
            before = Some((position, step.value.as_str()));
        }
    }
}

/// The first place where a value is not as expected; an object may have more members.
fn difference(expected: &Value, found: &Value) -> Option<(String, Value)> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(name, expected)| {
            let found = found.get(name).unwrap_or(&Value::Null);
            difference(expected, found).map(|(path, found)| (join(name, &path), found))
        }),
        (Value::Array(expected), Value::Array(items)) if expected.len() == items.len() => {
            expected.iter().zip(items).enumerate().find_map(|(index, (expected, found))| {
                difference(expected, found).map(|(path, found)| (join(&format!("[{index}]"), &path), found))
            })
        }
        (Value::Number(expected), Value::Number(number)) if expected.as_f64() == number.as_f64() => None,
        (expected, found) => (expected != found).then(|| (String::new(), found.clone())),
    }
}

fn join(name: &str, path: &str) -> String {
    if path.is_empty() || path.starts_with('[') { format!("{name}{path}") } else { format!("{name}.{path}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_may_have_more_members() {
        assert_eq!(difference(&json!({"a": 1}), &json!({"a": 1.0, "b": 2})), None);
        let found = difference(&json!({"a": {"b": [1, 2]}}), &json!({"a": {"b": [1, 3]}}));
        assert_eq!(found, Some(("a.b[1]".to_owned(), json!(3))));
        assert_eq!(difference(&json!([1]), &json!([1, 2])), Some((String::new(), json!([1, 2]))));
        assert_eq!(difference(&json!({"a": null}), &json!({})), None);
    }
}
