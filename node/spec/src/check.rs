//! Everything that is wrong with a message, whether a person or a program wrote it.

use quorus_engine::{Definition, Kind, StepDefinition};
use quorus_proto::v1::Workflow;
use serde_json::Value;

use crate::{
    compile,
    engine::{self, Plan, Problem},
    header,
    validate::Schema,
};

/// Checks a message and plans it. There is a plan exactly if no problem is an error; warnings come with it.
pub fn check(workflow: &Workflow) -> (Option<Plan>, Vec<Problem>) {
    let mut problems = header::check(workflow);
    let (definition, mut found) = compile::lenient(workflow);
    problems.append(&mut found);
    schemas(&definition, &mut problems);
    let (plan, found) = engine::plan(&definition);
    // What the planner says of a part that is already known to be wrong would only repeat it.
    let new: Vec<Problem> = found.into_iter().filter(|new| !problems.iter().any(|known| covers(&known.path, &new.path))).collect();
    problems.extend(new);
    let broken = problems.iter().any(|problem| !problem.warning);
    (plan.filter(|_| !broken), problems)
}

/// True if `inner` is `outer` or a part of it.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What says to be a schema must be one.
fn schemas(definition: &Definition, problems: &mut Vec<Problem>) {
    if let Some(schema) = &definition.input_schema {
        is_schema("spec.input_schema", schema, problems);
    }
    for (name, schema) in &definition.signals {
        is_schema(&format!("spec.signals.{name}"), schema, problems);
    }
    for (field, steps) in [("steps", &definition.steps), ("finally", &definition.finally), ("on_attention", &definition.on_attention)] {
        output_schemas(&format!("spec.{field}"), steps, problems);
    }
}

fn output_schemas(path: &str, steps: &[StepDefinition], problems: &mut Vec<Problem>) {
    for (index, step) in steps.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(schema) = &step.output_schema {
            is_schema(&format!("{path}.output_schema"), schema, problems);
        }
        match &step.kind {
            Some(Kind::Group(group)) => output_schemas(&format!("{path}.group.steps"), &group.steps, problems),
            Some(Kind::ForEach(each)) => output_schemas(&format!("{path}.for_each.steps"), &each.steps, problems),
            Some(Kind::Repeat(repeat)) => output_schemas(&format!("{path}.repeat.steps"), &repeat.steps, problems),
            _ => {}
        }
    }
}

fn is_schema(path: &str, schema: &Value, problems: &mut Vec<Problem>) {
    if let Err(why) = Schema::compile(schema) {
        problems.push(Problem::error(path, "invalid-schema", format!("`{path}` is no JSON Schema: {why}")));
    }
}
