//! A worker against nodes that repeat themselves, die, hang and drain.

#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fake::{FakeNode, Script};
use quorus_client::{
    CancelReason, Ledger, LedgerEntry, LedgerEvent, Secrets, TaskContext, TaskError, Worker, WorkerBuilder, WorkerError,
    v1::{self, task_outcome, work_request, work_response},
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

const LEASE_MS: u64 = 30_000;

struct Started {
    stop: oneshot::Sender<()>,
    handle: JoinHandle<Result<(), WorkerError>>,
}

fn start(builder: WorkerBuilder) -> Started {
    let worker = builder.build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let handle = tokio::spawn(worker.run(async move {
        let _ = stopped.await;
    }));
    Started { stop, handle }
}

fn task(name: &str, task_type: &str) -> v1::Task {
    v1::Task { lease: name.to_owned().into(), r#type: task_type.to_owned(), run_id: "r1".to_owned(), attempt: 1, ..Default::default() }
}

fn failure(outcome: v1::TaskOutcome) -> v1::Failure {
    match outcome.result.unwrap() {
        task_outcome::Result::Failed(failure) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn a_task_is_executed_and_its_outcome_acknowledged() {
    let node = FakeNode::start(Script::default());
    let worker =
        start(Worker::builder([&node.endpoint]).name("w1").queue("q").concurrency(3).register("add", |context: TaskContext| async move {
            let (a, b): (i64, i64) = context.input()?;
            Ok(json!(a + b))
        }));
    let mut session = node.session().await;
    assert_eq!(session.register.name, "w1");
    assert_eq!(session.register.queues, ["q"]);
    assert_eq!((session.register.capacity, session.register.session), (3, 1));
    assert_eq!(session.register.task_types, ["add"]);
    session.registered(LEASE_MS);
    let input = v1::Payload { data: "[1, 2]".into(), encoding: "json".to_owned() };
    session.task(v1::Task { input: Some(input), ..task("l1", "add") });
    let outcome = session.outcome().await;
    let Some(task_outcome::Result::Succeeded(payload)) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(payload.data, "3");
    session.ack(b"l1");
    worker.stop.send(()).unwrap();
    assert!(matches!(session.next().await, Some(work_request::Message::Capacity(v1::SetCapacity { capacity: 0 }))));
    assert!(session.next().await.is_none(), "the stream is closed in order");
    drop(session);
    worker.handle.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_outcome_is_repeated_on_another_node_until_it_is_acknowledged_and_executed_once() {
    let executed = Arc::new(AtomicU32::new(0));
    let counter = executed.clone();
    let (mut one, two) = (FakeNode::start(Script::default()), FakeNode::start(Script::default()));
    let worker = start(Worker::builder([&one.endpoint, &two.endpoint]).register("count", move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    }));
    // It begins with either node; the one that it begins with dies with the outcome unacknowledged.
    let (mut first, second) = tokio::select! {
        session = one.session() => (session, &two),
        session = two.session() => (session, &one),
    };
    first.registered(LEASE_MS);
    first.task(task("l1", "count"));
    first.task(task("l1", "count"));
    first.outcome().await;
    let incarnation = first.register.incarnation.clone();
    drop(first);
    let mut session = second.session().await;
    assert_eq!(session.register.incarnation, incarnation);
    assert_eq!(session.register.held, ["l1"]);
    assert!(session.register.session > 1);
    session.registered(LEASE_MS);
    assert_eq!(session.outcome().await.lease, "l1");
    session.ack(b"l1");
    // A node that still delivers it afterwards gets no second execution; the marker shows that the copy was read before.
    session.task(task("l1", "count"));
    session.task(task("l2", "count"));
    assert_eq!(session.outcome().await.lease, "l2");
    assert_eq!(executed.load(Ordering::Relaxed), 2);
    drop(worker);
    one.kill();
}

#[tokio::test]
async fn a_worker_survives_the_death_of_its_only_node() {
    let mut node = FakeNode::start(Script::default());
    let other = FakeNode::start(Script::default());
    let worker = start(Worker::builder([&node.endpoint, &other.endpoint]).register("wait", |context: TaskContext| async move {
        let cancellation = context.cancelled().await;
        Ok(json!(format!("{:?}", cancellation.reason)))
    }));
    let (session, survivor) = tokio::select! {
        session = node.session() => (session, &other),
        session = other.session() => { session.registered(LEASE_MS); session.send(work_response::Message::Drain(v1::Drain {})); (node.session().await, &other) }
    };
    session.registered(LEASE_MS);
    session.task(task("l1", "wait"));
    // The task was received before the node dies: a second message behind it was answered.
    session.task(task("l2", "unknown"));
    let mut session = session;
    assert_eq!(session.outcome().await.lease, "l2");
    node.kill();
    let mut session = survivor.session().await;
    let held: Vec<&[u8]> = session.register.held.iter().map(AsRef::as_ref).collect();
    assert_eq!(held, [b"l1".as_slice(), b"l2"]);
    session.registered(LEASE_MS);
    assert_eq!(session.outcome().await.lease, "l2");
    session.ack(b"l2");
    // Leases are heartbeat about at once after a change of node.
    let cancel = v1::CancelTask { lease: "l1".into(), reason: "enough".to_owned(), grace_ms: 10_000 };
    session.send(work_response::Message::Cancel(cancel));
    let outcome = session.outcome().await;
    let Some(task_outcome::Result::Succeeded(payload)) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(payload.data, r#""Requested(\"enough\")""#);
    drop(worker);
}

#[tokio::test]
async fn a_draining_node_is_left_with_everything_that_is_held() {
    let (one, two) = (FakeNode::start(Script::default()), FakeNode::start(Script::default()));
    let worker = start(Worker::builder([&one.endpoint, &two.endpoint]).register("wait", |context: TaskContext| async move {
        context.cancelled().await;
        Ok(())
    }));
    let (first, second) = tokio::select! {
        session = one.session() => (session, &two),
        session = two.session() => (session, &one),
    };
    first.registered(LEASE_MS);
    first.task(task("l1", "wait"));
    first.send(work_response::Message::Drain(v1::Drain {}));
    let mut session = second.session().await;
    assert_eq!(session.register.held, ["l1"]);
    session.registered(LEASE_MS);
    assert_eq!(session.heartbeat().await.leases, ["l1"]);
    drop(worker);
}

/// Reports that the attempt has begun, then why the attempt was asked to stop.
fn telling(
    sender: tokio::sync::mpsc::UnboundedSender<CancelReason>,
) -> impl Fn(TaskContext) -> futures::future::BoxFuture<'static, Result<(), TaskError>> {
    move |context| {
        let sender = sender.clone();
        Box::pin(async move {
            sender.send(CancelReason::Requested("has begun".to_owned())).unwrap();
            sender.send(context.cancelled().await.reason).unwrap();
            Err(TaskError::Cancelled { nothing_done: true })
        })
    }
}

#[tokio::test]
async fn a_lost_lease_stops_the_attempt_which_reports_nothing() {
    let node = FakeNode::start(Script::default());
    let (sender, mut reasons) = tokio::sync::mpsc::unbounded_channel();
    let worker = start(Worker::builder([&node.endpoint]).register("wait", telling(sender)));
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    session.task(task("l1", "wait"));
    reasons.recv().await.unwrap();
    session.send(work_response::Message::HeartbeatAck(v1::HeartbeatAck { id: 0, renewed: Vec::new(), lost: vec!["l1".into()] }));
    assert_eq!(reasons.recv().await, Some(CancelReason::LeaseLost));
    session.task(task("l2", "unknown"));
    assert_eq!(session.outcome().await.lease, "l2", "the first outcome is of the marker");
    drop(worker);
}

#[tokio::test]
async fn an_attempt_that_no_node_renews_stops_by_itself() {
    let node = FakeNode::start(Script::default());
    let (sender, mut reasons) = tokio::sync::mpsc::unbounded_channel();
    let worker = start(Worker::builder([&node.endpoint]).register("wait", telling(sender)));
    let session = node.session().await;
    session.registered(300);
    session.task(task("l1", "wait"));
    reasons.recv().await.unwrap();
    // Heartbeats stay without an answer; the stream is even there.
    assert_eq!(reasons.recv().await, Some(CancelReason::LeaseLost));
    drop((worker, session));
}

#[tokio::test]
async fn a_checkpoint_waits_for_its_commit_and_reaches_the_next_worker_on_release() {
    let node = FakeNode::start(Script::default());
    let (sender, mut committed) = tokio::sync::mpsc::unbounded_channel();
    let builder = Worker::builder([&node.endpoint]).shutdown_grace(Duration::ZERO).register("slow", move |context: TaskContext| {
        let sender = sender.clone();
        async move {
            context.checkpoint(json!({"at": 7})).await.unwrap();
            sender.send(()).unwrap();
            context.cancelled().await;
            Err::<(), _>(TaskError::Cancelled { nothing_done: false })
        }
    });
    let worker = start(builder);
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    session.task(task("l1", "slow"));
    let beat = session.heartbeat().await;
    assert_eq!(beat.progress[0].checkpoint.as_ref().unwrap().data, r#"{"at":7}"#);
    assert!(committed.try_recv().is_err(), "not before the acknowledgement");
    session.renew(beat);
    committed.recv().await.unwrap();
    worker.stop.send(()).unwrap();
    let outcome = session.outcome().await;
    let Some(task_outcome::Result::Released(released)) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(released.checkpoint.unwrap().data, r#"{"at":7}"#);
    session.ack(b"l1");
    assert!(session.next().await.is_none());
    drop(session);
    worker.handle.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_is_a_failure_and_the_worker_goes_on() {
    let node = FakeNode::start(Script::default());
    let worker = start(Worker::builder([&node.endpoint]).register("bad", |context: TaskContext| async move {
        if context.task().attempt == 1 {
            panic!("number {}", context.task().attempt);
        }
        Ok(())
    }));
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    session.task(task("l1", "bad"));
    let panicked = failure(session.outcome().await);
    assert_eq!((panicked.r#type.as_str(), panicked.message.as_str()), ("Panic", "number 1"));
    session.task(v1::Task { attempt: 2, ..task("l2", "bad") });
    assert!(matches!(session.outcome().await.result, Some(task_outcome::Result::Succeeded(_))));
    drop(worker);
}

#[tokio::test]
async fn an_output_that_is_too_large_is_a_failure_and_not_a_broken_stream() {
    let node = FakeNode::start(Script::default());
    let worker = start(Worker::builder([&node.endpoint]).register("large", |_| async { Ok(json!("x".repeat(3 * 1024 * 1024))) }));
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    session.task(task("l1", "large"));
    let failure = failure(session.outcome().await);
    assert_eq!((failure.r#type.as_str(), failure.non_retryable), ("OutputTooLarge", true));
    drop(worker);
}

#[tokio::test]
async fn the_ledger_has_begin_and_end_of_each_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let node = FakeNode::start(Script::default());
    let ledger = Ledger::open(&path).unwrap();
    let read = {
        let path = path.clone();
        move || -> Vec<LedgerEntry> {
            std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    };
    let seen_inside = read.clone();
    let worker = start(Worker::builder([&node.endpoint]).name("w").ledger(ledger).register("look", move |_| {
        let lines = seen_inside();
        async move { Ok(json!(lines.len())) }
    }));
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    session.task(v1::Task { token: 9, step: "s".to_owned(), ..task("l1", "look") });
    let outcome = session.outcome().await;
    let Some(task_outcome::Result::Succeeded(payload)) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(payload.data, "1", "begin was there before the function began");
    let lines = read();
    assert_eq!(lines.len(), 2, "end was there before the outcome was sent");
    assert_eq!((lines[0].event, lines[0].token, lines[0].step.as_str()), (LedgerEvent::Begin, 9, "s"));
    assert_eq!((lines[1].event, lines[1].outcome.as_str()), (LedgerEvent::End, "succeeded"));
    drop(worker);
}

#[tokio::test]
async fn a_worker_that_is_refused_says_so() {
    let node = FakeNode::start(Script::default());
    let worker = start(Worker::builder([&node.endpoint]).register("x", |_| async { Ok(()) }));
    node.session().await.refuse(tonic::Status::invalid_argument("queue names are lower-case"));
    let error = worker.handle.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("queue names are lower-case"), "{error}");
}

#[tokio::test]
async fn tasks_that_arrive_while_the_worker_stops_are_given_back() {
    let node = FakeNode::start(Script::default());
    let worker = start(Worker::builder([&node.endpoint]).register("wait", |context: TaskContext| async move {
        context.cancelled().await;
        Ok(())
    }));
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    session.task(task("l1", "wait"));
    session.task(task("l0", "unknown"));
    assert_eq!(session.outcome().await.lease, "l0");
    session.ack(b"l0");
    worker.stop.send(()).unwrap();
    assert!(matches!(session.next().await, Some(work_request::Message::Capacity(_))));
    session.task(task("l2", "wait"));
    let outcome = session.outcome().await;
    assert_eq!(outcome.lease, "l2");
    assert!(matches!(outcome.result, Some(task_outcome::Result::Released(_))));
    worker.handle.abort();
}

#[tokio::test]
async fn secrets_reach_the_function_and_nothing_that_it_says() {
    let node = FakeNode::start(Script::default());
    let secrets = Secrets::from_environment().with_value("token", "s3cr3t-\"value");
    let _worker =
        start(Worker::builder([&node.endpoint]).concurrency(4).secrets(secrets).register("use", |context: TaskContext| async move {
            let input: serde_json::Value = context.input()?;
            assert_eq!(input["auth"], "Bearer s3cr3t-\"value");
            context.checkpoint(input.clone()).await.map_err(|_| TaskError::Released)?;
            if input["fail"] == true {
                return Err(TaskError::failed("Refused", format!("they refused {}", input["auth"])).details(input));
            }
            Ok(input)
        }));
    let mut session = node.session().await;
    session.registered(LEASE_MS);
    let task = |lease: &str, fail: bool, name: &str| {
        let input = json!({"auth": "Bearer {{quorus.secret:token}}", "fail": fail, "other": "{{quorus.secret:unlisted}}"});
        let input = v1::Payload { data: input.to_string().into(), encoding: "json".to_owned() };
        v1::Task { input: Some(input), secrets: vec![name.to_owned()], ..task(lease, "use") }
    };
    let mut said = String::new();
    for (lease, fail) in [("l1", false), ("l2", true)] {
        session.task(task(lease, fail, "token"));
        loop {
            match session.next().await.unwrap() {
                work_request::Message::Heartbeat(beat) => {
                    said.push_str(&format!("{beat:?}"));
                    session.send(work_response::Message::HeartbeatAck(v1::HeartbeatAck {
                        id: beat.id,
                        renewed: beat.leases,
                        lost: vec![],
                    }));
                }
                work_request::Message::Outcome(outcome) => {
                    said.push_str(&format!("{outcome:?}"));
                    session.ack(lease.as_bytes());
                    break;
                }
                _ => {}
            }
        }
    }
    assert!(said.contains("***") && !said.contains("s3cr3t"), "{said}");
    assert!(said.contains("quorus.secret:unlisted"), "only what the task lists is put in");
    session.task(task("l3", false, "nowhere"));
    let failure = failure(session.outcome().await);
    assert_eq!((failure.r#type.as_str(), failure.nothing_done), ("QuorusSecretUnavailable", true));
    assert!(failure.message.contains("QUORUS_SECRET_NOWHERE"), "{failure:?}");
}
