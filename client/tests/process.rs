//! `quorus worker` as a process: how it stops, and what happens to its commands when it is killed.

#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use fake::{FakeNode, Script, Session};
use quorus_client::v1::{self, task_outcome, work_request};
use serde_json::json;

/// Kills the process if a test fails before it ended.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }

    async fn wait(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.0.wait().unwrap()).await.unwrap()
    }
}

fn worker(node: &FakeNode, arguments: &[&str]) -> Guard {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus"));
    command.args(["worker", "exec", "--endpoints", &node.endpoint]).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    Guard(command.spawn().unwrap())
}

fn exec(lease: &'static str, command: &str, pipe: &Path) -> v1::Task {
    let input = json!({"command": command, "env": {"PIPE": pipe}});
    v1::Task {
        lease: lease.into(),
        r#type: "exec".to_owned(),
        input: Some(v1::Payload { data: input.to_string().into(), encoding: "json".to_owned() }),
        ..Default::default()
    }
}

/// Starts a worker with one command that says that it runs; its pipe ends when the command is dead.
async fn running(arguments: &[&str], command: &str) -> (FakeNode, Guard, Session, BufReader<std::fs::File>) {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let node = FakeNode::start(Script::default());
    let worker = worker(&node, arguments);
    let session = node.session().await;
    session.registered(30_000);
    session.task(exec("l1", command, &pipe));
    let lines = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(std::fs::File::open(pipe).unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        lines
    });
    let lines = lines.await.unwrap();
    (node, worker, session, lines)
}

async fn ends(mut lines: BufReader<std::fs::File>) {
    tokio::task::spawn_blocking(move || lines.read_to_string(&mut String::new()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_lets_its_command_end() {
    let (_node, worker, mut session, lines) =
        running(&["--shutdown-grace", "60s"], "exec 3> $PIPE; echo ready >&3; read line < /dev/null; sleep 0.2; echo done").await;
    worker.signal("-TERM");
    loop {
        match session.next().await.unwrap() {
            work_request::Message::Outcome(outcome) => {
                assert!(matches!(outcome.result, Some(task_outcome::Result::Succeeded(_))), "{outcome:?}");
                break;
            }
            work_request::Message::Capacity(change) => assert_eq!(change.capacity, 0),
            _ => {}
        }
    }
    session.ack(b"l1");
    assert!(session.next().await.is_none());
    drop(session);
    assert!(worker.wait().await.success());
    ends(lines).await;
}

#[tokio::test]
async fn a_worker_without_time_gives_its_command_back() {
    let (_node, worker, mut session, lines) = running(&["--shutdown-grace", "0s"], "exec 3> $PIPE; echo ready >&3; exec sleep 1000").await;
    worker.signal("-INT");
    let outcome = session.outcome().await;
    assert!(matches!(outcome.result, Some(task_outcome::Result::Released(_))), "{outcome:?}");
    session.ack(b"l1");
    ends(lines).await;
    drop(session);
    assert!(worker.wait().await.success());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_command_does_not_outlive_a_worker_that_is_killed() {
    let (_node, worker, _session, lines) = running(&[], "exec 3> $PIPE; echo ready >&3; exec sleep 1000").await;
    worker.signal("-KILL");
    ends(lines).await;
    assert!(!worker.wait().await.success());
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let (_node, worker, _session, lines) =
        running(&["--shutdown-grace", "1h"], "trap '' TERM; exec 3> $PIPE; echo ready >&3; exec sleep 1000").await;
    worker.signal("-TERM");
    worker.signal("-INT");
    assert_eq!(worker.wait().await.code(), Some(130));
    ends(lines).await;
}
