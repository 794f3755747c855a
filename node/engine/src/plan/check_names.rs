//! Names: of the workflow, of steps, queues and task types.

use std::collections::BTreeMap;

use super::flatten::Flat;
use super::types::{Accept, PlannedNeed};
use super::{Problem, did_you_mean};
use crate::{AcceptedEnd, Definition, StepDefinition};

/// Step ids are parts of keys, paths and expressions.
const STEP_ID_CHARS_MAX: usize = 63;
/// Names that are only compared and shown.
const NAME_CHARS_MAX: usize = 128;

/// Nobody reads further, and looking for what was meant costs a comparison with each id.
pub(super) const HINTED_MAX: usize = 100;

/// Checks all names.
pub(super) fn check(definition: &Definition, flat: &Flat<'_>, problems: &mut Vec<Problem>) {
    name("metadata.name", "the workflow's name", &definition.name, "invalid-name", problems);
    if !definition.namespace.is_empty() {
        name("metadata.namespace", "the namespace", &definition.namespace, "invalid-namespace", problems);
    }
    if definition.steps.is_empty() {
        problems.push(Problem::error("spec.steps", "no-steps", "a workflow needs at least one step"));
    }
    for signal in definition.signals.keys() {
        word(&format!("spec.signals.{signal}"), "the signal's name", signal, "invalid-signal", problems);
    }
    for (index, vertex) in flat.vertices.iter().enumerate() {
        let Some(step) = vertex.step() else { continue };
        let path = || format!("{}.id", vertex.path);
        if !is_step_id(&step.id) {
            problems.push(bad_step_id(path(), &step.id));
        } else if let Some(first) = flat.by_id.get(step.id.as_str()).filter(|first| **first != index) {
            let message = format!("the id `{}` is taken by {}", step.id, flat.vertices[*first].path);
            problems.push(Problem::error(path(), "duplicate-id", message).with_hint("each step of the workflow needs an id of its own"));
        }
    }
}

/// Checks what steps need; returns the edges by position, without those that are wrong.
pub(super) fn needs(flat: &Flat<'_>, problems: &mut Vec<Problem>) -> Vec<Vec<PlannedNeed>> {
    flat.vertices
        .iter()
        .enumerate()
        .map(|(index, vertex)| vertex.step().map_or_else(Vec::new, |step| one(flat, index, step, problems)))
        .collect()
}

fn one(flat: &Flat<'_>, index: usize, step: &StepDefinition, problems: &mut Vec<Problem>) -> Vec<PlannedNeed> {
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    let mut ordered = Vec::with_capacity(step.needs.len());
    for (position, need) in step.needs.iter().enumerate() {
        let path = format!("{}.needs[{position}]", flat.vertices[index].path);
        let Some(&needed) = flat.by_id.get(need.step.as_str()) else {
            let mut problem = Problem::error(path, "unknown-step", format!("there is no step `{}`", need.step));
            if problems.len() < HINTED_MAX {
                problem.hint = did_you_mean(&need.step, flat.by_id.keys().copied().filter(|id| *id != step.id));
            }
            problems.push(problem);
            continue;
        };
        if needed == index {
            problems.push(Problem::error(path, "self-need", format!("the step `{}` needs itself", need.step)));
        } else if let Some(first) = known.insert(needed, position) {
            problems.push(Problem::error(path, "duplicate-need", format!("`{}` is already in needs[{first}]", need.step)));
        } else if !same_scope(flat, needed, index) {
            problems.push(crosses_scopes(flat, path, index, needed));
        } else {
            ordered.push(PlannedNeed { index: needed, accept: accept(&need.accept) });
        }
    }
    ordered
}

fn same_scope(flat: &Flat<'_>, one: usize, other: usize) -> bool {
    let (one, other) = (&flat.vertices[one], &flat.vertices[other]);
    one.parent == other.parent && one.role == other.role
}

fn crosses_scopes(flat: &Flat<'_>, path: String, index: usize, needed: usize) -> Problem {
    let id = |vertex: usize| &flat.vertices[vertex].id;
    let code = "need-crosses-scopes";
    if flat.containers(index).any(|container| container == needed) {
        let message = format!("`{}` is the container that `{}` is in", id(needed), id(index));
        return Problem::error(path, code, message).with_hint("remove it: the steps inside start with their container");
    }
    let problem = Problem::error(path, code, format!("`{}` is in another scope than `{}`", id(needed), id(index)));
    // The container of the needed step that stands beside this one, or the other way around.
    if let Some(beside) = flat.containers(needed).find(|&container| same_scope(flat, container, index)) {
        return problem.with_hint(format!("need `{}`, which it is in", id(beside)));
    }
    if let Some(beside) = flat.containers(index).find(|&container| same_scope(flat, container, needed)) {
        return problem.with_hint(format!("let `{}` need it, which this step is in", id(beside)));
    }
    problem.with_hint("steps can need only steps of the same list")
}

fn accept(ends: &[AcceptedEnd]) -> Accept {
    if ends.is_empty() {
        return Accept::default();
    }
    let skipped = ends.contains(&AcceptedEnd::Skipped);
    Accept {
        succeeded: ends.contains(&AcceptedEnd::Succeeded),
        failed: ends.contains(&AcceptedEnd::Failed),
        skipped,
        skipped_upstream: skipped,
    }
}

fn is_step_id(id: &str) -> bool {
    id.len() <= STEP_ID_CHARS_MAX
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn bad_step_id(path: String, id: &str) -> Problem {
    if id.is_empty() {
        return Problem::error(path, "invalid-id", "the step has no id");
    }
    if id.len() > STEP_ID_CHARS_MAX {
        return Problem::error(path, "invalid-id", format!("the id has {} characters, more than {STEP_ID_CHARS_MAX}", id.chars().count()));
    }
    let mut fixed: String = id.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !fixed.starts_with(|c: char| c.is_ascii_lowercase()) {
        fixed.insert_str(0, "step_");
    }
    let message = format!("`{id}` is not an id: lower-case letters, digits and `_`, beginning with a letter");
    Problem::error(path, "invalid-id", message).with_hint(format!("for example `{fixed}`"))
}

/// Names that people type in commands and that are parts of keys.
pub(super) fn name(path: &str, what: &str, text: &str, code: &'static str, problems: &mut Vec<Problem>) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ok = text.len() <= NAME_CHARS_MAX
        && text.starts_with(fits)
        && text.ends_with(fits)
        && text.chars().all(|c| fits(c) || matches!(c, '-' | '_' | '.'));
    if !ok {
        let message = if text.is_empty() { format!("{what} is missing") } else { format!("`{text}` can't be {what}") };
        let hint =
            format!("lower-case letters, digits, `-`, `_` and `.`, at most {NAME_CHARS_MAX}, beginning and ending with a letter or digit");
        problems.push(Problem::error(path, code, message).with_hint(hint));
    }
}

/// What looks like an expression where none is evaluated.
pub(super) fn no_expression(path: &str, what: &str) -> Problem {
    Problem::error(path, "expression-not-allowed", format!("{what} is fixed: expressions are not evaluated here"))
}

/// Names that only have to be printable on one line.
pub(super) fn word(path: &str, what: &str, text: &str, code: &'static str, problems: &mut Vec<Problem>) {
    if text.contains("${") {
        problems.push(no_expression(path, what));
        return;
    }
    let ok = !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(|c| c.is_ascii_graphic());
    if !ok {
        if text.is_empty() {
            problems.push(Problem::error(path, code, format!("{what} is missing")));
            return;
        }
        let hint = format!("printable ASCII characters without spaces, at most {NAME_CHARS_MAX}");
        problems.push(Problem::error(path, code, format!("`{}` can't be {what}", text.escape_debug())).with_hint(hint));
    }
}
