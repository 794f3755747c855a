//! The client against nodes that die, hang, refuse and forget.

#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fake::{FakeNode, Script, dead_endpoint};
use quorus_client::{Client, Error, Options, v1};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn client(endpoints: &[&str]) -> Client {
    let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
    Client::new(Options { endpoints, timeout: Duration::from_secs(20), ..Options::default() }).unwrap()
}

fn run(status: v1::RunStatus) -> v1::Run {
    v1::Run { run_id: "r1".to_owned(), run_uid: "u1".to_owned(), status: status as i32, ..Default::default() }
}

fn started(_: v1::StartRunRequest) -> Result<v1::StartRunResponse, Status> {
    Ok(v1::StartRunResponse { run: Some(run(v1::RunStatus::Running)), existing: false })
}

/// Keeps the requests that a node saw.
type Seen<T> = Arc<Mutex<Vec<T>>>;

#[tokio::test]
async fn a_call_goes_on_to_a_node_that_answers() {
    let node = FakeNode::start(Script::default().on_get(|_, _| Ok(v1::GetRunResponse { run: Some(run(v1::RunStatus::Running)) })));
    let client = client(&[&dead_endpoint(), &dead_endpoint(), &node.endpoint]);
    let run = client.get_run(v1::GetRunRequest { run_id: "r1".to_owned(), ..Default::default() }).await.unwrap();
    assert_eq!(run.run_uid, "u1");
}

#[tokio::test]
async fn a_start_is_repeated_with_the_same_request_id() {
    let seen: Seen<String> = Seen::default();
    let (first, second) = (seen.clone(), seen.clone());
    let without_leader = FakeNode::start(Script::default().on_start(move |request, _| {
        first.lock().unwrap().push(request.request_id);
        let mut details = ErrorDetails::with_error_info("OUTCOME_UNKNOWN", "quorus.dev", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1)));
        Err(Status::with_error_details(Code::Unavailable, "the leader changed", details))
    }));
    let good = FakeNode::start(Script::default().on_start(move |request, _| {
        second.lock().unwrap().push(request.request_id.clone());
        started(request)
    }));
    let client = client(&[&without_leader.endpoint, &good.endpoint]);
    client.start_run(v1::StartRunRequest { workflow: "w".to_owned(), ..Default::default() }).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].is_empty());
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn the_node_that_answered_is_asked_first_the_next_time() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let bad = FakeNode::start(Script::default().on_start(move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("no leader"))
    }));
    let good = FakeNode::start(Script::default().on_start(|request, _| started(request)));
    let client = client(&[&bad.endpoint, &good.endpoint]);
    for _ in 0..3 {
        client.start_run(v1::StartRunRequest::default()).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_busy_node_is_asked_again_when_it_says() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let node = FakeNode::start(Script::default().on_start(move |request, _| {
        if counter.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut details = ErrorDetails::with_error_info("OVERLOADED", "quorus.dev", HashMap::new());
            details.set_retry_info(Some(Duration::from_millis(5)));
            return Err(Status::with_error_details(Code::ResourceExhausted, "too many starts", details));
        }
        started(request)
    }));
    client(&[&node.endpoint]).start_run(v1::StartRunRequest::default()).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_its_details() {
    let node = FakeNode::start(Script::default().on_apply(|_, _| {
        let mut details = ErrorDetails::with_error_info("INVALID_WORKFLOW", "quorus.dev", HashMap::new());
        details.add_bad_request_violation("spec.steps[1].needs[0]", "unknown step `b`");
        Err(Status::with_error_details(Code::InvalidArgument, "1 mistake", details))
    }));
    let error = client(&[&node.endpoint]).apply_workflow(v1::ApplyWorkflowRequest::default()).await.unwrap_err();
    assert_eq!(error.reason(), "INVALID_WORKFLOW");
    assert_eq!(error.exit_code(), 1);
    assert_eq!(error.api().unwrap().violations[0].field, "spec.steps[1].needs[0]");
}

#[tokio::test]
async fn without_any_node_the_deadline_ends_the_call_as_unavailable() {
    let dead = dead_endpoint();
    let options = Options { endpoints: vec![dead.clone()], timeout: Duration::from_millis(300), ..Options::default() };
    let error = Client::new(options).unwrap().cluster_status().await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { tries, .. } if *tries > 1), "{error:?}");
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains(&dead), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_hanging_node_ends_the_call_as_timed_out() {
    // Accepts connections and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let options = Options { endpoints: vec![endpoint], timeout: Duration::from_millis(300), ..Options::default() };
    let error = Client::new(options).unwrap().cluster_status().await.unwrap_err();
    assert_eq!(error.exit_code(), 124, "{error}");
}

#[tokio::test]
async fn a_repeated_delete_that_finds_nothing_has_worked() {
    let node = FakeNode::start(Script::default().on_delete(|_, _| Err(Status::not_found("no such workflow"))));
    let lost = FakeNode::start(Script::default().on_delete(|_, _| Err(Status::unavailable("the answer got lost"))));
    let request = v1::DeleteWorkflowRequest { name: "w".to_owned(), ..Default::default() };
    client(&[&lost.endpoint, &node.endpoint]).delete_workflow(request.clone()).await.unwrap();
    let error = client(&[&node.endpoint]).delete_workflow(request).await.unwrap_err();
    assert_eq!(error.exit_code(), 5);
}

#[tokio::test]
async fn defaults_and_trace_context_are_filled_in() {
    let seen: Seen<(v1::StartRunRequest, Option<String>)> = Seen::default();
    let recorder = seen.clone();
    let node = FakeNode::start(Script::default().on_start(move |request, metadata| {
        let header = metadata.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        recorder.lock().unwrap().push((request.clone(), header));
        started(request)
    }));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let client = Client::new(Options {
        endpoints: vec![node.endpoint.clone()],
        namespace: "team".to_owned(),
        principal: Some(v1::Principal { subject: "ada".to_owned(), ..Default::default() }),
        traceparent: Some(traceparent.to_owned()),
        ..Options::default()
    })
    .unwrap();
    client.start_run(v1::StartRunRequest::default()).await.unwrap();
    let (request, header) = seen.lock().unwrap()[0].clone();
    assert_eq!(request.namespace, "team");
    assert_eq!(request.principal.unwrap().subject, "ada");
    assert_eq!(request.traceparent, traceparent);
    assert_eq!(header.as_deref(), Some(traceparent));
}

fn events(sequences: &[u64], status: v1::RunStatus) -> v1::WatchRunResponse {
    let events = sequences.iter().map(|&sequence| v1::HistoryEvent { sequence, ..Default::default() }).collect();
    v1::WatchRunResponse { events, run: Some(run(status)) }
}

#[tokio::test]
async fn a_watch_goes_on_elsewhere_and_shows_each_event_once() {
    use v1::RunStatus::{Running, Succeeded};
    let seen: Seen<v1::WatchRunRequest> = Seen::default();
    let (first, second) = (seen.clone(), seen.clone());
    let dying = FakeNode::start(Script::default().on_watch(move |request, _| {
        first.lock().unwrap().push(request);
        Ok(vec![Ok(events(&[1, 2], Running)), Err(Status::unavailable("stopping"))])
    }));
    let good = FakeNode::start(Script::default().on_watch(move |request, _| {
        second.lock().unwrap().push(request);
        // Repeats an event that was seen.
        Ok(vec![Ok(events(&[2, 3], Running)), Ok(events(&[4], Succeeded))])
    }));
    let client = client(&[&dying.endpoint, &good.endpoint]);
    let mut watch = client.watch_run(v1::WatchRunRequest { run_id: "r1".to_owned(), ..Default::default() });
    let mut sequences = Vec::new();
    while let Some(item) = watch.next().await.unwrap() {
        sequences.extend(item.events.iter().map(|event| event.sequence));
    }
    assert_eq!(sequences, [1, 2, 3, 4]);
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].from_sequence, seen[0].run_uid.as_str()), (1, ""));
    assert_eq!((seen[1].from_sequence, seen[1].run_uid.as_str()), (3, "u1"));
    assert_eq!(seen[1].namespace, "default");
}

#[tokio::test]
async fn a_watch_notices_that_its_run_was_replaced() {
    let node = FakeNode::start(Script::default().on_watch(|request, _| {
        let mut item = events(&[request.from_sequence], v1::RunStatus::Running);
        if request.from_sequence > 1 {
            item.run.as_mut().unwrap().run_uid = "u2".to_owned();
        }
        Ok(vec![Ok(item)])
    }));
    let client = client(&[&node.endpoint]);
    let error = client.wait_run("default", "r1").await.unwrap_err();
    assert!(matches!(error, Error::RunReplaced { .. }), "{error}");
}

#[tokio::test]
async fn a_watch_of_an_unknown_run_is_refused_at_once() {
    let node = FakeNode::start(Script::default().on_watch(|_, _| {
        let details = ErrorDetails::with_error_info("RUN_NOT_FOUND", "quorus.dev", HashMap::new());
        Err(Status::with_error_details(Code::NotFound, "no such run", details))
    }));
    let error = client(&[&node.endpoint]).wait_run("default", "r1").await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), ("RUN_NOT_FOUND", 5));
}

#[tokio::test]
async fn waiting_returns_the_run_as_it_ended() {
    let node = FakeNode::start(Script::default().on_watch(|_, _| Ok(vec![Ok(events(&[1, 2], v1::RunStatus::Failed))])));
    let run = client(&[&node.endpoint]).wait_run("default", "r1").await.unwrap();
    assert_eq!(run.status(), v1::RunStatus::Failed);
}
