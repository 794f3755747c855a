//! Everything that is wrong with a message, whether a person or a program wrote it.

use quorus_proto::v1::Workflow;

use crate::{
    compile,
    engine::{self, Plan, Problem},
    header,
};

/// Checks a message and plans it. There is a plan exactly if no problem is an error; warnings come with it.
pub fn check(workflow: &Workflow) -> (Option<Plan>, Vec<Problem>) {
    let mut problems = header::check(workflow);
    let (definition, mut found) = compile::lenient(workflow);
    problems.append(&mut found);
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
