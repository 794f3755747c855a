//! Who may read what: a value must not depend on timing.

use super::Problem;
use super::check_graph::Ancestors;
use super::flatten::Flat;
use super::types::Role;
use crate::expr::StepReference;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// A step, when it becomes ready.
    Ready(usize),
    /// A container, at the end of its scope, an item or an iteration.
    Inside(usize),
    /// The compensation of a step.
    Undo(usize),
    /// The run, at its end.
    End,
}

/// That a step is read.
pub(super) struct Read {
    pub(super) reader: Reader,
    pub(super) what: StepReference,
    /// Where it says so.
    pub(super) path: String,
}

/// Reports reads of steps that may not have ended, or can't be seen.
pub(super) fn check(flat: &Flat<'_>, reads: Vec<Read>, ancestors: &mut Ancestors<'_>, problems: &mut Vec<Problem>) {
    for Read { reader, what, path } in reads {
        if !is_readable(flat, reader, what.index, ancestors) {
            problems.push(describe(flat, reader, what.index, path).at(what.offset));
        }
    }
}

fn is_readable(flat: &Flat<'_>, reader: Reader, read: usize, ancestors: &mut Ancestors<'_>) -> bool {
    match reader {
        Reader::Ready(vertex) => {
            let before = std::iter::once(vertex).chain(flat.containers(vertex)).any(|vertex| ancestors.precedes(read, vertex));
            before || (is_at_the_end(flat, vertex) && is_of_the_run(flat, read))
        }
        Reader::Inside(container) => {
            flat.vertices[read].parent == Some(container) || is_readable(flat, Reader::Ready(container), read, ancestors)
        }
        Reader::Undo(step) => is_readable(flat, Reader::Ready(step), read, ancestors),
        Reader::End => is_of_the_run(flat, read),
    }
}

fn is_at_the_end(flat: &Flat<'_>, vertex: usize) -> bool {
    match flat.vertices[vertex].role {
        Role::Finally | Role::OnAttention => true,
        Role::Guard { of } | Role::Compensation { of } => is_at_the_end(flat, of),
        Role::Body => false,
    }
}

/// True for the steps of the run's own scope.
fn is_of_the_run(flat: &Flat<'_>, read: usize) -> bool {
    flat.vertices[read].parent.is_none() && flat.vertices[read].role == Role::Body
}

fn describe(flat: &Flat<'_>, reader: Reader, read: usize, path: String) -> Problem {
    let id = |vertex: usize| flat.vertices[vertex].id.as_str();
    let place = match reader {
        Reader::Ready(vertex) | Reader::Inside(vertex) | Reader::Undo(vertex) => Some(vertex),
        Reader::End => None,
    };
    if place == Some(read) {
        let problem = Problem::error(path, "not-an-ancestor", format!("the step `{}` reads itself", id(read)));
        return if matches!(reader, Reader::Undo(_)) { problem.with_hint("a compensation reads its step as `self`") } else { problem };
    }
    if let Some(place) = place
        && flat.containers(place).any(|container| container == read)
    {
        let message = format!("`{}` has not ended while `{}`, which is inside of it, runs", id(read), id(place));
        return Problem::error(path, "not-an-ancestor", message);
    }
    // The outermost container of the read step that the reader is not in.
    let around: Vec<usize> = place.map(|place| std::iter::once(place).chain(flat.containers(place)).collect()).unwrap_or_default();
    let hides = flat.containers(read).filter(|container| !around.contains(container)).last();
    if let Some(container) = hides {
        let message = format!("`{}` is inside of `{}`, and can only be read there", id(read), id(container));
        return Problem::error(path, "not-in-scope", message)
            .with_hint(format!("read `steps.{}.output`, and let that container say what it returns", id(container)));
    }
    let Some(place) = place else {
        return Problem::error(path, "not-an-ancestor", format!("`{}` has not ended when the output is made", id(read)));
    };
    let message = format!("`{}` may not have ended when `{}` becomes ready", id(read), id(place));
    let problem = Problem::error(path, "not-an-ancestor", message);
    let same_scope = |vertex: &usize| {
        let (vertex, read) = (&flat.vertices[*vertex], &flat.vertices[read]);
        vertex.parent == read.parent && (vertex.role == read.role || matches!(vertex.role, Role::Guard { .. } | Role::Compensation { .. }))
    };
    match around.iter().find(|vertex| same_scope(vertex)) {
        Some(&vertex) if vertex == place => problem.with_hint(format!("add `{}` to its needs", id(read))),
        Some(&vertex) => problem.with_hint(format!("add `{}` to the needs of `{}`", id(read), id(vertex))),
        None => problem,
    }
}
