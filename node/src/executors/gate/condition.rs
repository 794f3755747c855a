//! The expressions of a gate, compiled by the engine.

use std::{collections::BTreeMap, sync::Arc};

use quorus_engine::{GateCondition, Problem, ResponseValue};
use serde_json::Value;

use super::{Fault, watch::Look};

/// `condition` and `fail_if`.
pub(super) struct Conditions {
    condition: GateCondition,
    fail_if: Option<GateCondition>,
}

impl Conditions {
    /// Compiles both; `queries` has the names that they may read, unless there is a single query without one.
    pub(super) fn new(queries: Option<&[&str]>, condition: &str, fail_if: Option<&str>) -> Result<Self, Fault> {
        let compile = |field, source| GateCondition::compile(source, queries).map_err(|problems| wrong(field, &problems));
        let fail_if = fail_if.map(|source| compile("fail_if", source)).transpose()?;
        Ok(Self { condition: compile("condition", condition)?, fail_if })
    }

    /// What the values mean. NaN satisfies nothing; a condition that can't be evaluated is a failure, it never means false.
    pub(super) fn judge(&self, values: &BTreeMap<String, f64>) -> Result<Look, Fault> {
        let holds = |field: &str, condition: &GateCondition| {
            condition.holds(values).map_err(|why| Fault::new(EXPRESSION, format!("`{field}`: {why}")).final_one().nothing_done())
        };
        if let Some(fail_if) = &self.fail_if
            && holds("fail_if", fail_if)?
        {
            return Ok(Look::FailIf);
        }
        holds("condition", &self.condition).map(Look::Condition)
    }
}

const EXPRESSION: &str = quorus_engine::failure_type::EXPRESSION;

/// The number in an HTTP answer.
pub(super) struct ResponseNumber(ResponseValue);

impl ResponseNumber {
    pub(super) fn compile(source: &str) -> Result<Self, Fault> {
        ResponseValue::compile(source).map(Self).map_err(|problems| wrong("value", &problems))
    }

    pub(super) fn read(&self, response: Value) -> Result<Option<f64>, String> {
        self.0.of(&Arc::new(response)).map_err(|why| format!("`value`: {why}"))
    }
}

fn wrong(field: &str, problems: &[Problem]) -> Fault {
    let what = problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
    Fault::invalid(format!("`{field}`: {what}"))
}
