//! From the nested definition to a flat list in plan order, with the vertices that follow from it: compensations and guards.

use std::collections::BTreeMap;

use super::types::Role;
use super::{Problem, RetryPolicy};
use crate::{CompensationDefinition, Definition, GuardDefinition, Kind, RetryDefinition, StepDefinition};

/// A plan is kept in memory by each node that runs it.
const STEPS_MAX: usize = 10_000;
/// Containers in containers.
const NESTING_MAX: usize = 16;

/// A vertex in the making.
pub(super) struct Vertex<'d> {
    /// Id; `<step>:compensate` or `<step>:guard` for derived ones.
    pub(super) id: String,
    /// Of the step, the compensation or the guard.
    pub(super) path: String,
    pub(super) parent: Option<usize>,
    pub(super) role: Role,
    pub(super) source: Source<'d>,
    pub(super) body: Vec<usize>,
    pub(super) compensation: Option<usize>,
    pub(super) guard: Option<usize>,
}

/// What a vertex is made of.
#[derive(Clone, Copy)]
pub(super) enum Source<'d> {
    Step(&'d StepDefinition),
    Compensation(&'d CompensationDefinition, &'d StepDefinition),
    Guard(&'d GuardDefinition),
}

impl<'d> Vertex<'d> {
    /// The step, unless it is derived from one.
    pub(super) fn step(&self) -> Option<&'d StepDefinition> {
        match self.source {
            Source::Step(step) => Some(step),
            Source::Compensation(..) | Source::Guard(_) => None,
        }
    }

    /// What a compensation is made of.
    pub(super) fn undo(&self) -> Option<&'d CompensationDefinition> {
        match self.source {
            Source::Compensation(undo, _) => Some(undo),
            Source::Step(_) | Source::Guard(_) => None,
        }
    }

    /// What it is, unless that is missing.
    pub(super) fn kind(&self) -> Option<&'d Kind> {
        match self.source {
            Source::Step(step) => step.kind.as_ref(),
            Source::Compensation(undo, _) => undo.kind.as_ref(),
            Source::Guard(_) => None,
        }
    }
}

/// All vertices, and who is in which scope.
#[derive(Default)]
pub(super) struct Flat<'d> {
    pub(super) vertices: Vec<Vertex<'d>>,
    pub(super) body: Vec<usize>,
    pub(super) finally: Vec<usize>,
    pub(super) on_attention: Vec<usize>,
    /// The first vertex with each id, as definitions name steps.
    pub(super) by_id: BTreeMap<&'d str, usize>,
}

/// Lays the steps out.
pub(super) fn flatten<'d>(definition: &'d Definition, problems: &mut Vec<Problem>) -> Flat<'d> {
    let mut flat = Flat::default();
    let mut written = 0;
    let mut count = |problems: &mut Vec<Problem>, path: &str| {
        written += 1;
        if written == STEPS_MAX + 1 {
            let message = format!("there are more than {STEPS_MAX} steps");
            problems.push(Problem::error(path, "too-many-steps", message).with_hint("for many items of one kind use `for_each`"));
        }
        written <= STEPS_MAX
    };
    flat.body = flat.scope("spec.steps", &definition.steps, None, Role::Body, 0, &mut count, problems);
    flat.finally = flat.scope("spec.finally", &definition.finally, None, Role::Finally, 0, &mut count, problems);
    flat.on_attention = flat.scope("spec.on_attention", &definition.on_attention, None, Role::OnAttention, 0, &mut count, problems);
    flat
}

type Count<'c> = dyn FnMut(&mut Vec<Problem>, &str) -> bool + 'c;

impl<'d> Flat<'d> {
    #[expect(clippy::too_many_arguments, reason = "a walk carries where it is")]
    fn scope(
        &mut self,
        path: &str,
        steps: &'d [StepDefinition],
        parent: Option<usize>,
        role: Role,
        depth: usize,
        count: &mut Count<'_>,
        problems: &mut Vec<Problem>,
    ) -> Vec<usize> {
        let mut scope = Vec::with_capacity(steps.len());
        for (position, step) in steps.iter().enumerate() {
            if !count(problems, path) {
                break;
            }
            let path = format!("{path}[{position}]");
            let index = self.add(step.id.clone(), path.clone(), parent, role, Source::Step(step));
            self.by_id.entry(step.id.as_str()).or_insert(index);
            scope.push(index);
            let inner = match &step.kind {
                Some(Kind::Group(group)) => Some(("group", &group.steps)),
                Some(Kind::ForEach(each)) => Some(("for_each", &each.steps)),
                Some(Kind::Repeat(repeat)) => Some(("repeat", &repeat.steps)),
                _ => None,
            };
            if let Some(Kind::Group(group)) = &step.kind
                && let Some(guard) = &group.guard
            {
                let id = format!("{}:guard", step.id);
                let guard = self.add(id, format!("{path}.group.guard"), parent, Role::Guard { of: index }, Source::Guard(guard));
                self.vertices[index].guard = Some(guard);
            }
            if let Some((field, steps)) = inner {
                if depth + 1 > NESTING_MAX {
                    let message = format!("steps are nested more than {NESTING_MAX} deep");
                    problems.push(Problem::error(&path, "too-deep", message).with_hint("move the inner steps to a workflow of their own"));
                } else {
                    self.vertices[index].body =
                        self.scope(&format!("{path}.{field}.steps"), steps, Some(index), role, depth + 1, count, problems);
                }
            }
            if let Some(undo) = &step.compensate {
                let id = format!("{}:compensate", step.id);
                let source = Source::Compensation(undo, step);
                let undo = self.add(id, format!("{path}.compensate"), parent, Role::Compensation { of: index }, source);
                self.vertices[index].compensation = Some(undo);
            }
        }
        scope
    }

    fn add(&mut self, id: String, path: String, parent: Option<usize>, role: Role, source: Source<'d>) -> usize {
        self.vertices.push(Vertex { id, path, parent, role, source, body: Vec::new(), compensation: None, guard: None });
        self.vertices.len() - 1
    }

    /// The containers that a vertex is in, from the inside out.
    pub(super) fn containers(&self, vertex: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.vertices[vertex].parent, |&container| self.vertices[container].parent)
    }
}

/// A policy with its defaults.
pub(super) fn retry(written: &RetryDefinition) -> RetryPolicy {
    let default = RetryPolicy::default();
    RetryPolicy {
        max_attempts: u32::try_from(written.max_attempts).ok().filter(|attempts| *attempts > 0).unwrap_or(default.max_attempts),
        initial_interval: written.initial_interval.unwrap_or(default.initial_interval),
        backoff_coefficient: if written.backoff_coefficient == 0.0 { default.backoff_coefficient } else { written.backoff_coefficient },
        max_interval: written.max_interval.unwrap_or(default.max_interval),
        jitter: !written.jitter_none,
        non_retryable: written.non_retryable.clone(),
    }
}
