//! The exec executor with real processes, driven through a worker.

#![allow(clippy::unwrap_used)]

mod fake;

use fake::{FakeNode, Script, Session};
use quorus_client::{
    Worker,
    executors::{Exec, exec, replay},
    v1::{self, task_outcome, work_response},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

struct Fixture {
    // Dropped last: the worker's end must not see a dead node first.
    session: Session,
    _worker: JoinHandle<()>,
    _node: FakeNode,
}

impl Fixture {
    async fn new() -> Self {
        let node = FakeNode::start(Script::default());
        let settings = Exec { capture_bytes: 1000 };
        let worker =
            Worker::builder([&node.endpoint]).concurrency(4).register("exec", move |context| exec(context, settings)).build().unwrap();
        let worker = tokio::spawn(async move { worker.run(std::future::pending()).await.unwrap() });
        let session = node.session().await;
        session.registered(30_000);
        Self { session, _worker: worker, _node: node }
    }

    fn send(&self, input: &Value) {
        self.session.task(v1::Task {
            lease: "l".into(),
            r#type: "exec".to_owned(),
            run_id: "r1".to_owned(),
            step: "s1".to_owned(),
            attempt: 2,
            token: 17,
            idempotency_key: "key".to_owned(),
            traceparent: "00-aa-bb-01".to_owned(),
            input: Some(v1::Payload { data: input.to_string().into(), encoding: "json".to_owned() }),
            ..Default::default()
        });
    }

    async fn run(input: Value) -> task_outcome::Result {
        let mut fixture = Self::new().await;
        fixture.send(&input);
        fixture.session.outcome().await.result.unwrap()
    }
}

async fn succeeds(input: Value) -> Value {
    match Fixture::run(input).await {
        task_outcome::Result::Succeeded(payload) => serde_json::from_slice(&payload.data).unwrap(),
        other => panic!("expected success, got {other:?}"),
    }
}

async fn fails(input: Value) -> v1::Failure {
    match Fixture::run(input).await {
        task_outcome::Result::Failed(failure) => failure,
        other => panic!("expected failure, got {other:?}"),
    }
}

#[tokio::test]
async fn a_list_is_executed_as_it_is_and_json_is_recognised() {
    let output = succeeds(json!({"command": ["printf", "%s", "{\"n\": 1} $HOME"]})).await;
    assert_eq!(output["stdout"], "{\"n\": 1} $HOME");
    assert!(output.get("json").is_none());
    let output = succeeds(json!({"command": ["echo", "{\"n\": 9007199254740993}"]})).await;
    assert_eq!(output["json"]["n"], 9_007_199_254_740_993_u64);
    assert_eq!((&output["exit_code"], &output["stdout_truncated"]), (&json!(0), &json!(false)));
}

#[tokio::test]
async fn a_string_is_run_by_the_shell_with_the_attempts_environment() {
    let line = "echo $QUORUS_RUN_ID $QUORUS_STEP $QUORUS_ATTEMPT $QUORUS_TOKEN $QUORUS_IDEMPOTENCY_KEY $TRACEPARENT $A $B";
    let output = succeeds(json!({"command": line, "env": {"A": "x", "B": 3}})).await;
    assert_eq!(output["stdout"], "r1 s1 2 17 key 00-aa-bb-01 x 3\n");
}

#[tokio::test]
async fn stdin_and_workdir_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let output = succeeds(json!({"command": "cat > f && pwd", "stdin": "hello", "workdir": folder.path()})).await;
    assert_eq!(std::fs::read_to_string(folder.path().join("f")).unwrap(), "hello");
    assert_eq!(output["stdout"].as_str().unwrap().trim(), folder.path().canonicalize().unwrap().to_str().unwrap());
}

#[tokio::test]
async fn an_exit_code_is_a_failure_with_the_last_line_and_the_whole_output() {
    let failure = fails(json!({"command": "echo out; echo first >&2; echo 'disk full' >&2; exit 3"})).await;
    assert_eq!((failure.r#type.as_str(), failure.message.as_str()), ("ExitCode", "exit code 3: disk full"));
    assert!(!failure.non_retryable && !failure.nothing_done);
    let details: Value = serde_json::from_slice(&failure.details.unwrap().data).unwrap();
    assert_eq!((&details["exit_code"], &details["stdout"]), (&json!(3), &json!("out\n")));
}

#[tokio::test]
async fn death_by_a_signal_is_told_apart() {
    let failure = fails(json!({"command": "kill -9 $$"})).await;
    assert_eq!((failure.r#type.as_str(), failure.message.as_str()), ("Signal", "killed by signal 9"));
}

#[tokio::test]
async fn what_cannot_start_did_nothing() {
    for (input, kind) in [
        (json!({"command": ["/no/such/program"]}), "CommandNotFound"),
        (json!({"command": ["/etc/passwd"]}), "CommandNotExecutable"),
        (json!({"command": []}), "InvalidInput"),
        (json!({"command": 7}), "InvalidInput"),
        (json!({"comand": "x"}), "InvalidInput"),
        (json!(null), "InvalidInput"),
        (json!({"command": "x", "workdir": "/no/such/folder"}), "InvalidInput"),
        (json!({"command": "x", "env": {"A": []}}), "InvalidInput"),
    ] {
        let failure = fails(input.clone()).await;
        assert_eq!(failure.r#type, kind, "{input}: {}", failure.message);
        assert!(failure.non_retryable && failure.nothing_done, "{input}");
    }
}

#[tokio::test]
async fn streams_are_capped_and_flagged() {
    let output = succeeds(json!({"command": "seq 1 1000; seq 1 1000 >&2"})).await;
    assert!(output["stdout"].as_str().unwrap().starts_with("1\n2\n"));
    assert!(output["stderr"].as_str().unwrap().ends_with("999\n1000\n"));
    assert_eq!((&output["stdout_truncated"], &output["stderr_truncated"]), (&json!(true), &json!(true)));
    assert!(output["stdout"].as_str().unwrap().len() <= 1000);
}

#[tokio::test]
async fn what_the_command_leaves_behind_does_not_hold_the_attempt() {
    let output = succeeds(json!({"command": "sleep 1000 & echo started"})).await;
    assert_eq!(output["stdout"], "started\n");
}

#[tokio::test]
async fn replay_waits_the_scaled_time_or_until_it_is_told_to_stop() {
    let node = FakeNode::start(Script::default());
    let worker = Worker::builder([&node.endpoint]).concurrency(2).register("replay", |context| replay(context, 0.001)).build().unwrap();
    let worker = tokio::spawn(async move { worker.run(std::future::pending()).await.unwrap() });
    let mut session = node.session().await;
    session.registered(30_000);
    let task = |lease: &'static str, input: Value| v1::Task {
        lease: lease.into(),
        r#type: "replay".to_owned(),
        input: Some(v1::Payload { data: input.to_string().into(), encoding: "json".to_owned() }),
        ..Default::default()
    };
    session.task(task("endless", json!({"program": "p", "runtime_seconds": 1e8})));
    session.task(task("short", json!({"program": "p", "runtime_seconds": 12.5})));
    let outcome = session.outcome().await;
    let Some(task_outcome::Result::Succeeded(payload)) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(serde_json::from_slice::<Value>(&payload.data).unwrap(), json!({"program": "p", "slept_ms": 12}));
    session.send(work_response::Message::Cancel(v1::CancelTask { lease: "endless".into(), reason: String::new(), grace_ms: 60_000 }));
    let outcome = session.outcome().await;
    assert!(matches!(outcome.result, Some(task_outcome::Result::Cancelled(v1::TaskCancelled { nothing_done: true }))), "{outcome:?}");
    worker.abort();
}

/// Waits until a process is gone. The kernel's own news comes through a pipe: the reader sees its end when the last writer is dead.
async fn cancelled(command: &str, grace_ms: u64) -> (task_outcome::Result, String) {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut fixture = Fixture::new().await;
    fixture.send(&json!({"command": command, "env": {"PIPE": pipe}}));
    // Opens when the command opens its side, which shows that it runs.
    let mut lines = tokio::task::spawn_blocking(move || std::io::BufReader::new(std::fs::File::open(pipe).unwrap())).await.unwrap();
    let (first, mut lines) = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        (line, lines)
    })
    .await
    .unwrap();
    assert_eq!(first, "ready\n");
    fixture.session.send(work_response::Message::Cancel(v1::CancelTask { lease: "l".into(), reason: "enough".to_owned(), grace_ms }));
    let result = fixture.session.outcome().await.result.unwrap();
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut lines, &mut rest).unwrap();
        rest
    });
    (result, rest.await.unwrap())
}

#[tokio::test]
async fn cancelling_ends_the_whole_group() {
    // A grandchild holds the pipe, too: its end is the end of all of them.
    let (result, _) = cancelled("exec 3> $PIPE; echo ready >&3; sh -c 'sleep 1000; true' & sleep 1000; true", 60_000).await;
    assert!(matches!(result, task_outcome::Result::Cancelled(v1::TaskCancelled { nothing_done: false })), "{result:?}");
}

#[tokio::test]
async fn a_command_may_clean_up_within_the_grace() {
    let (result, rest) = cancelled("trap 'echo cleaned >&3; exit 1' TERM; exec 3> $PIPE; echo ready >&3; sleep 1000 & wait", 60_000).await;
    assert!(matches!(result, task_outcome::Result::Cancelled(_)), "{result:?}");
    assert_eq!(rest, "cleaned\n");
}

#[tokio::test]
async fn a_command_that_ignores_the_request_is_killed_after_the_grace() {
    let (result, _) = cancelled("trap '' TERM; exec 3> $PIPE; echo ready >&3; sleep 1000; true", 50).await;
    assert!(matches!(result, task_outcome::Result::Cancelled(_)), "{result:?}");
}

#[tokio::test]
async fn what_a_command_writes_goes_along_line_by_line_before_its_outcome() {
    let mut fixture = Fixture::new().await;
    fixture.send(&json!({"command": "echo one; echo two >&2; printf three"}));
    let mut lines = Vec::new();
    loop {
        match fixture.session.next().await.unwrap() {
            v1::work_request::Message::Heartbeat(beat) => {
                lines.extend(beat.progress.into_iter().flat_map(|progress| progress.logs).map(|line| (line.stream, line.text)));
            }
            v1::work_request::Message::Outcome(_) => break,
            other => panic!("{other:?}"),
        }
    }
    lines.sort();
    let expected = [("stderr", "two"), ("stdout", "one"), ("stdout", "three")];
    assert_eq!(lines, expected.map(|(stream, text)| (stream.to_owned(), text.to_owned())));
}
