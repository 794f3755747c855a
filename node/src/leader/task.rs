//! What a worker receives for an attempt, made of the plan and of the run's state, so that it can be made again by any leader.

use std::borrow::Cow;

use quorus_engine::{Millis, Plan, PlannedStep, RunInfo, RunUid, StepId, StepState, Timestamp};
use quorus_proto::v1;
use sha2::{Digest, Sha256};

use super::RunKey;
use crate::{
    api::to_proto,
    dispatch::{Dispatcher, LeaseName, LimitRefs, Selectors, WaitingTask},
};

/// The task of a lease; `None` if the step is not a task of the plan.
pub(crate) fn task(plan: &Plan, info: &RunInfo, state: &StepState, name: &LeaseName) -> Option<v1::Task> {
    let planned = planned(plan, &name.attempt.step)?;
    let task = planned.kind.task()?;
    Some(v1::Task {
        lease: name.encode(),
        token: name.attempt.token.0,
        idempotency_key: idempotency_key(info, &name.attempt.step, state.generation),
        namespace: info.namespace.clone(),
        run_id: info.run_id.clone(),
        run_uid: info.uid.to_string(),
        workflow: info.workflow.clone(),
        step: name.attempt.step.to_string(),
        attempt: name.attempt.attempt,
        r#type: task.task_type.clone(),
        queue: if state.queue.is_empty() { task.queue.clone() } else { state.queue.clone() },
        input: state.input.as_ref().map(to_proto::payload),
        checkpoint: state.checkpoint.as_ref().map(to_proto::payload),
        attempt_timeout_ms: task.attempt_timeout.0,
        heartbeat_timeout_ms: task.heartbeat_timeout.map_or(0, |timeout| timeout.0),
        traceparent: info.traceparent.clone(),
        tracestate: info.tracestate.clone(),
        labels: planned.labels.clone(),
        shard: name.shard,
        secrets: task.secrets.clone(),
    })
}

/// Names a step of a run.
pub(crate) struct Place {
    pub(crate) shard: u32,
    pub(crate) key: RunKey,
    pub(crate) uid: RunUid,
    pub(crate) step: StepId,
}

/// A queued step as the dispatcher knows it. Without a plan it takes any worker and counts against nothing.
pub(crate) fn waiting<'i>(
    dispatcher: &Dispatcher,
    plan: Option<&Plan>,
    place: Place,
    state: &StepState,
    info: impl FnOnce() -> Option<Cow<'i, RunInfo>>,
) -> WaitingTask {
    let task = plan.and_then(|plan| planned(plan, &place.step)).and_then(|step| step.kind.task());
    let selectors = match task {
        Some(task) if !task.selectors.is_empty() => task.selectors.clone().into(),
        _ => Selectors::default(),
    };
    WaitingTask {
        limits: limits(dispatcher, plan, &place.step, state, info),
        shard: place.shard,
        key: place.key,
        uid: place.uid,
        step: place.step,
        queue: state.queue.clone(),
        selectors,
        priority: state.priority,
        since: waits_since(task.map(|task| task.schedule_timeout), state),
        deadline: state.schedule_deadline,
        expires_at: state.schedule_deadline,
    }
}

/// When it was queued: what its deadline was made of. The same under every leader.
fn waits_since(schedule_timeout: Option<Millis>, state: &StepState) -> Timestamp {
    let deadline = state.schedule_deadline.zip(schedule_timeout);
    let queued = deadline.map(|(deadline, timeout)| Timestamp(deadline.0.saturating_sub(i64::try_from(timeout.0).unwrap_or(i64::MAX))));
    // Another pool has another timeout.
    queued.max(state.ready_at).unwrap_or_default()
}

/// The limits that a queued or leased step counts against.
pub(crate) fn limits<'i>(
    dispatcher: &Dispatcher,
    plan: Option<&Plan>,
    step: &StepId,
    state: &StepState,
    info: impl FnOnce() -> Option<Cow<'i, RunInfo>>,
) -> LimitRefs {
    let planned = plan.and_then(|plan| planned(plan, step));
    match planned.and_then(|planned| Some((planned, planned.kind.task()?))) {
        Some((planned, task)) => dispatcher.limits_of(planned, task, state.input.as_ref(), info),
        None => LimitRefs::default(),
    }
}

/// The longest silence of a step's user code.
pub(crate) fn heartbeat_timeout(plan: &Plan, step: &StepId) -> Option<Millis> {
    planned(plan, step)?.kind.task()?.heartbeat_timeout
}

/// The step of the plan that a step of a run is an instance of.
pub(crate) fn planned<'p>(plan: &'p Plan, step: &StepId) -> Option<&'p PlannedStep> {
    plan.step(step).or_else(|| plan.step(&StepId::from(step.planned())))
}

/// The same for every attempt of a generation of a step, and for nothing else.
fn idempotency_key(info: &RunInfo, step: &StepId, generation: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(info.uid.to_bytes());
    hash.update(generation.to_be_bytes());
    hash.update(step.as_str());
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
