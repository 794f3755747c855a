//! Compiles the expressions of a definition, and turns their flaws into problems.

use std::{cell::Cell, collections::BTreeMap};

use serde_json::Value;

use super::Problem;
use super::check_graph::Ancestors;
use super::check_names::HINTED_MAX;
use crate::expr::{Expression, Flaw, Place, StepReference, Steps, Template};

/// Finds steps for expressions; stops offering hints after a while.
struct Ids<'d> {
    by_id: &'d BTreeMap<&'d str, usize>,
    hinted: Cell<usize>,
}

impl Steps for Ids<'_> {
    fn index(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    fn ids(&self) -> Vec<&str> {
        self.hinted.set(self.hinted.get() + 1);
        if self.hinted.get() > HINTED_MAX { Vec::new() } else { self.by_id.keys().copied().collect() }
    }
}

/// Compiles expressions, and remembers which steps they read until the graph is known.
pub(super) struct Compiler<'d> {
    ids: Ids<'d>,
    /// Who reads, what, and where it says so. The output of the run reads as `None`.
    reads: Vec<(Option<usize>, StepReference, String)>,
}

impl<'d> Compiler<'d> {
    pub(super) fn new(by_id: &'d BTreeMap<&'d str, usize>) -> Self {
        Self { ids: Ids { by_id, hinted: Cell::new(0) }, reads: Vec::new() }
    }

    pub(super) fn expression(
        &mut self,
        reader: Option<usize>,
        path: &str,
        source: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Expression> {
        match Expression::compile(source, &self.ids) {
            Ok((expression, references)) => {
                self.reads.extend(references.into_iter().map(|reference| (reader, reference, path.to_owned())));
                Some(expression)
            }
            Err(flaws) => {
                problems.extend(flaws.into_iter().map(|flaw| problem(path.to_owned(), flaw)));
                None
            }
        }
    }

    pub(super) fn template(&mut self, reader: Option<usize>, path: &str, value: &Value, problems: &mut Vec<Problem>) -> Template {
        let (template, found) = Template::compile(value, &self.ids);
        problems.extend(found.flaws.into_iter().map(|Place { path: below, what }| problem(format!("{path}{below}"), what)));
        self.reads.extend(found.references.into_iter().map(|Place { path: below, what }| (reader, what, format!("{path}{below}"))));
        template
    }

    /// Reading a step that may not have ended would make the value depend on timing.
    pub(super) fn check_reads(self, ids: &[&str], ancestors: &mut Ancestors<'_>, problems: &mut Vec<Problem>) {
        for (reader, reference, path) in self.reads {
            let Some(reader) = reader else { continue };
            if reader == reference.index || !ancestors.precedes(reference.index, reader) {
                let step = ids[reference.index];
                let (message, hint) = if reader == reference.index {
                    (format!("the step `{step}` reads itself"), None)
                } else {
                    (
                        format!("`{step}` may not have ended when `{}` becomes ready", ids[reader]),
                        Some(format!("add `{step}` to its needs")),
                    )
                };
                problems.push(Problem { hint, ..Problem::error(path, "not-an-ancestor", message).at(reference.offset) });
            }
        }
    }
}

fn problem(path: String, flaw: Flaw) -> Problem {
    Problem { path, offset: flaw.offset, code: flaw.code, message: flaw.message, hint: flaw.hint, warning: false }
}
