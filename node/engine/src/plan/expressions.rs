//! Compiles the expressions of a definition, and turns their flaws into problems.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::Problem;
use super::check_names::HINTED_MAX;
use super::flatten::Flat;
use super::outputs;
use super::reads::{Read, Reader};
use crate::expr::{Expression, Flaw, Place, Reading, StepReference, Steps, Template};
use crate::{Definition, Kind};

/// Finds steps for expressions; stops offering hints after a while.
struct Ids<'d> {
    definition: &'d Definition,
    flat: &'d Flat<'d>,
    hinted: Cell<usize>,
}

impl Steps for Ids<'_> {
    fn index(&self, id: &str) -> Option<usize> {
        self.flat.by_id.get(id).copied()
    }

    fn ids(&self) -> Vec<&str> {
        self.hinted.set(self.hinted.get() + 1);
        if self.hinted.get() > HINTED_MAX { Vec::new() } else { self.flat.by_id.keys().copied().collect() }
    }

    fn schema(&self, reference: &StepReference) -> Option<&Value> {
        let step = self.flat.vertices[reference.index].step()?;
        let declared = match &step.kind {
            Some(Kind::Signal(signal)) => self.definition.signals.get(&signal.name),
            _ => None,
        };
        step.output_schema.as_ref().or(declared).or_else(|| outputs::schema(step.kind.as_ref()?))
    }

    fn input_schema(&self) -> Option<&Value> {
        self.definition.input_schema.as_ref()
    }
}

/// Where an expression stands.
#[derive(Clone)]
pub(super) struct At {
    /// Of the step, or of what else the paths of its expressions begin with.
    pub(super) path: String,
    /// Who reads.
    pub(super) reader: Reader,
    /// What it may read.
    pub(super) reading: Reading<'static>,
}

impl At {
    /// The same where secrets may stand.
    pub(super) fn with_secrets(&self) -> Self {
        Self { reading: Reading { secrets: true, ..self.reading }, ..self.clone() }
    }
}

/// Compiles expressions, and remembers which steps they read until the graph is known.
pub(super) struct Compiler<'d> {
    pub(super) definition: &'d Definition,
    pub(super) flat: &'d Flat<'d>,
    pub(super) problems: Vec<Problem>,
    pub(super) reads: Vec<Read>,
    /// Names of the secrets that the current step refers to.
    pub(super) secrets: BTreeSet<String>,
    /// The condition of the current compensation asks whether `self.output` is there.
    pub(super) output_guarded: bool,
    ids: Ids<'d>,
}

impl<'d> Compiler<'d> {
    pub(super) fn new(definition: &'d Definition, flat: &'d Flat<'d>, problems: Vec<Problem>) -> Self {
        let ids = Ids { definition, flat, hinted: Cell::new(0) };
        Self { definition, flat, problems, reads: Vec::new(), secrets: BTreeSet::new(), output_guarded: false, ids }
    }

    /// Compiles a CEL source at a path below `at`, such as `.if`.
    pub(super) fn expression(&mut self, at: &At, below: &str, source: &str) -> Option<Expression> {
        let path = format!("{}{below}", at.path);
        match Expression::compile(source, &self.ids, &at.reading) {
            Ok((expression, noted)) => {
                self.reads.extend(noted.references.into_iter().map(|what| Read { reader: at.reader, what, path: path.clone() }));
                self.problems.extend(noted.warnings.into_iter().map(|flaw| flaw.into_problem(path.clone())));
                if let Some(offset) = noted.unguarded_output {
                    self.unguarded(path, offset);
                }
                self.output_guarded |= noted.output_guarded;
                Some(expression)
            }
            Err(flaws) => {
                self.problems.extend(flaws.into_iter().map(|flaw: Flaw| flaw.into_problem(path.clone())));
                None
            }
        }
    }

    /// Compiles a template at a path below `at`, such as `.with`.
    pub(super) fn template(&mut self, at: &At, below: &str, value: &Value) -> Template {
        let path = format!("{}{below}", at.path);
        let (template, found) = Template::compile(value, &self.ids, &at.reading);
        let problems = found.flaws.into_iter().map(|Place { path: inner, what }| what.into_problem(format!("{path}{inner}")));
        self.problems.extend(problems);
        let reads = found.references.into_iter();
        self.reads.extend(reads.map(|Place { path: inner, what }| Read { reader: at.reader, what, path: format!("{path}{inner}") }));
        for Place { path: inner, what } in found.unguarded_outputs {
            self.unguarded(format!("{path}{inner}"), what);
        }
        self.secrets.extend(found.secrets);
        template
    }

    /// The same for a text.
    pub(super) fn text(&mut self, at: &At, below: &str, text: &str) -> Template {
        self.template(at, below, &Value::String(text.to_owned()))
    }

    fn unguarded(&mut self, path: String, offset: Option<usize>) {
        if self.output_guarded {
            return;
        }
        let message = "`self.output` is null unless the step succeeded, and a compensation runs also when that is in doubt";
        let hint = "guard it: `has(self.output.x) ? self.output.x : null`, or give the compensation an `if`";
        self.problems.push(Problem::error(path, "unguarded-output", message).at(offset).with_hint(hint));
    }

    pub(super) fn error(&mut self, path: String, code: &'static str, message: impl Into<String>, hint: &str) {
        let problem = Problem::error(path, code, message);
        self.problems.push(if hint.is_empty() { problem } else { problem.with_hint(hint) });
    }
}
