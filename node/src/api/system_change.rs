//! Changes of group 0 as requests: on its leader, wherever they came in.

use quorus_raft::{Group, ProposeError};
use tonic::Status;

use super::{ApiContext, errors};
use crate::system::{SystemAnswer, SystemCommand};

/// Proposes to the system group; `None` if this node does not lead it.
pub(super) async fn propose(context: &ApiContext, group: &Group, command: &SystemCommand) -> Option<Result<SystemAnswer, Status>> {
    let leadership = *group.leadership().borrow();
    if !leadership.here {
        return None;
    }
    Some(match group.propose(leadership.term, command.encode(context.clock.now())).await {
        Ok(proposed) => SystemAnswer::decode(proposed.answer).map_err(|error| errors::internal(&error)),
        Err(ProposeError::NotLeader { .. }) => return None,
        Err(_) => Err(errors::outcome_unknown()),
    })
}

/// The problems of a definition as an answer; `None` if all are warnings.
pub(super) fn refused(problems: &[quorus_spec::Problem]) -> Status {
    /// Details travel in a header, whose size clients bound.
    const TOLD_MAX: usize = 20;
    let violation = |problem: &quorus_spec::Problem| {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        (problem.path.clone(), format!("{}{hint}", problem.message))
    };
    errors::invalid(problems.iter().filter(|problem| !problem.warning).take(TOLD_MAX).map(violation).collect())
}

/// Fills the default namespace in and checks namespace and name.
pub(super) fn named(namespace: &mut String, name: &str) -> Result<(), Status> {
    if namespace.is_empty() {
        *namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    let mut violations = Vec::new();
    if !super::limits::is_name(namespace) {
        violations.push(("namespace".to_owned(), "must have 1 to 200 letters, digits, `.`, `_`, `-` or `:`".to_owned()));
    }
    if name.is_empty() {
        violations.push(("name".to_owned(), "is required".to_owned()));
    }
    if violations.is_empty() { Ok(()) } else { Err(errors::invalid(violations)) }
}
