//! A thundering herd: many clients that start runs at the same moment, each call sent once.
//!
//! Every call is written down as an [`Operation`], so that a checker can account for the runs that came of it: one that was refused, and one whose end is
//! not known. The ids of these operations begin at 1; whoever merges them with others numbers them again.

use std::{fmt, fs::File, io::Write as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use quorus_client::{Client, content_digest, monotonic_us};
use quorus_proto::v1::{self, ConflictPolicy, StartRunRequest, run_service_client::RunServiceClient};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tonic::{Code, transport::Endpoint};

use crate::{
    probe::WORKFLOW,
    record::{Answer, Call, Ending, Operation},
};

/// Name of the file of operations in the stage's folder.
pub const RECORD: &str = "overload.jsonl";
/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    pub endpoints: Vec<String>,
    pub count: u64,
    pub clients: u64,
    pub name: String,
    pub record: PathBuf,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    accepted: u64,
    refused: u64,
    unknown: u64,
    slowest: Duration,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, unknown, slowest } = self;
        write!(f, "{accepted} accepted, {refused} refused, {unknown} unknown, slowest answer {} ms", slowest.as_millis())
    }
}

impl Burst {
    pub(super) async fn run(self) -> anyhow::Result<Told> {
        let client = Client::with_endpoints(self.endpoints.clone())?;
        let source = v1::Source { text: WORKFLOW.to_owned(), name: "probe".to_owned() };
        let definition = Some(v1::apply_workflow_request::Definition::Source(source));
        let revision = client.apply_workflow(v1::ApplyWorkflowRequest { definition, ..Default::default() }).await?.revision;
        let mut channels = Vec::new();
        for endpoint in &self.endpoints {
            channels.push(Endpoint::from_shared(endpoint.clone())?.connect_timeout(PATIENCE).connect_lazy());
        }
        let places = Arc::new(Semaphore::new(usize::try_from(self.clients)?));
        let mut calls = JoinSet::new();
        for (number, channel) in (1..=self.count).zip(channels.iter().cycle()) {
            let place = places.clone().acquire_owned().await.context("the clients are gone")?;
            let (mut node, name) = (RunServiceClient::new(channel.clone()), self.name.clone());
            calls.spawn(async move {
                let operation = start(&mut node, &name, number, revision).await;
                drop(place);
                operation
            });
        }
        let mut told = Told::default();
        let mut record =
            File::options().create(true).append(true).open(&self.record).with_context(|| format!("opening {}", self.record.display()))?;
        let mut operations = calls.join_all().await;
        operations.sort_by_key(|operation| operation.id);
        for operation in operations {
            match &operation.ending {
                Some(Ending::Ok(_)) => told.accepted += 1,
                Some(Ending::Fail { .. }) => told.refused += 1,
                Some(Ending::Info { .. }) | None => told.unknown += 1,
            }
            let took = operation.ended_us.unwrap_or_default().saturating_sub(operation.invoked_us);
            told.slowest = told.slowest.max(Duration::from_micros(took));
            record.write_all((serde_json::to_string(&operation)? + "\n").as_bytes())?;
        }
        Ok(told)
    }
}

async fn start(node: &mut RunServiceClient<tonic::transport::Channel>, name: &str, number: u64, revision: u64) -> Operation {
    let run_id = format!("{name}-{number}");
    let call = Call::Start {
        run_id: run_id.clone(),
        request_id: run_id.clone(),
        workflow: "probe".to_owned(),
        input_sha256: content_digest(None),
        retried: false,
    };
    let invoked_us = monotonic_us();
    let request = StartRunRequest {
        workflow: "probe".to_owned(),
        request_id: run_id.clone(),
        run_id: run_id.clone(),
        on_conflict: ConflictPolicy::Unspecified.into(),
        min_revision: revision,
        ..StartRunRequest::default()
    };
    let ending = match timeout(PATIENCE, node.start_run(request)).await {
        Ok(Ok(answer)) => {
            let run = answer.into_inner().run.unwrap_or_default();
            Ending::Ok(Answer {
                status: run.status().as_str_name().to_owned(),
                run_uid: run.run_uid,
                shard: run.shard,
                ..Answer::default()
            })
        }
        // Refused before anything was done; everything else may have been done.
        Ok(Err(status))
            if matches!(
                status.code(),
                Code::ResourceExhausted | Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition
            ) =>
        {
            Ending::Fail { reason: format!("{:?}: {}", status.code(), status.message()) }
        }
        Ok(Err(status)) => Ending::Info { what: format!("{:?}: {}", status.code(), status.message()) },
        Err(_) => Ending::Info { what: format!("no answer after {} s", PATIENCE.as_secs()) },
    };
    Operation { id: number, client: run_id, call, invoked_us, ended_us: Some(monotonic_us()), ending: Some(ending) }
}
