//! What is wrong gets the documented answer and changes nothing.

use quorus_client::{Client, Error};
use quorus_proto::v1::{self, worker_service_client::WorkerServiceClient};
use tonic::Code;

use crate::harness::*;

fn code(error: &Error) -> (Code, String) {
    match error {
        Error::Api(error) => (error.code, error.reason.clone()),
        other => panic!("not an answer of the cluster: {other:?}"),
    }
}

async fn refused_start(client: &Client, request: v1::StartRunRequest) -> (Code, String) {
    code(&client.start_run(request).await.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_the_documented_code() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    apply(&client, &chain("chain", 1)).await;
    let start = |change: fn(&mut v1::StartRunRequest)| {
        let mut request = v1::StartRunRequest { workflow: "chain".into(), run_id: "r".into(), ..Default::default() };
        change(&mut request);
        request
    };
    let invalid = (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned());
    assert_eq!(refused_start(&client, start(|request| request.workflow.clear())).await, invalid);
    assert_eq!(refused_start(&client, start(|request| request.run_id = "no spaces".into())).await, invalid);
    assert_eq!(refused_start(&client, start(|request| request.on_conflict = 99)).await, invalid);
    let not_json = |request: &mut v1::StartRunRequest| request.input = Some(v1::Payload { data: "{".into(), encoding: String::new() });
    assert_eq!(refused_start(&client, start(not_json)).await, invalid);
    let unknown = (Code::NotFound, "WORKFLOW_NOT_FOUND".to_owned());
    assert_eq!(refused_start(&client, start(|request| request.workflow = "nothing".into())).await, unknown);
    assert_eq!(refused_start(&client, start(|request| request.workflow_version = 7)).await, unknown);

    let unknown = (Code::NotFound, "RUN_NOT_FOUND".to_owned());
    let error = client.get_run(v1::GetRunRequest { run_id: "r".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(code(&error), unknown, "nothing above started a run");
    let error = client.cancel_run(v1::CancelRunRequest { run_id: "r".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(code(&error), unknown);
    let error = client.run_history(v1::GetRunHistoryRequest { run_id: "r".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(code(&error), unknown);
    let error = client.list_runs(v1::ListRunsRequest { page_token: "no token".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(code(&error), invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_payload_is_refused_by_the_node() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    apply(&client, &chain("chain", 1)).await;
    // Past the client library, which would not even send it.
    let mut raw = v1::run_service_client::RunServiceClient::connect(cluster.endpoints()[0].clone()).await.unwrap();
    let input = v1::Payload { data: vec![b'1'; 2 * 1024 * 1024 + 1].into(), encoding: "octets".into() };
    let request = v1::StartRunRequest { workflow: "chain".into(), run_id: "r".into(), input: Some(input), ..Default::default() };
    let status = raw.start_run(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("2 MiB"), "{status:?}");
    let input = v1::Payload { data: vec![b'1'; 9 * 1024 * 1024].into(), encoding: "octets".into() };
    let request = v1::StartRunRequest { workflow: "chain".into(), run_id: "r".into(), input: Some(input), ..Default::default() };
    assert_eq!(raw.start_run(request).await.unwrap_err().code(), Code::OutOfRange, "beyond what any message may hold");
    assert!(client.get_run(v1::GetRunRequest { run_id: "r".into(), ..Default::default() }).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_with_five_mistakes_shows_five_places() {
    let cluster = Cluster::start(1).await;
    let text = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: bad}\nspec:\n  steps:\n    - {id: a, needs: [b], task: {type: x}}\n    - {id: b, needs: [a], task: {type: x}}\n    - {id: a, tsak: {type: x}}\n    - {id: c, needs: [nothing], wait: {for: 5 parsecs}}\n    - {id: d, if: \"inptu.x > 1\", task: {type: x}}\n";
    let source = v1::Source { text: text.into(), name: "bad.yaml".into() };
    let request =
        v1::ApplyWorkflowRequest { definition: Some(v1::apply_workflow_request::Definition::Source(source)), ..Default::default() };
    let Error::Api(error) = cluster.client().apply_workflow(request).await.unwrap_err() else { panic!("not an answer") };
    assert_eq!((error.code, error.reason.as_str()), (Code::InvalidArgument, "INVALID_WORKFLOW"));
    assert!(error.violations.len() >= 5, "{:#?}", error.violations);
    let missing = cluster.client().get_workflow(v1::GetWorkflowRequest { name: "bad".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(code(&missing), (Code::NotFound, "WORKFLOW_NOT_FOUND".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_counts_for_nothing() {
    use v1::{work_request::Message, work_response};
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 1)).await;
    let mut raw = WorkerServiceClient::connect(cluster.endpoints()[0].clone()).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(10);
    let send = |message| sender.send(v1::WorkRequest { message: Some(message) });
    let register = v1::RegisterWorker {
        name: "w".into(),
        incarnation: "i".into(),
        session: 1,
        queues: vec!["default".into()],
        capacity: 1,
        ..Default::default()
    };
    send(Message::Register(register)).await.unwrap();
    let mut stream = raw.work(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap().into_inner();
    start(&client, "chain", "r", revision).await;
    let task = loop {
        if let Some(work_response::Message::Task(task)) = stream.message().await.unwrap().unwrap().message {
            break task;
        }
    };
    let success = || Some(v1::task_outcome::Result::Succeeded(v1::Payload { data: "1".into(), encoding: String::new() }));
    let mut forged = task.lease.to_vec();
    *forged.last_mut().unwrap() += 1;
    for lease in [bytes::Bytes::from(forged), bytes::Bytes::from_static(b"\xff\xff\xff"), bytes::Bytes::new()] {
        send(Message::Outcome(v1::TaskOutcome { lease: lease.clone(), result: success() })).await.ok();
    }
    // Refused, or not understood at all; either way the step still waits for its real outcome, which is taken.
    send(Message::Outcome(v1::TaskOutcome { lease: task.lease.clone(), result: success() })).await.unwrap();
    let mut answers = std::collections::BTreeMap::new();
    while !answers.contains_key(&task.lease) {
        if let Some(work_response::Message::OutcomeAck(ack)) = stream.message().await.unwrap().unwrap().message {
            answers.insert(ack.lease.clone(), ack.accepted);
        }
    }
    assert!(answers.iter().all(|(lease, accepted)| *accepted == (*lease == task.lease)), "{answers:?}");
    assert_eq!(end(&client, "r").await.steps[0].attempt, 1);
}
