//! What every definition starts with: `api_version`, `kind`, and a name.

use quorus_proto::v1::Workflow;

use crate::engine::Problem;

/// The only version there is.
pub const API_VERSION: &str = "quorus/v1";
/// What a workflow says it is.
pub const KIND: &str = "Workflow";

pub(crate) fn check(workflow: &Workflow) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, value, expected) in [("api_version", &workflow.api_version, API_VERSION), ("kind", &workflow.kind, KIND)] {
        if value.is_empty() {
            problems.push(missing(path, &format!("add `{path}: {expected}`")));
        } else if value != expected {
            let message = format!("`{path}` is `{value}`, which this version of Quorus does not know");
            problems.push(Problem::error(path, "wrong-value", message).with_hint(format!("write `{path}: {expected}`")));
        }
    }
    match &workflow.metadata {
        None => problems.push(missing("metadata", "add `metadata: {name: ...}`")),
        Some(metadata) if metadata.name.is_empty() => {
            problems.push(missing("metadata.name", "give it one, in lower-case letters, digits and dashes"));
        }
        // What a name may look like is the planner's to say.
        Some(_) => {}
    }
    if workflow.spec.is_none() {
        problems.push(missing("spec", "add `spec: {steps: [...]}`"));
    }
    problems
}

fn missing(path: &str, hint: &str) -> Problem {
    Problem::error(path, "missing-field", format!("`{path}` is missing")).with_hint(hint)
}
