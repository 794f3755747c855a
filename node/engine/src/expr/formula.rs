//! Expressions over documents that the caller has at hand, without a run: conditions of gates, values in answers, mappings of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value};

use super::check::{Flaw, StepReference, Steps};
use super::expression::{Expression, Scope};
use super::path::Root;
use super::reading::Reading;
use super::template::Template;
use super::{EvaluationError, Place};
use crate::Timestamp;
use crate::plan::Problem;

/// A CEL expression over named documents.
#[derive(Debug)]
pub struct Formula(Expression);

impl Formula {
    /// Compiles; `names` are the roots that it may read.
    ///
    /// # Errors
    /// Everything that is wrong with the source. The path of the problems is empty.
    pub fn compile(source: &str, names: &[&str]) -> Result<Self, Vec<Problem>> {
        let named: Vec<_> = names.iter().map(|name| (*name, None)).collect();
        let reading = Reading { named: &named, ..Reading::default() };
        compile(source, &reading).map(Self)
    }

    /// Evaluates to JSON; `documents` in the order of the names.
    ///
    /// # Errors
    /// If it has no value.
    pub fn evaluate(&self, documents: &[Arc<Value>]) -> Result<Value, EvaluationError> {
        self.0.evaluate(&Documents(documents))
    }

    /// Evaluates a condition; anything but true or false is an error.
    ///
    /// # Errors
    /// If it has no value, or one that is not a bool.
    pub fn holds(&self, documents: &[Arc<Value>]) -> Result<bool, EvaluationError> {
        self.0.evaluate_bool(&Documents(documents))
    }
}

/// A JSON template whose strings may hold `${...}` over named documents.
#[derive(Debug)]
pub struct FormulaTemplate(Template);

impl FormulaTemplate {
    /// Compiles; `names` are the roots that it may read.
    ///
    /// # Errors
    /// Everything that is wrong with it. The paths of the problems begin at the template: `.a[0]`.
    pub fn compile(template: &Value, names: &[&str]) -> Result<Self, Vec<Problem>> {
        let named: Vec<_> = names.iter().map(|name| (*name, None)).collect();
        let reading = Reading { named: &named, ..Reading::default() };
        let (template, found) = Template::compile(template, &NoSteps, &reading);
        if found.flaws.is_empty() {
            return Ok(Self(template));
        }
        Err(found.flaws.into_iter().map(|Place { path, what }| what.into_problem(path)).collect())
    }

    /// Renders to JSON; `documents` in the order of the names.
    ///
    /// # Errors
    /// If one of its expressions has no value.
    pub fn render(&self, documents: &[Arc<Value>]) -> Result<Value, EvaluationError> {
        self.0.render(&Documents(documents))
    }
}

/// The condition of a gate, over `value` or `values.<name>`.
#[derive(Debug)]
pub struct GateCondition {
    expression: Expression,
    single: bool,
}

impl GateCondition {
    /// The name of the query of a gate with a single one.
    pub const SINGLE: &str = "value";

    /// Compiles the condition of a gate with one query without a name (`value`), or with these queries (`values.<name>`).
    ///
    /// # Errors
    /// Everything that is wrong with the source. The path of the problems is empty.
    pub fn compile(source: &str, queries: Option<&[&str]>) -> Result<Self, Vec<Problem>> {
        let named = [match queries {
            None => (Self::SINGLE, None),
            Some(names) => ("values", Some(names)),
        }];
        let reading = Reading { named: &named, ..Reading::default() };
        compile(source, &reading).map(|expression| Self { expression, single: queries.is_none() })
    }

    /// True if it holds. `values` by the names of the queries; NaN never satisfies.
    ///
    /// # Errors
    /// If it can't be evaluated, which another look at other values may change.
    pub fn holds(&self, values: &BTreeMap<String, f64>) -> Result<bool, EvaluationError> {
        if values.values().any(|value| value.is_nan()) {
            return Ok(false);
        }
        // JSON has no infinity; what is beyond every number compares like the largest.
        let number = |value: f64| Number::from_f64(value.clamp(f64::MIN, f64::MAX)).map_or(Value::Null, Value::Number);
        let document = match self.single {
            true => values.get(Self::SINGLE).map_or(Value::Null, |value| number(*value)),
            false => values.iter().map(|(name, value)| (name.clone(), number(*value))).collect(),
        };
        self.expression.evaluate_bool(&Documents(&[Arc::new(document)]))
    }
}

/// The number in an answer, over `response`: `{status, headers, body}`.
#[derive(Debug)]
pub struct ResponseValue(Expression);

impl ResponseValue {
    /// Compiles.
    ///
    /// # Errors
    /// Everything that is wrong with the source. The path of the problems is empty.
    pub fn compile(source: &str) -> Result<Self, Vec<Problem>> {
        let named: [(&str, Option<&[&str]>); 1] = [("response", Some(&["body", "headers", "status"]))];
        let reading = Reading { named: &named, ..Reading::default() };
        compile(source, &reading).map(Self)
    }

    /// The number, or `None` if the answer says that there is none (null).
    ///
    /// # Errors
    /// If it has no value, or one that is not a number.
    pub fn of(&self, response: &Arc<Value>) -> Result<Option<f64>, EvaluationError> {
        match self.0.evaluate(&Documents(std::slice::from_ref(response)))? {
            Value::Null => Ok(None),
            Value::Number(number) => Ok(number.as_f64()),
            Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Err(EvaluationError::new(self.0.source(), "the value must be a number or null"))
            }
        }
    }
}

fn compile(source: &str, reading: &Reading<'_>) -> Result<Expression, Vec<Problem>> {
    match Expression::compile(source, &NoSteps, reading) {
        Ok((expression, _)) => Ok(expression),
        Err(flaws) => Err(flaws.into_iter().map(|flaw| flaw.into_problem(String::new())).collect()),
    }
}

impl Flaw {
    /// The flaw of a text at `path`.
    pub(crate) fn into_problem(self, path: String) -> Problem {
        Problem { path, offset: self.offset, code: self.code, message: self.message, hint: self.hint, warning: self.warning }
    }
}

/// There are no steps outside of runs.
struct NoSteps;

impl Steps for NoSteps {
    fn index(&self, _id: &str) -> Option<usize> {
        None
    }

    fn ids(&self) -> Vec<&str> {
        Vec::new()
    }

    fn schema(&self, _reference: &StepReference) -> Option<&Value> {
        None
    }

    fn input_schema(&self) -> Option<&Value> {
        None
    }
}

struct Documents<'a>(&'a [Arc<Value>]);

impl Scope for Documents<'_> {
    fn document(&self, root: Root) -> Result<Arc<Value>, String> {
        match root {
            Root::Named(position) => self.0.get(position).cloned().ok_or_else(|| "it is not at hand".to_owned()),
            _ => Err("it is not at hand".to_owned()),
        }
    }

    // Neither can be read: compiling offers nothing but the documents.
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn started_at(&self) -> Timestamp {
        Timestamp::default()
    }

    /// One expression is bounded by itself.
    fn spend(&self, _rounds: f64) -> Result<(), String> {
        Ok(())
    }
}
