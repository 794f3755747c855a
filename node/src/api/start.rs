//! How a start request becomes a run.

use std::collections::BTreeMap;

use quorus_engine::{ChildVersion, Payload, Plan, PlannedKind, RunInfo, RunUid};
use quorus_mutants::{Mutant, active};
use quorus_proto::v1;
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use super::{
    ApiContext,
    change::{ask, refuse},
    errors,
    errors::reason,
    forward::Journey,
    from_proto, limits,
    run_service::checked,
    schemas,
};
use crate::{
    leader::{Ask, LedShard, RunKey, StartAsk},
    observe::names,
    store::CHANGE_MARK,
    system::WorkflowVersion,
};

/// How long a start waits for the revision of definitions that it asks for.
const REVISION_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Fills in what the client left out, and checks everything: from here on the request is the same on every node and in every repetition.
pub(super) fn complete(message: &mut v1::StartRunRequest, journey: &Journey) -> Result<(), Status> {
    if message.namespace.is_empty() {
        message.namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    if message.request_id.is_empty() {
        message.request_id = uuid::Uuid::new_v4().to_string();
    }
    if message.run_id.is_empty() {
        message.run_id = derived_run_id(&message.namespace, &message.request_id);
    }
    if message.traceparent.is_empty() {
        message.traceparent = journey.metadata("traceparent").unwrap_or_default();
        message.tracestate = journey.metadata("tracestate").unwrap_or_default();
    }
    checked(&mut message.namespace, &message.run_id)?;
    if message.input.as_ref().is_some_and(|input| input.data.len() > Payload::BYTES_MAX) {
        return Err(errors::status(
            Code::InvalidArgument,
            reason::PAYLOAD_TOO_LARGE,
            "input: is larger than 2 MiB; pass a reference to it",
        ));
    }
    let mut violations = Vec::new();
    let mut must = |ok: bool, field: &str, what: &str| {
        if !ok {
            violations.push((field.to_owned(), what.to_owned()));
        }
    };
    must(!message.workflow.is_empty(), "workflow", "is required");
    must(message.request_id.len() <= limits::NAME_CHARS_MAX, "request_id", "has at most 200 characters");
    must(!message.request_id.starts_with(CHANGE_MARK), "request_id", "begins with a control character");
    must(message.labels.len() <= limits::LABELS_MAX, "labels", "has at most 64 entries");
    must(from_proto::on_conflict(message.on_conflict).is_some(), "on_conflict", "is not a policy that this version knows");
    must(from_proto::on_reuse(message.on_reuse).is_some(), "on_reuse", "is not a policy that this version knows");
    if let Some(input) = &message.input
        && (input.encoding.is_empty() || input.encoding == "json")
        && !input.data.is_empty()
        && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&input.data)
    {
        must(false, "input", &format!("is not JSON: {error}"));
    }
    if violations.is_empty() { Ok(()) } else { Err(errors::invalid(violations)) }
}

/// Starts the run that a completed request describes, on its leader.
pub(super) async fn start(context: &ApiContext, led: &LedShard, message: &v1::StartRunRequest) -> Result<v1::StartRunResponse, Status> {
    // Whoever waits for a revision takes no room of those who change something.
    let version = definition(context, message).await?;
    let permit = context.admission.change()?;
    let (definition, digest) = (version.workflow.clone(), version.digest);
    let plan = context.plans.compile(&digest, definition.clone()).map_err(|error| errors::internal(&error))?;
    schemas::check_input(&plan, message.input.as_ref())?;
    let now = context.clock.now();
    let mut labels = plan.labels.clone();
    labels.extend(message.labels.clone());
    let info = RunInfo {
        namespace: message.namespace.clone(),
        run_id: message.run_id.clone(),
        uid: RunUid(context.clock.unique()),
        workflow: message.workflow.clone(),
        version: version.version,
        digest,
        input: message.input.clone().map(from_proto::payload).unwrap_or_default(),
        labels,
        principal: from_proto::principal(message.principal.clone()),
        request_id: message.request_id.clone(),
        traceparent: message.traceparent.clone(),
        tracestate: message.tracestate.clone(),
        steps_total: u32::try_from(plan.steps.len()).unwrap_or(u32::MAX),
        deadline: plan.timeout.map(|timeout| now.plus(timeout)),
        retention: plan.retention,
        parent: None,
        root_principal: None,
        pinned: pinned(context, &plan)?,
    };
    let policies = from_proto::on_conflict(message.on_conflict).zip(from_proto::on_reuse(message.on_reuse));
    let (on_conflict, on_reuse) = policies.ok_or_else(|| errors::invalid(vec![("on_conflict".into(), "is not known".into())]))?;
    let key = RunKey::new(&message.namespace, &message.run_id);
    let start = Ask::Start(Box::new(StartAsk { info, definition, on_conflict, on_reuse }));
    match ask(led, &key, start, Some(permit)).await {
        Ok(answer) => {
            if !answer.existing {
                metrics::counter!(names::RUNS_STARTED).increment(1);
            }
            let known = context.read_uid(led.shard, answer.uid)?;
            let known = known.or_else(|| active(Mutant::AckBeforeCommit).then(|| to_be(message, answer.uid)));
            let run = known.ok_or_else(|| errors::run_purged(&message.run_id, answer.uid))?;
            Ok(v1::StartRunResponse { run: Some(run), existing: answer.existing })
        }
        Err(refusal) => Err(refuse(led, &message.namespace, &message.run_id, refusal).await),
    }
}

/// A run that nobody has yet. Only for [`Mutant::AckBeforeCommit`].
fn to_be(message: &v1::StartRunRequest, uid: RunUid) -> v1::Run {
    v1::Run {
        namespace: message.namespace.clone(),
        run_id: message.run_id.clone(),
        run_uid: uid.to_string(),
        workflow: message.workflow.clone(),
        status: v1::RunStatus::Running.into(),
        ..v1::Run::default()
    }
}

/// The version to start with, at least as new as the request wants it.
pub(super) async fn definition(context: &ApiContext, message: &v1::StartRunRequest) -> Result<WorkflowVersion, Status> {
    let mut view = context.system.subscribe();
    let is_there = view.borrow().revision >= message.min_revision;
    if !is_there {
        let _place = context.admission.waiting()?;
        let new_enough = view.wait_for(|view| view.revision >= message.min_revision);
        if !matches!(tokio::time::timeout(REVISION_WITHIN, new_enough).await, Ok(Ok(_))) {
            return Err(errors::no_leader(0));
        }
    }
    version_of(context, &message.namespace, &message.workflow, message.workflow_version).await
}

/// A version of a workflow, 0 for the latest, from this node's copy, which is made fresh before it says that there is none.
pub(super) async fn version_of(context: &ApiContext, namespace: &str, name: &str, version: u64) -> Result<WorkflowVersion, Status> {
    let group = context.system_group()?;
    let find = || context.system.workflow(namespace, name, version).map_err(|error| errors::internal(&error));
    if let Some(found) = find()? {
        return Ok(found);
    }
    group.read_barrier().await.map_err(|_| errors::no_leader(0))?;
    find()?.ok_or_else(|| errors::workflow_not_found(namespace, name, version))
}

/// The versions of the workflows that a plan's steps start, as they are now. One that is not there yet is looked for when its step begins.
pub(super) fn pinned(context: &ApiContext, plan: &Plan) -> Result<BTreeMap<String, u64>, Status> {
    let mut pinned = BTreeMap::new();
    for step in &plan.steps {
        if let PlannedKind::Workflow(child) = &step.kind
            && child.version == ChildVersion::Pinned
            && let Some(found) = context.system.workflow(&plan.namespace, &child.name, 0).map_err(|error| errors::internal(&error))?
        {
            pinned.insert(child.name.clone(), found.version);
        }
    }
    Ok(pinned)
}

/// The run id of a start that names none: the same for every repetition of the request, so that it reaches the same shard.
fn derived_run_id(namespace: &str, request_id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((namespace.len() as u64).to_be_bytes());
    hash.update(namespace);
    hash.update(request_id);
    let hex: String = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("run-{hex}")
}

#[cfg(test)]
mod tests {
    use super::derived_run_id;

    #[test]
    fn a_repeated_request_means_the_same_run() {
        assert_eq!(derived_run_id("default", "a"), derived_run_id("default", "a"));
        assert_ne!(derived_run_id("default", "a"), derived_run_id("default", "b"));
        assert_ne!(derived_run_id("ab", "c"), derived_run_id("a", "bc"));
    }
}
