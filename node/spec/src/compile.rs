//! The message to what the engine reads.
//!
//! Only what the message itself can get wrong is reported here (a template that is no JSON, a duration out of range, an enum value nobody
//! knows): a text can't hold any of these, but a program can send them. Everything else is the planner's.

use quorus_engine::{Budget, BudgetPer, ConcurrencyDefinition, Definition, OnConflict, OnFailure};
use quorus_proto::v1::{self, Workflow};

use crate::engine::Problem;

mod kind;
mod step;
mod value;

/// What an empty namespace means.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Turns a message into a definition, which is not checked any further.
///
/// # Errors
/// Lists every part that has no meaning as a definition.
pub fn compile(workflow: &Workflow) -> Result<Definition, Vec<Problem>> {
    match lenient(workflow) {
        (definition, problems) if problems.is_empty() => Ok(definition),
        (_, problems) => Err(problems),
    }
}

/// The definition without the parts that have no meaning, so that the planner can find more.
pub(crate) fn lenient(workflow: &Workflow) -> (Definition, Vec<Problem>) {
    let mut compiler = Compiler::default();
    let metadata = workflow.metadata.clone().unwrap_or_default();
    let spec = workflow.spec.clone().unwrap_or_default();
    let definition = Definition {
        namespace: if metadata.namespace.is_empty() { DEFAULT_NAMESPACE.into() } else { metadata.namespace },
        name: metadata.name,
        labels: metadata.labels,
        timeout: compiler.millis("spec.timeout", spec.timeout.as_ref()),
        compensation_timeout: compiler.millis("spec.compensation_timeout", spec.compensation_timeout.as_ref()),
        retention: compiler.millis("spec.retention", spec.retention.as_ref()),
        on_failure: match compiler.choice("spec.on_failure", spec.on_failure) {
            v1::OnFailure::Hold => OnFailure::Hold,
            v1::OnFailure::Unspecified | v1::OnFailure::Compensate => OnFailure::Compensate,
        },
        concurrency: spec.concurrency.as_ref().map(|concurrency| compiler.concurrency(concurrency)),
        budget: spec.budget.as_ref().map(|budget| compiler.budget("spec.budget", budget)),
        input_schema: compiler.json("spec.input_schema", spec.input_schema.as_ref()),
        signals: spec
            .signals
            .iter()
            .map(|(name, schema)| (name.clone(), compiler.json(&format!("spec.signals.{name}"), Some(schema)).unwrap_or_default()))
            .collect(),
        steps: compiler.steps("spec.steps", &spec.steps),
        finally: compiler.steps("spec.finally", &spec.finally),
        on_attention: compiler.steps("spec.on_attention", &spec.on_attention),
        output: compiler.template("spec.output", spec.output.as_ref()),
    };
    (definition, compiler.problems)
}

#[derive(Default)]
struct Compiler {
    problems: Vec<Problem>,
}

impl Compiler {
    fn concurrency(&mut self, concurrency: &v1::Concurrency) -> ConcurrencyDefinition {
        ConcurrencyDefinition {
            key: concurrency.key.clone(),
            limit: concurrency.limit,
            on_conflict: match self.choice("spec.concurrency.on_conflict", concurrency.on_conflict) {
                v1::OnConflict::Unspecified | v1::OnConflict::Queue => OnConflict::Queue,
                v1::OnConflict::Reject => OnConflict::Reject,
                v1::OnConflict::Replace => OnConflict::Replace,
            },
            max_wait: self.millis("spec.concurrency.max_wait", concurrency.max_wait.as_ref()),
        }
    }

    fn budget(&mut self, path: &str, budget: &v1::Budget) -> Budget {
        Budget {
            unit: budget.unit.clone(),
            limit: budget.limit,
            per: match self.choice(&format!("{path}.per"), budget.per) {
                v1::BudgetPer::Unspecified | v1::BudgetPer::Run => BudgetPer::Run,
                v1::BudgetPer::Hour => BudgetPer::Hour,
                v1::BudgetPer::Day => BudgetPer::Day,
                v1::BudgetPer::Month => BudgetPer::Month,
            },
            fail: matches!(self.choice(&format!("{path}.on_exceeded"), budget.on_exceeded), v1::budget::OnExceeded::Fail),
        }
    }
}
