//! Paths of steps: which step of a shape they are of, and which scope they are in.
//!
//! A path is `a`, `items[3].a` (in the fourth item of `items`), `items[3]` (that item), `a:compensate` (what undoes `a`) or `g:guard` (what watches
//! group `g`). Groups don't show in the paths of their steps.

use std::collections::BTreeMap;

use crate::record::{Shape, StepShape};

/// What follows the path of a step in the path of what undoes it.
const COMPENSATION: &str = ":compensate";

/// The step that this one undoes, if it is a compensation.
pub(super) fn undoes(path: &str) -> Option<&str> {
    path.strip_suffix(COMPENSATION)
}

/// The path as a shape has it: `items[3].a` becomes `items[].a`.
pub(crate) fn in_shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    let mut inside = false;
    for letter in path.chars() {
        inside = inside && letter != ']';
        if !inside {
            shape.push(letter);
        }
        inside = inside || letter == '[';
    }
    shape
}

/// Another path of a shape, in the same items as this one: `items[].b` beside `items[3].a` is `items[3].b`. None if it is in items that this one isn't.
pub(super) fn beside(path: &str, of_shape: &str) -> Option<String> {
    let mut positions = path.split('[').skip(1).filter_map(|part| part.split_once(']')).map(|(position, _)| position);
    let mut real = String::with_capacity(of_shape.len() + 8);
    let mut parts = of_shape.split("[]");
    real.push_str(parts.next()?);
    for part in parts {
        real.push('[');
        real.push_str(positions.next()?);
        real.push(']');
        real.push_str(part);
    }
    Some(real)
}

/// A shape, with its steps by path.
#[derive(Debug)]
pub(super) struct Plan<'s> {
    pub(super) shape: &'s Shape,
    steps: BTreeMap<&'s str, &'s StepShape>,
}

impl<'s> Plan<'s> {
    pub(super) fn new(shape: &'s Shape) -> Self {
        Self { shape, steps: shape.steps.iter().map(|step| (step.step.as_str(), step)).collect() }
    }

    /// The step that a path is of; that of a compensation is the step that it undoes.
    pub(super) fn step(&self, path: &str) -> Option<&'s StepShape> {
        self.steps.get(in_shape(undoes(path).unwrap_or(path)).as_str()).copied()
    }

    /// True if it has groups, and nobody said which steps are in them.
    pub(super) fn has_unknown_groups(&self) -> bool {
        self.shape.steps.iter().any(|step| step.kind == "group") && self.shape.steps.iter().all(|step| step.within.is_empty())
    }
}

/// The scope that a step, item or container is in; empty for the run.
pub(super) fn scope(plan: Option<&Plan<'_>>, path: &str) -> String {
    let path = path.split_once(':').map_or(path, |(step, _)| step);
    if let Some(step) = plan.and_then(|plan| plan.step(path)).filter(|step| !step.within.is_empty())
        && let Some(group) = beside(path, &step.within)
    {
        return group;
    }
    if path.ends_with(']') {
        return path.rsplit_once('[').map(|(container, _)| container.to_owned()).unwrap_or_default();
    }
    path.rsplit_once('.').map(|(item, _)| item.to_owned()).unwrap_or_default()
}

/// The scopes that something is in, from the innermost to the run, without itself.
pub(super) fn around(plan: Option<&Plan<'_>>, path: &str) -> Vec<String> {
    let mut scopes = vec![scope(plan, path)];
    // A group that is said to be within itself must not keep us here.
    while let Some(last) = scopes.last().filter(|last| !last.is_empty() && scopes.len() < 64) {
        let next = scope(plan, last);
        scopes.push(next);
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_steps_of_shapes_and_their_scopes() {
        let step = |step: &str, within: &str| StepShape { step: step.to_owned(), within: within.to_owned(), ..StepShape::default() };
        let shape = Shape {
            steps: vec![step("items[].g", ""), step("items[].a", "items[].g"), step("items[].b", ""), step("items", "")],
            ..Shape::default()
        };
        let plan = Plan::new(&shape);
        assert_eq!(in_shape("a[1].b[22].c:compensate"), "a[].b[].c:compensate");
        assert_eq!(beside("items[3].a", "items[].b").as_deref(), Some("items[3].b"));
        assert_eq!(beside("a", "items[].b"), None);
        assert_eq!(plan.step("items[7].b:compensate").unwrap().step, "items[].b");
        assert_eq!(scope(Some(&plan), "items[7].a:compensate"), "items[7].g");
        assert_eq!(around(Some(&plan), "items[7].a"), ["items[7].g", "items[7]", "items", ""]);
        assert_eq!(around(None, "a"), [""]);
    }
}
