//! The steps of a run as clients read them: the plan's, and the instances that items and iterations make of them.
//!
//! A `for_each` may have 10,000 items: they are counted in the entry of the step, and only those that have not ended well have entries of their own,
//! up to a bound.

use std::collections::BTreeMap;

use quorus_engine::{Phase, Plan, PlannedKind, PlannedStep, Role, RunStatus, StepId, StepState, StepStatus};
use quorus_proto::v1;

use super::to_proto::{failure, payload, principal, run_status, skip_cause, step_status, time};
use crate::{leader::planned, store::LoadedRun};

/// Entries of items and of what is in them.
const INSTANCES_MAX: usize = 1_000;

/// The steps of a run, in plan order, then the instances.
pub(crate) fn steps(plan: &Plan, run: &LoadedRun) -> Vec<v1::StepState> {
    let view = StepsView { plan, run, items: count_items(run) };
    let of_plan = plan.steps.iter().filter(|step| !view.is_repeated(step)).map(|step| view.step(&step.id, step));
    let mut steps: Vec<_> = of_plan.collect();
    let shown = |id: &StepId, state: &StepState| {
        let in_items = id.within().is_some() || id.as_item().is_some() || id.undoes().is_some_and(|of| of.as_item().is_some());
        in_items && !matches!(state.status, StepStatus::Succeeded | StepStatus::Skipped)
    };
    let mut instances: Vec<_> = run.steps.iter().filter(|(id, state)| shown(id, state)).map(|(id, _)| id).collect();
    instances.sort_by_cached_key(|id| natural(id));
    instances.truncate(INSTANCES_MAX);
    steps.extend(instances.into_iter().filter_map(|id| view.instance(id)));
    steps
}

/// Steps of a run that did not succeed which are done, or may be, and are not undone.
pub(crate) fn undone(plan: &Plan, run: &LoadedRun) -> Vec<String> {
    if run.head.status == RunStatus::Succeeded || !(run.head.status.is_final() || run.head.status == RunStatus::NeedsAttention) {
        return Vec::new();
    }
    let is_left = |id: &StepId, state: &StepState| {
        let Some(step) = planned(plan, id).filter(|step| step.role == Role::Body && id.undoes().is_none()) else { return false };
        let did = state.in_doubt || (state.end_seq > 0 && state.status == StepStatus::Succeeded);
        let is_undone = compensation_of(run, id, state).is_some_and(|undo| undo.status == StepStatus::Succeeded);
        // A container's steps are named themselves.
        did && !is_undone && !(step.kind.is_container() && step.compensation.is_none())
    };
    run.steps.iter().filter(|(id, state)| is_left(id, state)).map(|(id, _)| id.to_string()).collect()
}

/// What a scope does, as a word.
pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "running",
        Phase::Closing => "closing",
        Phase::Stopping => "stopping",
        Phase::Observing => "observing",
        Phase::Compensating => "compensating",
        Phase::Compensated => "compensated",
        Phase::Finally => "finally",
        Phase::Rewinding => "rewinding",
    }
}

/// One step of a run, with all that clients read of it.
pub(crate) fn one(plan: &Plan, run: &LoadedRun, id: &StepId) -> Option<v1::StepState> {
    let view = StepsView { plan, run, items: BTreeMap::new() };
    Some(view.step(id, planned(plan, id)?))
}

/// How the items of a container stand.
#[derive(Clone, Copy, Default)]
struct Items {
    started: u32,
    succeeded: u32,
    failed: u32,
}

struct StepsView<'a> {
    plan: &'a Plan,
    run: &'a LoadedRun,
    items: BTreeMap<StepId, Items>,
}

impl StepsView<'_> {
    /// True if the step is in a container whose items or iterations have instances of it.
    fn is_repeated(&self, step: &PlannedStep) -> bool {
        let mut above = step.parent;
        while let Some(container) = above.map(|index| &self.plan.steps[index]) {
            if matches!(container.kind, PlannedKind::ForEach(_) | PlannedKind::Repeat(_)) {
                return true;
            }
            above = container.parent;
        }
        false
    }

    fn instance(&self, id: &StepId) -> Option<v1::StepState> {
        if let Some((container, _)) = id.as_item() {
            let state = self.run.steps.get(id)?;
            return Some(v1::StepState { parent: container.to_string(), ..self.entry(id, "item", Some(state)) });
        }
        Some(self.step(id, planned(self.plan, id)?))
    }

    fn step(&self, id: &StepId, step: &PlannedStep) -> v1::StepState {
        let state = self.run.steps.get(id).filter(|state| self.counts(id, state));
        let mut wire = self.entry(id, step.kind.name(), state);
        wire.parent = self.parent(id, step);
        wire.role = if step.role == Role::Body { String::new() } else { step.role.name().to_owned() };
        match &step.kind {
            PlannedKind::Approval(approval) => {
                wire.approval = Some(v1::ApprovalState {
                    approvers: approval.approvers.clone(),
                    required: approval.required,
                    exclude_starter: approval.exclude_starter,
                    decisions: state.map(decisions).unwrap_or_default(),
                });
            }
            PlannedKind::Signal(signal) => wire.signal.clone_from(&signal.name),
            _ => {}
        }
        if let Some(scope) = state.and_then(|state| state.scope.as_ref()) {
            let items = match step.kind {
                PlannedKind::Group(_) => self.of_group(id, step),
                _ => self.items.get(id).copied().unwrap_or_default(),
            };
            let total = match step.kind {
                PlannedKind::Group(_) => u32::try_from(step.body.len()).unwrap_or(u32::MAX),
                PlannedKind::Repeat(_) => items.started,
                _ => scope.total,
            };
            wire.scope = Some(v1::ScopeCounts {
                total,
                started: items.started,
                succeeded: items.succeeded,
                failed: items.failed,
                phase: phase_name(scope.phase).to_owned(),
            });
        }
        wire
    }

    /// What can be said without the plan.
    fn entry(&self, id: &StepId, kind: &str, state: Option<&StepState>) -> v1::StepState {
        // One that begins anew and has not yet is as good as none.
        let Some(state) = state.filter(|state| state.status != StepStatus::Pending || !self.run.head.status.is_final()) else {
            let ended = self.run.head.status.is_final();
            let status = if ended { v1::StepStatus::Cancelled } else { v1::StepStatus::Pending };
            return v1::StepState { step: id.to_string(), kind: kind.to_owned(), status: status.into(), ..v1::StepState::default() };
        };
        v1::StepState {
            step: id.to_string(),
            status: step_status(state.status).into(),
            attempt: state.attempt,
            kind: kind.to_owned(),
            ready_at: state.ready_at.map(time),
            started_at: state.started_at.map(time),
            ended_at: state.ended_at.map(time),
            due_at: state.due.or(state.step_deadline.filter(|_| state.status == StepStatus::Awaiting)).map(time),
            worker: state.worker.as_ref().map(|worker| worker.name.clone()).unwrap_or_default(),
            output: state.output.as_ref().map(payload),
            failure: state.failure.as_ref().map(failure),
            skip_cause: state.skip.map(skip_cause).unwrap_or_default().to_owned(),
            checkpoint: state.checkpoint.as_ref().map(payload),
            preemptions: state.preemptions,
            generation: state.generation,
            child: state.child.as_deref().map(|child| v1::ChildState {
                run_id: child.run_id.clone(),
                run_uid: child.uid.to_string(),
                status: match (child.ended, child.started) {
                    (Some(status), _) => run_status(status).into(),
                    (None, true) => v1::RunStatus::Running.into(),
                    (None, false) => v1::RunStatus::Unspecified.into(),
                },
                workflow: child.workflow.clone(),
            }),
            compensation: compensation_of(self.run, id, state).map_or(v1::CompensationState::Unspecified, undoing).into(),
            in_doubt: state.in_doubt,
            ..v1::StepState::default()
        }
    }

    /// False for an entry that is left from an earlier generation of the step that it undoes.
    fn counts(&self, id: &StepId, state: &StepState) -> bool {
        id.undoes().and_then(|of| self.run.steps.get(&of)).is_none_or(|of| of.generation == state.epoch)
    }

    /// The instance of the container that a step is in.
    fn parent(&self, id: &StepId, step: &PlannedStep) -> String {
        let Some(container) = step.parent.map(|index| &self.plan.steps[index]) else { return String::new() };
        match (&container.kind, id.within()) {
            (PlannedKind::Group(_), Some(item)) => format!("{item}.{}", container.id),
            (PlannedKind::Group(_), None) | (_, None) => container.id.to_string(),
            (_, Some(item)) => item.to_string(),
        }
    }

    fn of_group(&self, id: &StepId, group: &PlannedStep) -> Items {
        let mut items = Items::default();
        for step in group.body.iter().map(|index| &self.plan.steps[*index]) {
            let instance = match id.within() {
                Some(item) => StepId::from(format!("{item}.{}", step.id).as_str()),
                None => step.id.clone(),
            };
            if let Some(state) = self.run.steps.get(&instance) {
                items.add(state);
            }
        }
        items
    }
}

impl Items {
    fn add(&mut self, state: &StepState) {
        self.started += 1;
        self.succeeded += u32::from(matches!(state.status, StepStatus::Succeeded | StepStatus::Skipped));
        self.failed += u32::from(state.status == StepStatus::Failed);
    }
}

fn count_items(run: &LoadedRun) -> BTreeMap<StepId, Items> {
    let mut counts: BTreeMap<StepId, Items> = BTreeMap::new();
    for (id, state) in &run.steps {
        if let Some((container, _)) = id.as_item() {
            counts.entry(container).or_default().add(state);
        }
    }
    counts
}

fn decisions(state: &StepState) -> Vec<v1::Decision> {
    let decision = |approval: &quorus_engine::Approval| v1::Decision {
        principal: Some(principal(&approval.principal)),
        reason: approval.reason.clone(),
        time: Some(time(approval.time)),
        approved: approval.approve,
    };
    state.approvals.iter().map(decision).collect()
}

/// What undoes a step, if it has begun for this generation of it.
fn compensation_of<'r>(run: &'r LoadedRun, id: &StepId, state: &StepState) -> Option<&'r StepState> {
    run.steps.get(&id.compensation()).filter(|undo| undo.epoch == state.generation)
}

fn undoing(undo: &StepState) -> v1::CompensationState {
    match undo.status {
        StepStatus::Succeeded | StepStatus::Skipped => v1::CompensationState::Completed,
        StepStatus::Failed | StepStatus::Cancelled => v1::CompensationState::Incomplete,
        StepStatus::Pending
        | StepStatus::Queued
        | StepStatus::Leased
        | StepStatus::Waiting
        | StepStatus::BackingOff
        | StepStatus::Running
        | StepStatus::Awaiting => v1::CompensationState::Running,
    }
}

/// So that item 10 comes after item 9: numbers are padded.
fn natural(id: &StepId) -> String {
    let mut key = String::with_capacity(id.as_str().len() + 16);
    let mut digits = String::new();
    for character in id.as_str().chars().chain([' ']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        if !digits.is_empty() {
            key.push_str(&format!("{digits:0>10}"));
            digits.clear();
        }
        key.push(character);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_in_the_order_of_their_positions() {
        let mut ids = ["a[10]", "a[9].b", "a[9]", "a[2].b[11].c", "a[2].b[3].c"].map(StepId::from);
        ids.sort_by_cached_key(natural);
        assert_eq!(ids.map(|id| id.to_string()), ["a[2].b[3].c", "a[2].b[11].c", "a[9]", "a[9].b", "a[10]"]);
    }
}
