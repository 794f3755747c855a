//! Names: of the workflow, of steps, queues and task types.

use std::collections::BTreeMap;

use super::{Problem, did_you_mean};
use crate::{Definition, Kind, TaskDefinition};

/// Step ids are parts of keys, paths and expressions.
const STEP_ID_CHARS_MAX: usize = 63;
/// Names that are only compared and shown.
const NAME_CHARS_MAX: usize = 128;
/// A plan is kept in memory by each node that runs it.
const STEPS_MAX: usize = 10_000;

/// Nobody reads further, and looking for what was meant costs a comparison with each id.
pub(super) const HINTED_MAX: usize = 100;

/// Checks all names; returns the first position of each id.
pub(super) fn check<'d>(definition: &'d Definition, problems: &mut Vec<Problem>) -> BTreeMap<&'d str, usize> {
    name("metadata.name", "the workflow's name", &definition.name, "invalid-name", problems);
    if !definition.namespace.is_empty() {
        name("metadata.namespace", "the namespace", &definition.namespace, "invalid-namespace", problems);
    }
    if definition.steps.is_empty() {
        problems.push(Problem::error("spec.steps", "no-steps", "a workflow needs at least one step"));
    }
    if definition.steps.len() > STEPS_MAX {
        let message = format!("{} steps are more than {STEPS_MAX}", definition.steps.len());
        problems.push(Problem::error("spec.steps", "too-many-steps", message));
    }
    let mut by_id = BTreeMap::new();
    for (index, step) in definition.steps.iter().enumerate() {
        let path = || format!("spec.steps[{index}].id");
        if !is_step_id(&step.id) {
            problems.push(bad_step_id(path(), &step.id));
        } else if let Some(first) = by_id.get(step.id.as_str()) {
            let message = format!("the id `{}` is taken by spec.steps[{first}]", step.id);
            problems.push(Problem::error(path(), "duplicate-id", message).with_hint("each step needs an id of its own"));
        }
        by_id.entry(step.id.as_str()).or_insert(index);
        if let Some(Kind::Task(TaskDefinition { task_type, queue, .. })) = &step.kind {
            let path = format!("spec.steps[{index}].task");
            if task_type.is_empty() {
                problems.push(Problem::error(
                    format!("{path}.type"),
                    "missing-task-type",
                    "a task needs the type of function that executes it",
                ));
            } else {
                word(&format!("{path}.type"), "the task's type", task_type, "invalid-task-type", problems);
            }
            if !queue.is_empty() {
                word(&format!("{path}.queue"), "the queue's name", queue, "invalid-queue", problems);
            }
        }
    }
    by_id
}

/// Checks what steps need; returns the edges by position, without those that are wrong.
pub(super) fn needs(definition: &Definition, by_id: &BTreeMap<&str, usize>, problems: &mut Vec<Problem>) -> Vec<Vec<usize>> {
    let mut edges = Vec::with_capacity(definition.steps.len());
    for (index, step) in definition.steps.iter().enumerate() {
        let mut known: BTreeMap<usize, usize> = BTreeMap::new();
        let mut ordered = Vec::with_capacity(step.needs.len());
        for (position, need) in step.needs.iter().enumerate() {
            let path = format!("spec.steps[{index}].needs[{position}]");
            let Some(&needed) = by_id.get(need.step.as_str()) else {
                let mut problem = Problem::error(path, "unknown-step", format!("there is no step `{}`", need.step));
                if problems.len() < HINTED_MAX {
                    problem.hint = did_you_mean(&need.step, by_id.keys().copied().filter(|id| *id != step.id));
                }
                problems.push(problem);
                continue;
            };
            if needed == index {
                problems.push(Problem::error(path, "self-need", format!("the step `{}` needs itself", need.step)));
            } else if let Some(first) = known.insert(needed, position) {
                problems.push(Problem::error(path, "duplicate-need", format!("`{}` is already in needs[{first}]", need.step)));
            } else {
                ordered.push(needed);
            }
        }
        edges.push(ordered);
    }
    edges
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
fn name(path: &str, what: &str, text: &str, code: &'static str, problems: &mut Vec<Problem>) {
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

/// Names that only have to be printable on one line.
fn word(path: &str, what: &str, text: &str, code: &'static str, problems: &mut Vec<Problem>) {
    let ok = text.len() <= NAME_CHARS_MAX && text.chars().all(|c| c.is_ascii_graphic());
    if !ok {
        let hint = format!("printable ASCII characters without spaces, at most {NAME_CHARS_MAX}");
        problems.push(Problem::error(path, code, format!("`{}` can't be {what}", text.escape_debug())).with_hint(hint));
    }
}
