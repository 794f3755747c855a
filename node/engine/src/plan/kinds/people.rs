//! `signal` and `approval`: what others decide.

use crate::expr::Reading;
use crate::plan::Problem;
use crate::plan::check_fields::declared_signal;
use crate::plan::check_names::word;
use crate::plan::expressions::{At, Compiler};
use crate::plan::types::{PlannedApproval, PlannedExpression, PlannedSignal};
use crate::{ApprovalDefinition, SignalDefinition};

/// More people than this is a vote.
const APPROVALS_MAX: u32 = 100;

impl Compiler<'_> {
    pub(super) fn signal(&mut self, at: &At, vertex: usize, signal: &SignalDefinition) -> PlannedSignal {
        let path = format!("{}.signal.name", at.path);
        word(&path, "the signal's name", &signal.name, "invalid-signal", &mut self.problems);
        declared_signal(self.definition, &path, &signal.name, &mut self.problems);
        self.warn_if_unbounded(at, vertex, "signal");
        let at = At { reading: Reading { signal: true, ..at.reading }, ..at.clone() };
        let matches = signal.matches.as_ref().and_then(|source| self.expression(&at, ".signal.match", source));
        PlannedSignal { name: signal.name.clone(), matches: matches.map(PlannedExpression), buffered: !signal.unbuffered }
    }

    pub(super) fn approval(&mut self, at: &At, vertex: usize, approval: &ApprovalDefinition) -> PlannedApproval {
        let path = format!("{}.approval", at.path);
        if approval.approvers.is_empty() {
            let message = "nobody can approve";
            self.error(format!("{path}.approvers"), "missing-approvers", message, "name at least one role, for example [release_managers]");
        }
        for (index, role) in approval.approvers.iter().enumerate() {
            word(&format!("{path}.approvers[{index}]"), "a role", role, "invalid-role", &mut self.problems);
        }
        if approval.required > APPROVALS_MAX {
            let message = format!("{} approvals are more than {APPROVALS_MAX}", approval.required);
            self.error(format!("{path}.required"), "invalid-required", message, "");
        }
        self.warn_if_unbounded(at, vertex, "approval");
        PlannedApproval {
            approvers: approval.approvers.clone(),
            required: approval.required.max(1),
            exclude_starter: approval.exclude_starter,
        }
    }

    /// Nothing would ever end it, or what it is in.
    fn warn_if_unbounded(&mut self, at: &At, vertex: usize, kind: &str) {
        let vertices = &self.flat.vertices;
        let bounded = std::iter::once(vertex)
            .chain(self.flat.containers(vertex))
            .any(|vertex| vertices[vertex].step().is_some_and(|step| step.timeout.is_some()));
        if !bounded && self.definition.timeout.is_none() {
            let message = format!("the {kind} may be waited for forever");
            self.problems.push(Problem::error(at.path.clone(), "unbounded", message).with_hint("give the step a `timeout`").as_warning());
        }
    }
}
