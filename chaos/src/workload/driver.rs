//! Drives a cluster: applies the workflows, starts the runs, does to them what the plan says, looks at them, and waits for their ends.
//!
//! Each run has a conductor, a client of its own (under a closed load: one client with a run at a time). Besides, readers look at any runs.
//! The driver ends when every accepted run has ended or waits for somebody; a run that does neither in its time is an error of the harness, which
//! takes the verdict back to "unknown" until a checker explains it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use quorus_client::{content_digest, is_final, v1};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use v1::{
    RunStatus, StepStatus, lifecycle_service_client::LifecycleServiceClient, run_service_client::RunServiceClient,
    workflow_service_client::WorkflowServiceClient,
};

use super::{
    owed::Owed,
    plan::{self, Catalogue},
    random::Rng,
    recorder::Recorder,
    runs::{Act, Load, RunPlan},
    site::Site,
    wire::{Patience, WireClient, answer_of},
};
use crate::record::{Call, Ending};

/// Large answers have many steps.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How the driver goes about it.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How runs arrive.
    pub load: Load,
    /// How long calls are tried.
    pub patience: Patience,
    /// How long a run may take from its start to its end, faults included.
    pub run_patience: Duration,
    /// Between two looks of a conductor at its run: at least and at most.
    pub look_ms: (u64, u64),
    /// Clients that look at any runs.
    pub readers: u32,
    /// How many of the reads may be stale.
    pub stale: f64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            load: Load::at_rate(10.0),
            patience: Patience::default(),
            run_patience: Duration::from_secs(300),
            look_ms: (300, 1_500),
            readers: 2,
            stale: 0.1,
        }
    }
}

/// How far the driver is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Starts that were acknowledged.
    pub accepted: AtomicU64,
    /// Starts that were refused, or whose end nobody knows.
    pub refused: AtomicU64,
    /// Runs whose end was seen.
    pub ended: AtomicU64,
}

/// What came of the runs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The last that was seen of each accepted run, by id.
    pub runs: BTreeMap<String, v1::Run>,
}

/// What conductors share.
struct Shared {
    site: Arc<dyn Site>,
    recorder: Recorder,
    catalogue: Arc<Catalogue>,
    manner: Manner,
    root: Rng,
    progress: Arc<Progress>,
    /// Runs that readers look at, and the last that conductors saw of them.
    seen: Mutex<BTreeMap<String, v1::Run>>,
}

impl Shared {
    fn client(&self, kind: &str, number: u64) -> WireClient {
        let rng = self.root.fork(kind, number);
        WireClient::new(self.site.clone(), self.recorder.clone(), rng, self.manner.patience, format!("{kind}-{number}"))
    }

    fn saw(&self, run: v1::Run) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(run.run_id.clone()).or_default();
        // A stale answer is no news.
        if run.sequence >= known.sequence {
            *known = run;
        }
    }
}

/// Applies all workflows of the catalogue; returns the revision from which on all nodes can start them.
pub async fn apply(site: &dyn Site, sources: &[(String, String)]) -> anyhow::Result<u64> {
    let mut revision = 0;
    for (name, text) in sources {
        revision = revision.max(apply_one(site, name, text).await?);
    }
    Ok(revision)
}

async fn apply_one(site: &dyn Site, name: &str, text: &str) -> anyhow::Result<u64> {
    let source = v1::Source { text: text.to_owned(), name: format!("{name}.yaml") };
    let request = v1::ApplyWorkflowRequest {
        definition: Some(v1::apply_workflow_request::Definition::Source(source)),
        principal: Some(v1::Principal { subject: "chaos".to_owned(), ..v1::Principal::default() }),
        ..v1::ApplyWorkflowRequest::default()
    };
    let mut last = None;
    // Applying the same again changes nothing, so it is repeated until somebody answers.
    for number in 0..40 {
        let channel = site.channel(number % site.nodes())?;
        let answer =
            tokio::time::timeout(Duration::from_secs(10), WorkflowServiceClient::new(channel).apply_workflow(request.clone())).await;
        match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner().revision),
            Ok(Err(status)) if status.code() == tonic::Code::InvalidArgument => {
                anyhow::bail!("the cluster refuses workflow `{name}`: {}", status.message())
            }
            Ok(Err(status)) => last = Some(status.message().to_owned()),
            Err(_) => last = Some("no answer in time".to_owned()),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    anyhow::bail!("workflow `{name}` could not be applied: {}", last.unwrap_or_default())
}

/// Does everything, and returns when it is over. `progress` can be watched meanwhile.
pub async fn drive(
    site: Arc<dyn Site>,
    recorder: Recorder,
    catalogue: Arc<Catalogue>,
    runs: Vec<RunPlan>,
    seed: u64,
    manner: Manner,
    progress: Arc<Progress>,
) -> anyhow::Result<Outcome> {
    let sources: Vec<(String, String)> =
        catalogue.workflows.iter().map(|planned| (planned.definition.name.clone(), planned.yaml.clone())).collect();
    let revision = apply(&*site, &sources).await.context("applying the workload's workflows")?;
    let root = Rng::new(seed).fork("driver", 0);
    let shared = Arc::new(Shared { site, recorder, catalogue, manner, root, progress, seen: Mutex::default() });
    let over = CancellationToken::new();
    let mut readers = JoinSet::new();
    for number in 0..shared.manner.readers {
        readers.spawn(read(shared.clone(), u64::from(number), over.clone()));
    }
    conduct_all(&shared, runs, revision).await;
    over.cancel();
    while readers.join_next().await.is_some() {}
    let runs = std::mem::take(&mut *shared.seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome { runs })
}

async fn conduct_all(shared: &Arc<Shared>, runs: Vec<RunPlan>, revision: u64) {
    let mut conductors = JoinSet::new();
    match shared.manner.load {
        Load::Open { .. } => {
            let began = Instant::now();
            for run in runs {
                let shared = shared.clone();
                conductors.spawn(async move {
                    tokio::time::sleep_until(began + Duration::from_millis(run.at_ms)).await;
                    let client = shared.client("client", run.number);
                    conduct(&shared, client, &run, revision).await;
                });
            }
        }
        Load::Closed { clients } => {
            // Each client has its own runs, so that which client starts which run does not depend on time.
            let clients = u64::from(clients.max(1));
            for number in 0..clients {
                let own: Vec<RunPlan> = runs.iter().filter(|run| run.number % clients == number).cloned().collect();
                let shared = shared.clone();
                conductors.spawn(async move {
                    let mut client = shared.client("client", number);
                    for run in own {
                        client = conduct(&shared, client, &run, revision).await;
                    }
                });
            }
        }
    }
    while let Some(ended) = conductors.join_next().await {
        if let Err(error) = ended {
            shared.recorder.harness_error(format!("a conductor broke down: {error}"));
        }
    }
}

/// Starts a run and stays with it to its end. Gives the client back.
async fn conduct(shared: &Shared, mut client: WireClient, run: &RunPlan, revision: u64) -> WireClient {
    let started = start(&mut client, run, revision).await;
    let mut accepted = false;
    match started {
        Ok(answer) => {
            accepted = true;
            shared.progress.accepted.fetch_add(1, Ordering::Relaxed);
            answer.run.into_iter().for_each(|run| shared.saw(run));
        }
        Err(Ending::Fail { reason }) => {
            shared.progress.refused.fetch_add(1, Ordering::Relaxed);
            note_refusal(shared, run, &reason);
            return client;
        }
        // It may be there: it is looked after as if it were.
        Err(_) => _ = shared.progress.refused.fetch_add(1, Ordering::Relaxed),
    }
    let began = Instant::now();
    let mut acts = run.acts.iter().peekable();
    let (mut approvals, mut owed) = (0_u32, Owed::default());
    loop {
        let (low, high) = shared.manner.look_ms;
        let pause = Duration::from_millis(client.rng().between(low, high));
        let next_act = acts.peek().map(|(at, _)| Duration::from_millis(*at).saturating_sub(began.elapsed()));
        tokio::time::sleep(next_act.map_or(pause, |due| due.min(pause))).await;
        if let Some((_, act)) = acts.next_if(|(at, _)| began.elapsed() >= Duration::from_millis(*at)) {
            let ended = carry_out(&mut client, run, act).await;
            owed.note(act, &ended);
            continue;
        }
        match look(shared, &mut client, &run.run_id, accepted).await {
            Ok(seen) => {
                let settled = is_final(seen.status()) || seen.status() == RunStatus::NeedsAttention;
                if settled && !acts.clone().any(|(_, act)| *act == Act::Resume) && !owed.has_resume() {
                    shared.progress.ended.fetch_add(1, Ordering::Relaxed);
                    return client;
                }
                approve(shared, &mut client, run, &seen, &mut approvals).await;
                for act in owed.take() {
                    let ended = carry_out(&mut client, run, &act).await;
                    owed.note(&act, &ended);
                }
            }
            // It was never accepted.
            Err(Ending::Fail { .. }) if !accepted => return client,
            Err(_) => {}
        }
        if began.elapsed() > shared.manner.run_patience {
            let what = format!("run {} of {} has not ended {:?} after its start", run.run_id, run.workflow, shared.manner.run_patience);
            shared.recorder.harness_error(what);
            return client;
        }
    }
}

/// A start that the plan expects to be accepted, and is not for good, makes a run less: people should know.
fn note_refusal(shared: &Shared, run: &RunPlan, reason: &str) {
    if reason != "ResourceExhausted" && !reason.contains("OVERLOAD") {
        shared.recorder.harness_error(format!("the start of {} was refused: {reason}", run.run_id));
    }
}

async fn start(client: &mut WireClient, run: &RunPlan, revision: u64) -> Result<v1::StartRunResponse, Ending> {
    let input = plan::input(run.variant);
    let call = Call::Start {
        run_id: run.run_id.clone(),
        request_id: run.request_id.clone(),
        workflow: run.workflow.clone(),
        input_sha256: content_digest(Some(&input)),
        retried: false,
    };
    let request = v1::StartRunRequest {
        namespace: namespace(),
        workflow: run.workflow.clone(),
        run_id: run.run_id.clone(),
        request_id: run.request_id.clone(),
        input: Some(input),
        min_revision: revision,
        principal: Some(client.principal()),
        ..v1::StartRunRequest::default()
    };
    let op = |channel, request| async move {
        RunServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).start_run(request).await
    };
    client.call(call, request, op, |answer| answer_of(answer.run.as_ref())).await
}

async fn look(shared: &Shared, client: &mut WireClient, run_id: &str, may_be_stale: bool) -> Result<v1::Run, Ending> {
    let stale = may_be_stale && client.rng().chance(shared.manner.stale);
    let consistency = if stale { v1::Consistency::Stale } else { v1::Consistency::Linearizable };
    let request =
        v1::GetRunRequest { namespace: namespace(), run_id: run_id.to_owned(), consistency: consistency.into(), run_uid: String::new() };
    let op = |channel, request| async move {
        RunServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).get_run(request).await
    };
    let call = Call::Get { run_id: run_id.to_owned(), stale };
    let answer = client.call(call, request, op, |answer: &v1::GetRunResponse| answer_of(answer.run.as_ref())).await?;
    let run = answer.run.unwrap_or_default();
    if stale {
        // What a stale answer shows is recorded, and not relied on.
        return Ok(v1::Run { status: RunStatus::Unspecified.into(), steps: Vec::new(), ..run });
    }
    shared.saw(run.clone());
    Ok(run)
}

async fn carry_out(client: &mut WireClient, run: &RunPlan, act: &Act) -> Result<(), Ending> {
    let run_id = run.run_id.clone();
    let (namespace, principal, reason) = (namespace(), Some(client.principal()), "as planned".to_owned());
    let request_id = client.rng().hex();
    // What comes of it is recorded; a run may have ended before.
    match act.clone() {
        Act::Signal { name, id } => {
            let call = Call::Signal { run_id: run_id.clone(), signal: name.clone(), signal_id: id.clone() };
            let request = v1::SignalRunRequest { namespace, run_id, name, signal_id: id, payload: None, principal };
            let op = |channel, request| async move { LifecycleServiceClient::new(channel).signal_run(request).await };
            client.call(call, request, op, |answer: &v1::SignalRunResponse| answer_of(answer.run.as_ref())).await.map(drop)
        }
        Act::Cancel => {
            let call = Call::Cancel { run_id: run_id.clone() };
            let request = v1::CancelRunRequest { namespace, run_id, reason, principal, no_compensate: false };
            let op = |channel, request| async move { RunServiceClient::new(channel).cancel_run(request).await };
            client.call(call, request, op, |answer: &v1::CancelRunResponse| answer_of(answer.run.as_ref())).await.map(drop)
        }
        Act::Terminate => {
            let call = Call::Terminate { run_id: run_id.clone() };
            let request = v1::TerminateRunRequest { namespace, run_id, reason, principal };
            let op = |channel, request| async move { RunServiceClient::new(channel).terminate_run(request).await };
            client.call(call, request, op, |answer: &v1::TerminateRunResponse| answer_of(answer.run.as_ref())).await.map(drop)
        }
        Act::Pause => {
            let call = Call::Pause { run_id: run_id.clone() };
            let request = v1::PauseRunRequest { namespace, run_id, reason, principal, request_id };
            let op = |channel, request| async move { LifecycleServiceClient::new(channel).pause_run(request).await };
            client.call(call, request, op, |answer: &v1::PauseRunResponse| answer_of(answer.run.as_ref())).await.map(drop)
        }
        Act::Resume => {
            let call = Call::Resume { run_id: run_id.clone() };
            let request = v1::ResumeRunRequest { namespace, run_id, reason, principal, request_id };
            let op = |channel, request| async move { LifecycleServiceClient::new(channel).resume_run(request).await };
            client.call(call, request, op, |answer: &v1::ResumeRunResponse| answer_of(answer.run.as_ref())).await.map(drop)
        }
    }
}

/// Says the planned word on each approval that waits.
async fn approve(shared: &Shared, client: &mut WireClient, run: &RunPlan, seen: &v1::Run, given: &mut u32) {
    let Some(planned) = shared.catalogue.get(&run.workflow) else { return };
    for step in seen.steps.iter().filter(|step| step.status() == StepStatus::Awaiting) {
        let Some(approve) = planned.definition.approval(&step.step) else { continue };
        *given += 1;
        let principal = client.principal();
        let call = Call::Approve { run_id: run.run_id.clone(), step: step.step.clone(), subject: principal.subject.clone(), approve };
        let request = v1::ApproveStepRequest {
            namespace: namespace(),
            run_id: run.run_id.clone(),
            step: step.step.clone(),
            reject: !approve,
            reason: "as planned".to_owned(),
            principal: Some(principal),
            request_id: client.rng().hex(),
        };
        let op = |channel, request| async move { LifecycleServiceClient::new(channel).approve_step(request).await };
        let _ = client.call(call, request, op, |answer: &v1::ApproveStepResponse| answer_of(answer.run.as_ref())).await;
    }
    if *given == 1_000 {
        shared.recorder.harness_error(format!("run {} takes no approval: {given} were given", run.run_id));
    }
}

/// Looks at runs of others until everything is over.
async fn read(shared: Arc<Shared>, number: u64, over: CancellationToken) {
    let mut client = shared.client("reader", number);
    loop {
        let pause = Duration::from_millis(client.rng().between(50, 500));
        tokio::select! {
            biased;
            () = over.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let run_id = {
            let seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            // The last ones are the ones where something happens.
            let back = client.rng().index(seen.len().clamp(1, 50));
            seen.keys().nth_back(back).cloned()
        };
        if let Some(run_id) = run_id {
            let _ = look(&shared, &mut client, &run_id, true).await;
        }
    }
}

fn namespace() -> String {
    "default".to_owned()
}
