//! Why a run does not go on: what each waiting step waits for, and since when.

use quorus_engine::{Plan, PlannedKind, PlannedStep, Role, RunStatus, SlotState, StepId, StepState, StepStatus, Timestamp, UNBOUNDED_KEY};
use quorus_proto::v1;
use quorus_raft::GroupId;
use tonic::Status;

use super::{ApiContext, errors, history_event::attention_cause, to_proto};
use crate::{
    leader::planned,
    store::LoadedRun,
    system::{SlotStatus, Switch},
};

/// Reasons told at most: beyond them, a person needs a summary.
const REASONS_MAX: usize = 1_000;

/// What a run waits for.
pub(super) fn explain(context: &ApiContext, shard: GroupId, message: &v1::ExplainRunRequest) -> Result<v1::ExplainRunResponse, Status> {
    let store = context.store(shard);
    let unknown = || errors::run_not_found(&message.namespace, &message.run_id);
    let uid = store.current_uid(&message.namespace, &message.run_id).map_err(|error| errors::internal(&error))?.ok_or_else(unknown)?;
    let run = store.load_run(uid).map_err(|error| errors::internal(&error))?.ok_or_else(unknown)?;
    let plan = context.plans.get(&store, run.digest()).map_err(|error| errors::internal(&error))?;
    let summary = to_proto::run_summary(shard, &run.info, &run.head);
    let (run_reasons, waiting) =
        if run.head.status.is_final() { (Vec::new(), Vec::new()) } else { (of_run(context, &run)?, of_steps(&plan, &run)) };
    Ok(v1::ExplainRunResponse { run: Some(summary), run_reasons, waiting })
}

fn of_run(context: &ApiContext, run: &LoadedRun) -> Result<Vec<String>, Status> {
    let head = &run.head;
    let mut reasons = Vec::new();
    if let Some((principal, reason)) = &head.paused_by {
        reasons.push(with_reason(format!("paused by {}: no new attempts begin", principal.subject), reason));
    }
    if let Some(attention) = &head.attention {
        let step = attention.step.as_ref().map(|step| format!(", step {step}")).unwrap_or_default();
        let why = attention.failure.as_ref().map(|failure| format!("{}: {}", failure.kind, failure.message)).unwrap_or_default();
        let what = format!("needs attention since {} ({}{step})", attention.since, attention_cause(attention.cause));
        reasons.push(with_reason(what, &why));
    }
    if head.status == RunStatus::Queued
        && let Some(slot) = &head.slot
    {
        reasons.push(for_slot(context, run, slot)?);
    }
    if let Some(step) = &head.rewinds_to {
        reasons.push(format!("what followed from step {step} is being undone, then it begins again"));
    }
    Ok(reasons)
}

/// What a run waits for that has not begun.
fn for_slot(context: &ApiContext, run: &LoadedRun, slot: &SlotState) -> Result<String, Status> {
    let standing = context.system.slot_of(run.info.uid).map_err(|error| errors::internal(&error))?;
    // One that is not known yet will be parked.
    let is_parked = run.head.generation == 0 && standing.is_none_or(|standing| standing.status == SlotStatus::Parked);
    let flow = context.system.flow();
    Ok(match flow.paused_workflow(&run.info.namespace, &run.info.workflow) {
        Some(Switch { since, by, reason }) if is_parked => {
            with_reason(format!("its workflow is paused by {} since {since}", by.subject), reason)
        }
        _ if slot.key == UNBOUNDED_KEY => "waits for the word of group 0 that its workflow is not paused".to_owned(),
        _ => format!("waits for a slot of the concurrency key {:?}, which {} may hold at a time", slot.key, slot.limit),
    })
}

fn of_steps(plan: &Plan, run: &LoadedRun) -> Vec<v1::WaitingReason> {
    let mut waiting = Vec::new();
    let open = run.steps.iter().filter(|(_, state)| state.status.is_open());
    let mut open: Vec<_> = open.filter_map(|(id, state)| planned(plan, id).map(|step| (step, id, state))).collect();
    open.sort_by_key(|(step, id, _)| (step.index, *id));
    for (step, id, state) in open {
        let (reason, since) = why(plan, run, step, id, state);
        waiting.push(v1::WaitingReason {
            step: id.to_string(),
            kind: step.kind.name().to_owned(),
            status: to_proto::step_status(state.status).into(),
            reason,
            since: since.map(to_proto::time),
            until: until(state).map(to_proto::time),
        });
    }
    // Steps of the run itself that have not begun: which of their needs they wait for.
    if run.head.status == RunStatus::Running {
        let not_begun = |step: &&PlannedStep| step.parent.is_none() && step.role == Role::Body && !run.steps.contains_key(&step.id);
        for step in plan.steps.iter().filter(not_begun) {
            let missing: Vec<_> = step.needs.iter().map(|need| &plan.steps[need.index]).filter(|need| !has_ended(run, &need.id)).collect();
            let names = missing.iter().map(|need| need.id.as_str()).collect::<Vec<_>>().join(", ");
            let reason = if missing.is_empty() { "about to begin".to_owned() } else { format!("waits for the end of {names}") };
            waiting.push(v1::WaitingReason {
                step: step.id.to_string(),
                kind: step.kind.name().to_owned(),
                status: v1::StepStatus::Pending.into(),
                reason,
                ..v1::WaitingReason::default()
            });
        }
    }
    waiting.truncate(REASONS_MAX);
    waiting
}

fn has_ended(run: &LoadedRun, id: &StepId) -> bool {
    run.steps.get(id).is_some_and(|state| state.status.is_final())
}

/// What an open step waits for, and since when.
fn why(plan: &Plan, run: &LoadedRun, step: &PlannedStep, id: &StepId, state: &StepState) -> (String, Option<Timestamp>) {
    let held = match run.head.status {
        _ if run.head.paused_by.is_some() => "the run is paused; then ",
        RunStatus::NeedsAttention if quorus_engine::goes_forward(plan, id) => "the run needs attention; then ",
        _ => "",
    };
    match state.status {
        StepStatus::Queued => {
            (format!("{held}a worker with room for queue {:?}, priority {}", state.queue, state.priority), state.ready_at)
        }
        StepStatus::Leased => {
            let worker = state.worker.as_ref().map(|worker| worker.name.as_str()).unwrap_or_default();
            let since = state.lease.as_ref().map(|lease| lease.leased_at);
            let stopping = if state.cancel_deadline.is_some() { ", which was asked to stop" } else { "" };
            (format!("attempt {} on worker {worker}{stopping}", state.attempt), since)
        }
        StepStatus::BackingOff => {
            let why = state.failure.as_ref().map(|failure| format!("{}: {}", failure.kind, failure.message)).unwrap_or_default();
            (with_reason(format!("{held}the next attempt, after attempt {}", state.attempt), &why), state.started_at)
        }
        StepStatus::Waiting => ("time to pass".to_owned(), state.ready_at),
        StepStatus::Awaiting => (awaited(step, state), state.ready_at),
        StepStatus::Running => (inside(plan, run, id, state), state.started_at),
        StepStatus::Pending | StepStatus::Succeeded | StepStatus::Failed | StepStatus::Skipped | StepStatus::Cancelled => {
            (String::new(), state.ready_at)
        }
    }
}

fn awaited(step: &PlannedStep, state: &StepState) -> String {
    match &step.kind {
        PlannedKind::Signal(signal) => {
            let matching = signal.matches.as_ref().map(|matches| format!(" that matches {}", matches.source())).unwrap_or_default();
            format!("a signal {:?}{matching}", signal.name)
        }
        PlannedKind::Approval(approval) => {
            let given = state.approvals.iter().filter(|given| given.approve).count();
            let missing = usize::try_from(approval.required).unwrap_or(usize::MAX).saturating_sub(given);
            format!("{missing} more of {} approvals by {}", approval.required, approval.approvers.join(" or "))
        }
        _ => "something outside".to_owned(),
    }
}

/// What a container or a child waits for.
fn inside(plan: &Plan, run: &LoadedRun, id: &StepId, state: &StepState) -> String {
    if let Some(child) = &state.child {
        let what = match (child.compensates, child.cancel.is_some(), child.started) {
            (true, _, _) => "to undo what it did",
            (false, true, _) => "to stop",
            (false, false, true) => "to end",
            (false, false, false) => "to be accepted",
        };
        return format!("run {} {what}", child.run_id);
    }
    let is_below = |other: &StepId| match planned(plan, other).and_then(|step| step.parent) {
        Some(parent) => plan.steps[parent].id.as_str() == id.planned() && other != id,
        None => false,
    };
    let items =
        run.steps.iter().filter(|(other, state)| state.status.is_open() && other.as_item().is_some_and(|(of, _)| of == *id)).count();
    if items > 0 {
        return format!("the end of {items} items");
    }
    let open = run.steps.iter().filter(|(other, state)| state.status.is_open() && is_below(other)).count();
    format!("the end of {open} steps in it")
}

/// When a step goes on or fails at the latest.
fn until(state: &StepState) -> Option<Timestamp> {
    let attempt = state.lease.as_ref().and_then(|lease| lease.attempt_deadline);
    state.due.into_iter().chain(state.schedule_deadline).chain(state.cancel_deadline).chain(attempt).chain(state.step_deadline).min()
}

fn with_reason(text: String, reason: &str) -> String {
    if reason.is_empty() { text } else { format!("{text}: {reason}") }
}
