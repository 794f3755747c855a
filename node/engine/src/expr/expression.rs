//! One compiled expression.

use std::sync::Arc;

use cel::common::ast::{Expr, IdedExpr, SourceInfo};
use cel::common::types::{CelBool, CelTimestamp};
use cel::common::value::Val;
use cel::parser::Parser;
use cel::{Context, ExecutionError};
use serde_json::Value;

use super::check::{Checker, Flaw, Slot, StepReference, Steps};
use super::convert::{Unrepresentable, to_cel, to_json};
use super::cost;
use super::duration::to_chrono;
use super::env::ENV;
use super::error::{EvaluationError, describe};
use super::path::Root;
use super::reading::Reading;
use crate::{Payload, Timestamp};

/// Longer sources are refused.
const SOURCE_BYTES_MAX: usize = 4096;

/// What expressions read.
pub(crate) trait Scope {
    /// The document at a root; an error says why there is none.
    fn document(&self, root: Root) -> Result<Arc<Value>, String>;
    /// The instant of the decision.
    fn now(&self) -> Timestamp;
    /// When the run started.
    fn started_at(&self) -> Timestamp;
    /// Counts what is about to be done, in rounds (see `cost`); an error says why it is too much.
    fn spend(&self, rounds: f64) -> Result<(), String>;
}

/// What compiling found out.
#[derive(Debug)]
pub(crate) struct Noted {
    /// The steps that it reads.
    pub(crate) references: Vec<StepReference>,
    /// What deserves a look.
    pub(crate) warnings: Vec<Flaw>,
    /// Where it reads `self.output` without asking whether that is there.
    pub(crate) unguarded_output: Option<Option<usize>>,
    /// It asks whether `self.output` is there.
    pub(crate) output_guarded: bool,
}

/// A compiled expression, immutable.
#[derive(Debug)]
pub(crate) struct Expression {
    source: String,
    node: IdedExpr,
    slots: Vec<Slot>,
}

impl Expression {
    /// Parses and checks a source. Also returns what the plan has to know of it.
    pub(crate) fn compile(source: &str, steps: &dyn Steps, reading: &Reading<'_>) -> Result<(Self, Noted), Vec<Flaw>> {
        if source.len() > SOURCE_BYTES_MAX {
            let message = format!("the expression has {} bytes, more than {SOURCE_BYTES_MAX}", source.len());
            return Err(vec![Flaw { offset: None, code: "expression-too-long", message, hint: None, warning: false }]);
        }
        if source.trim().is_empty() {
            return Err(vec![Flaw {
                offset: Some(0),
                code: "bad-expression",
                message: "the expression is empty".to_owned(),
                hint: None,
                warning: false,
            }]);
        }
        let (node, info) = Parser::default()
            .enable_optional_syntax(true)
            .parse_with_source_info(source)
            // What comes after the first one is mostly its echo.
            .map_err(|errors| errors.errors.iter().take(1).map(|error| parse_flaw(source, error)).collect::<Vec<_>>())?;
        let offset_of = |id| offset(source, &info, id);
        let mut checker = Checker {
            steps,
            reading,
            offset_of: &offset_of,
            slots: vec![],
            flaws: vec![],
            references: vec![],
            output_reads: vec![],
            output_guarded: false,
            variables: vec![],
        };
        let node = checker.rewrite(node, 0);
        let Checker { slots, mut flaws, references, output_reads, output_guarded, .. } = checker;
        // What it reads is not known yet, and counts as nothing.
        if let Err(reason) = cost::check(&node, Vec::new()) {
            flaws.push(Flaw { offset: None, code: "too-costly", message: reason, hint: None, warning: false });
        }
        if flaws.iter().any(|flaw| !flaw.warning) {
            return Err(flaws);
        }
        let unguarded_output = (!output_guarded).then(|| output_reads.first().copied()).flatten();
        Ok((Self { source: source.to_owned(), node, slots }, Noted { references, warnings: flaws, unguarded_output, output_guarded }))
    }

    /// The text it was compiled from.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates to JSON. What is only a path is copied as it is.
    pub(crate) fn evaluate(&self, scope: &dyn Scope) -> Result<Value, EvaluationError> {
        if let (Expr::Ident(name), [slot]) = (&self.node.expr, self.slots.as_slice())
            && *name == slot.name
            && !slot.presence
        {
            let document = scope.document(slot.path.root).map_err(|reason| self.error(reason))?;
            return slot.path.find(&document).cloned().ok_or_else(|| self.error(slot.path.explain(&document)));
        }
        self.run(scope, |value| {
            let mut budget = Payload::BYTES_MAX;
            to_json(value, &mut budget).map_err(|problem| match problem {
                Unrepresentable::TooLarge => EvaluationError::TooLarge,
                Unrepresentable::Kind(kind) => self.error(format!("the value is not JSON ({kind})")),
            })
        })
    }

    /// Evaluates a condition. Anything but a bool is an error: it never means false.
    pub(crate) fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, EvaluationError> {
        self.run(scope, |value| match value.downcast_ref::<CelBool>() {
            Some(value) => Ok(*value.inner()),
            None => Err(self.error(format!("a condition must be true or false, this is {}", value.get_type().name()))),
        })
    }

    fn run<T>(&self, scope: &dyn Scope, read: impl FnOnce(&dyn Val) -> Result<T, EvaluationError>) -> Result<T, EvaluationError> {
        let mut documents = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            documents.push(scope.document(slot.path.root).map_err(|reason| self.error(reason))?);
        }
        let mut sizes = Vec::with_capacity(self.slots.len());
        let mut context = Context::with_env(ENV.clone());
        for (slot, document) in self.slots.iter().zip(&documents) {
            let value = slot.path.find(document);
            sizes.push((slot.name.clone(), value.map(cost::measure).unwrap_or_default()));
        }
        cost::check(&self.node, sizes).and_then(|rounds| scope.spend(rounds)).map_err(|reason| self.error(reason))?;
        for (slot, document) in self.slots.iter().zip(&documents) {
            if let Some(value) = bind(slot, document, scope) {
                context.add_variable_as_val(slot.name.clone(), value);
            }
        }
        match cel::Value::resolve_val(&self.node, &context) {
            Ok(value) => read(value.as_ref()),
            Err(error) => Err(self.error(self.explain(&error, &documents))),
        }
    }

    /// A missing path was left unbound; it matters only if the evaluation came by.
    fn explain(&self, error: &ExecutionError, documents: &[Arc<Value>]) -> String {
        if let ExecutionError::UndeclaredReference(name) = error
            && let Some((slot, document)) = self.slots.iter().zip(documents).find(|(slot, _)| slot.name == **name)
        {
            return slot.path.explain(document);
        }
        describe(error)
    }

    fn error(&self, reason: impl Into<String>) -> EvaluationError {
        EvaluationError::new(&self.source, reason)
    }
}

fn bind<'v>(slot: &Slot, document: &'v Value, scope: &dyn Scope) -> Option<Box<dyn Val + 'v>> {
    let value = slot.path.find(document);
    if slot.presence {
        return Some(Box::new(CelBool::from(value.is_some_and(|value| !value.is_null()))));
    }
    // Times are text in documents, and timestamps in expressions.
    let is_started_at = slot.path.root == Root::Run && slot.name == "run.started_at";
    if slot.path.root == Root::Now || is_started_at {
        let time = if is_started_at { scope.started_at() } else { scope.now() };
        return Some(Box::new(CelTimestamp::from(to_chrono(time).fixed_offset())));
    }
    value.map(to_cel)
}

fn parse_flaw(source: &str, error: &cel::ParseError) -> Flaw {
    let (line, column) = error.pos;
    let start: usize = source
        .split_inclusive('\n')
        .take(usize::try_from(line).unwrap_or(1).saturating_sub(1))
        .map(str::len)
        .sum::<usize>()
        .min(source.len());
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let offset = source[start..].char_indices().nth(column).map_or(source.len(), |(at, _)| start + at);
    let hint = source.trim_start().starts_with("${").then(|| "write it without `${` and `}` here".to_owned());
    // The parser goes on to list every token that could have followed.
    let message = error.msg.split(" expecting ").next().unwrap_or_default();
    let message = message.trim_start_matches("Syntax error: ").replace("mismatched input '<EOF>'", "it ends too early");
    Flaw { offset: Some(offset), code: "bad-expression", message: format!("not an expression: {message}"), hint, warning: false }
}

/// Where a node is in the source.
fn offset(source: &str, info: &SourceInfo, id: u64) -> Option<usize> {
    let (start, _) = info.offset_for(id)?;
    Some(start as usize).filter(|start| source.is_char_boundary(*start))
}
