//! Answers about the life of a run, for people.

use quorus_client::v1::{CompensationState, ExplainRunResponse, MigrateRunResponse, PendingApproval, WaitingReason};

use super::{
    table,
    text::{age, painted, run_status, run_style, step_status, step_style, time},
};

/// How far the undoing is; empty if there was nothing to undo.
pub(crate) fn compensation(state: CompensationState) -> &'static str {
    match state {
        CompensationState::Unspecified => "",
        CompensationState::Running => "running",
        CompensationState::Completed => "completed",
        CompensationState::Incomplete => "incomplete",
    }
}

/// What a run waits for.
pub(crate) fn why(answer: &ExplainRunResponse) -> String {
    let run = answer.run.clone().unwrap_or_default();
    let status = painted(run_style(run.status()), &run_status(run.status()));
    let mut text = format!("run {} of {} is {status}\n", run.run_id, run.workflow);
    for reason in &answer.run_reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    if answer.waiting.is_empty() {
        return text;
    }
    let row = |waiting: &WaitingReason| {
        let until = waiting.until.as_ref().map(|until| time(Some(until))).unwrap_or_default();
        let status = painted(step_style(waiting.status()), &step_status(waiting.status()));
        let since = waiting.since.as_ref().map(|since| age(Some(since))).unwrap_or_default();
        [waiting.step.clone(), waiting.kind.clone(), status, since, waiting.reason.clone(), until]
    };
    text.push('\n');
    text.push_str(&table::table(["STEP", "KIND", "STATUS", "SINCE", "WAITS FOR", "UNTIL"], answer.waiting.iter().map(row)));
    text
}

/// What a migration changed, or would.
pub(crate) fn migration(answer: &MigrateRunResponse, dry_run: bool) -> String {
    let run = answer.run.clone().unwrap_or_default();
    let what = if dry_run { "can be moved" } else { "was moved" };
    let mut text = format!("run {} {what} to version {} of {}\n", run.run_id, answer.workflow_version, run.workflow);
    for (mark, steps) in [("+", &answer.added), ("-", &answer.removed), ("~", &answer.changed)] {
        for step in steps {
            text.push_str(&format!("  {mark} {step}\n"));
        }
    }
    text
}

/// Approvals that wait.
pub(crate) fn approvals(approvals: &[PendingApproval]) -> String {
    let row = |pending: &PendingApproval| {
        let step = pending.step.clone().unwrap_or_default();
        let approval = step.approval.unwrap_or_default();
        let given = approval.decisions.iter().filter(|decision| decision.approved).count();
        let by: Vec<_> =
            approval.decisions.iter().filter_map(|decision| decision.principal.as_ref()).map(|who| who.subject.clone()).collect();
        [
            pending.run_id.clone(),
            pending.workflow.clone(),
            step.step,
            approval.approvers.join(", "),
            format!("{given}/{}", approval.required),
            by.join(", "),
            age(step.ready_at.as_ref()),
            time(step.due_at.as_ref()),
        ]
    };
    table::table(["RUN", "WORKFLOW", "STEP", "APPROVERS", "GIVEN", "BY", "AGE", "UNTIL"], approvals.iter().map(row))
}

#[cfg(test)]
mod tests {
    use quorus_client::v1::{ApprovalState, Decision, Principal, Run, RunStatus, StepState, StepStatus};

    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn why_names_what_the_run_and_each_step_wait_for() {
        let answer = ExplainRunResponse {
            run: Some(Run { run_id: "r".into(), workflow: "release".into(), status: RunStatus::Running as i32, ..Run::default() }),
            run_reasons: vec!["paused by ada".into()],
            waiting: vec![WaitingReason {
                step: "sign_off".into(),
                kind: "approval".into(),
                status: StepStatus::Waiting as i32,
                reason: "1 more approval by release_managers".into(),
                since: None,
                until: None,
            }],
        };
        let text = plain(&why(&answer));
        assert!(text.starts_with("run r of release is running\n  paused by ada\n"), "{text}");
        assert!(text.contains("sign_off") && text.contains("1 more approval by release_managers"), "{text}");
    }

    #[test]
    fn an_approval_shows_who_has_decided() {
        let decision = |subject: &str| Decision {
            principal: Some(Principal { subject: subject.into(), ..Principal::default() }),
            approved: true,
            ..Decision::default()
        };
        let approval = ApprovalState { approvers: vec!["ops".into()], required: 2, decisions: vec![decision("ada")], ..Default::default() };
        let step = StepState { step: "sign_off".into(), approval: Some(approval), ..StepState::default() };
        let text = plain(&approvals(&[PendingApproval { run_id: "r".into(), step: Some(step), ..PendingApproval::default() }]));
        assert!(text.contains("1/2") && text.contains("ada"), "{text}");
    }
}
