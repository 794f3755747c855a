//! The command line as people and scripts see it: what it prints where, and what it exits with.

#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use fake::{FakeNode, Script, dead_endpoint};
use quorus_client::v1::{self, EventType, RunStatus, StepStatus};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

const GOOD: &str = r#"
api_version: quorus/v1
kind: Workflow
metadata: {name: release}
spec:
  steps:
    - id: build
      task: {type: exec, queue: ci}
      with: {command: [make]}
      retry: {max_attempts: 5}
    - id: unit
      needs: [build]
      task: {type: exec, queue: ci}
      with: {command: [make, test]}
      retry: {max_attempts: 1}
    - id: soak
      needs: [build]
      if: "input.environment == 'production'"
      wait: {for: 5m}
    - id: done
      needs: [unit, soak]
      set: {version: "${input.version}"}
"#;

const BAD: &str = "
api_version: quorus/v1
kind: Workflow
metadata: {name: release}
spec:
  steps:
    - id: build
      taks: {type: exec}
    - id: unit
      needs: [biuld]
      wait: {for: 5 parsecs}
";

struct Quorus {
    command: Command,
    stdin: String,
}

/// A command without anything from the environment of the tests.
fn quorus(arguments: &[&str]) -> Quorus {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus"));
    for name in ["QUORUS_ENDPOINTS", "QUORUS_NAMESPACE", "NO_COLOR", "CLICOLOR_FORCE", "TRACEPARENT", "COLUMNS"] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Quorus { command, stdin: String::new() }
}

impl Quorus {
    fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    fn at(mut self, endpoint: &str) -> Self {
        self.command.env("QUORUS_ENDPOINTS", endpoint);
        self
    }

    fn run(mut self) -> (i32, String, String) {
        let mut child = self.command.spawn().unwrap();
        // A command that does not read its input has closed it.
        let _ = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        (status.code().unwrap_or(-1), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn help_of_every_command() {
    let mut text = String::new();
    for arguments in [
        "",
        "validate",
        "plan",
        "explain",
        "schema",
        "test",
        "diff",
        "apply",
        "workflows",
        "workflows list",
        "workflows get",
        "workflows describe",
        "workflows pause",
        "workflows resume",
        "workflows versions",
        "workflows delete",
        "start",
        "runs",
        "runs list",
        "runs get",
        "runs describe",
        "runs watch",
        "runs wait",
        "runs history",
        "runs output",
        "runs cancel",
        "runs terminate",
        "runs signal",
        "runs approve",
        "runs reject",
        "runs pause",
        "runs resume",
        "runs retry",
        "runs restart",
        "runs skip",
        "runs compensate",
        "runs migrate",
        "runs annotate",
        "runs why",
        "approvals list",
        "worker",
        "worker exec",
        "worker replay",
        "import",
        "import wfformat",
        "cluster",
        "cluster status",
        "api",
        "api list",
        "api call",
        "bench",
        "bench chain",
        "bench fanout",
        "bench mixed",
        "bench waiting",
        "bench start",
        "bench failover",
        "bench worker",
        "bench repeat",
        "stub serve",
        "context",
        "context add",
        "completions",
        "version",
    ] {
        let all: Vec<_> = arguments.split_whitespace().chain(["-h"]).collect();
        let (code, stdout, stderr) = quorus(&all).run();
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments}");
        // The flags that all take are shown once.
        let own = if arguments.is_empty() { stdout.as_str() } else { stdout.split("\nGlobal options:").next().unwrap() };
        text.push_str(&format!("$ quorus {arguments} -h\n{}\n\n", own.trim_end()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_plan_shows_levels_and_the_critical_path() {
    let (code, stdout, stderr) = quorus(&["plan", "-f", "-"]).stdin(GOOD).run();
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!(stdout);
}

#[test]
fn a_plan_for_programs() {
    let (code, stdout, _) = quorus(&["plan", "-f", "-", "-o", "json"]).stdin(GOOD).run();
    assert_eq!(code, 0);
    let plan = json_of(&stdout);
    assert_eq!(plan["critical_path"], json!(["build", "unit", "done"]));
    let unit = &plan["steps"][1];
    assert_eq!((&unit["step"], &unit["kind"], &unit["role"]), (&json!("unit"), &json!("task"), &json!("body")));
    assert_eq!((&unit["needs"], &unit["level"]), (&json!(["build"]), &json!(1)));
    assert_eq!((&unit["queue"], &unit["task_type"]), (&json!("ci"), &json!("exec")));
    assert_eq!((&unit["retry"]["max_attempts"], &unit["attempt_timeout"]), (&json!(1), &json!("1h")));
}

#[test]
fn every_mistake_is_shown_with_its_place() {
    let (code, stdout, stderr) = quorus(&["validate", "-f", "-"]).stdin(BAD).run();
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(!stderr.contains('\u{1b}'), "no colours without a terminal");
    insta::assert_snapshot!(stderr);
}

#[test]
fn mistakes_for_programs() {
    let (code, stdout, _) = quorus(&["validate", "-f", "-", "-o", "json"]).stdin(BAD).run();
    assert_eq!(code, 1);
    let result = json_of(&stdout);
    assert_eq!(result["valid"], false);
    let problems = result["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["line"] == 8 && problem["code"] == "unknown-field"), "{stdout}");
    assert!(problems.iter().all(|problem| problem["file"] == "stdin"));
}

#[test]
fn colours_are_there_when_asked_for() {
    let (_, _, stderr) = quorus(&["validate", "-f", "-", "--color", "always"]).stdin(BAD).run();
    assert!(stderr.contains('\u{1b}'));
}

#[test]
fn a_folder_is_validated_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("a.yaml"), GOOD).unwrap();
    std::fs::write(folder.path().join("sub/b.yml"), format!("{GOOD}---{}", GOOD.replace("release", "other"))).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a workflow").unwrap();
    let (code, stdout, _) = quorus(&["validate", "-f", folder.path().to_str().unwrap()]).run();
    assert_eq!((code, stdout.as_str()), (0, "3 workflows valid, 12 steps\n"));
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in [
        vec!["start"],
        vec!["start", "x", "-f", "y"],
        vec!["nonsense"],
        vec!["runs", "list", "--status", "dead"],
        vec!["runs", "list", "--timeout", "5"],
        vec!["api", "call", "Nope"],
        vec!["worker", "exec", "--concurrency", "0"],
        vec!["runs", "list", "--endpoints", "https://x:1"],
    ] {
        let (code, stdout, stderr) = quorus(&arguments).run();
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    }
}

#[test]
fn bad_json_is_shown_with_its_place() {
    let (code, _, stderr) = quorus(&["start", "x", "--input", "{\"a\": }"]).run();
    assert_eq!(code, 2);
    assert_eq!(stderr, "error: --input: not JSON: expected value at line 1, column 7\n  | {\"a\": }\n  |       ^\n");
}

#[test]
fn without_a_cluster_it_says_what_to_do() {
    let (code, stdout, stderr) = quorus(&["runs", "list", "--timeout", "200ms"]).at(&dead_endpoint()).run();
    assert_eq!((code, stdout.as_str()), (6, ""));
    assert!(stderr.starts_with("error: no answer from http://127.0.0.1:"), "{stderr}");
    assert!(stderr.contains("quorusd dev"), "{stderr}");
}

#[test]
fn an_unknown_run_exits_with_5() {
    let node = FakeNode::start(Script::default().on_get(|_, _| {
        let details = ErrorDetails::with_error_info("RUN_NOT_FOUND", "quorus.dev", std::collections::HashMap::new());
        Err(Status::with_error_details(Code::NotFound, "there is no run `r9`", details))
    }));
    let (code, _, stderr) = quorus(&["runs", "get", "r9"]).at(&node.endpoint).run();
    assert_eq!(code, 5);
    assert!(stderr.starts_with("error: there is no run `r9` (RUN_NOT_FOUND)\nhint: "), "{stderr}");
}

fn run(status: RunStatus) -> v1::Run {
    let at = |seconds: i64| Some(prost_types::Timestamp { seconds: 1_764_014_400 + seconds, nanos: 0 });
    v1::Run {
        namespace: "default".to_owned(),
        run_id: "r1".to_owned(),
        run_uid: "u1".to_owned(),
        workflow: "release".to_owned(),
        status: status as i32,
        started_at: at(0),
        ended_at: at(4),
        steps_total: 1,
        output: Some(v1::Payload { data: "{\"version\":\"1.2\"}".into(), encoding: "json".to_owned() }),
        ..Default::default()
    }
}

#[test]
fn a_workflow_is_paused_and_shown_as_such_and_resumed() {
    let switched = |reason: &str| v1::Switched {
        since: Some(prost_types::Timestamp { seconds: 1_764_014_400, nanos: 0 }),
        by: Some(v1::Principal { subject: "ada".to_owned(), ..Default::default() }),
        reason: reason.to_owned(),
    };
    let version = move |paused: bool| {
        let metadata = v1::Metadata { name: "release".to_owned(), namespace: "default".to_owned(), ..Default::default() };
        let workflow = v1::Workflow { metadata: Some(metadata), ..Default::default() };
        let paused = paused.then(|| switched("a bad build"));
        v1::WorkflowVersion { workflow: Some(workflow), version: 3, parked_runs: 7, paused, ..Default::default() }
    };
    let script = Script::default()
        .on_pause_workflow(|request, _| {
            assert_eq!((request.namespace.as_str(), request.name.as_str(), request.reason.as_str()), ("default", "release", "a bad build"));
            assert!(!request.principal.unwrap_or_default().subject.is_empty(), "who does it is told");
            Ok(v1::PauseWorkflowResponse { changed: true, revision: 9, unconfirmed_shards: vec![3, 11] })
        })
        .on_resume_workflow(|request, _| Ok(v1::ResumeWorkflowResponse { changed: request.name == "release" }))
        .on_list_workflows(move |_, _| Ok(v1::ListWorkflowsResponse { workflows: vec![version(true)], ..Default::default() }))
        .on_get_workflow(move |_, _| Ok(v1::GetWorkflowResponse { workflow: Some(version(true)) }));
    let node = FakeNode::start(script);
    let quorus = |arguments: &[&str]| {
        let (code, stdout, stderr) = quorus(arguments).at(&node.endpoint).run();
        assert_eq!(code, 0, "{stderr}");
        (stdout, stderr)
    };
    let (_, stderr) = quorus(&["workflows", "pause", "release", "--reason", "a bad build"]);
    assert!(stderr.starts_with("workflow release paused\n") && stderr.contains("shards 3, 11 did not confirm"), "{stderr}");
    let (stdout, _) = quorus(&["workflows", "list"]);
    assert!(stdout.contains("STATE") && stdout.lines().nth(1).unwrap().contains("paused"), "{stdout}");
    let (stdout, _) = quorus(&["workflows", "describe", "release"]);
    assert!(stdout.contains("by ada, ") && stdout.contains("ago: a bad build\n"), "{stdout}");
    assert!(stdout.lines().any(|line| line.starts_with("Parked runs:") && line.ends_with(" 7")), "{stdout}");
    let (_, stderr) = quorus(&["workflows", "resume", "release"]);
    assert_eq!(stderr, "workflow release resumed\n");
    let (_, stderr) = quorus(&["workflows", "resume", "other"]);
    assert_eq!(stderr, "workflow other was not paused\n");
}

/// A cluster on which each run ends like this.
fn cluster(status: RunStatus) -> FakeNode {
    let event = |sequence, kind: EventType| v1::HistoryEvent {
        sequence,
        r#type: kind as i32,
        time: Some(prost_types::Timestamp { seconds: 1_764_014_400 + sequence as i64, nanos: 0 }),
        ..Default::default()
    };
    let script = Script::default()
        .on_apply(|request, _| {
            let Some(v1::apply_workflow_request::Definition::Workflow(workflow)) = request.definition else {
                return Err(Status::invalid_argument("no workflow"));
            };
            let workflow = v1::WorkflowVersion { workflow: Some(workflow), version: 3, ..Default::default() };
            Ok(v1::ApplyWorkflowResponse { workflow: Some(workflow), changed: true, revision: 77, ..Default::default() })
        })
        .on_start(|request, _| {
            if request.workflow == "release" && request.min_revision != 77 {
                return Err(Status::failed_precondition("min_revision is missing"));
            }
            let mut run = run(RunStatus::Running);
            run.labels = request.labels;
            run.input = request.input;
            Ok(v1::StartRunResponse { run: Some(run), existing: false })
        })
        .on_watch(move |_, _| {
            let leased =
                v1::HistoryEvent { step: "build".to_owned(), attempt: 1, worker: "w1".to_owned(), ..event(2, EventType::StepLeased) };
            let mut over = run(status);
            if status == RunStatus::Failed {
                let failure = v1::Failure { r#type: "ExitCode".to_owned(), message: "exit code 1".to_owned(), ..Default::default() };
                let step = v1::StepState {
                    step: "build".to_owned(),
                    status: StepStatus::Failed as i32,
                    failure: Some(failure),
                    ..Default::default()
                };
                over.steps.push(step);
                over.output = None;
            }
            let ended = v1::HistoryEvent { run_status: status as i32, ..event(3, EventType::RunEnded) };
            Ok(vec![
                Ok(v1::WatchRunResponse { events: vec![event(1, EventType::RunStarted), leased], run: Some(run(RunStatus::Running)) }),
                Ok(v1::WatchRunResponse { events: vec![ended], run: Some(over) }),
            ])
        });
    FakeNode::start(script)
}

#[test]
fn starting_from_a_file_applies_it_first_and_waiting_prints_the_output() {
    let node = cluster(RunStatus::Succeeded);
    let (code, stdout, stderr) = quorus(&["start", "-f", "-", "--wait"]).stdin(GOOD).at(&node.endpoint).run();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "{\n  \"version\": \"1.2\"\n}\n");
    assert_eq!(stderr, "run r1 of release started\nrun r1 succeeded in 4.0s\n");
}

#[test]
fn run_is_another_name_for_start() {
    let node = cluster(RunStatus::Succeeded);
    let arguments = ["run", "other", "--input", "{\"n\": 1}", "--label", "a=b", "-o", "json"];
    let (code, stdout, _) = quorus(&arguments).at(&node.endpoint).run();
    assert_eq!(code, 0);
    let run = json_of(&stdout);
    assert_eq!((&run["run_id"], &run["input"], &run["labels"]), (&json!("r1"), &json!({"n": 1}), &json!({"a": "b"})));
    let (_, stdout, _) = quorus(&["run", "other", "-q"]).at(&node.endpoint).run();
    assert_eq!(stdout, "r1\n");
}

#[test]
fn a_failed_run_exits_with_3_and_says_which_step() {
    let node = cluster(RunStatus::Failed);
    let (code, stdout, stderr) = quorus(&["runs", "wait", "r1"]).at(&node.endpoint).run();
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert_eq!(stderr, "error: run r1 failed: step `build`: ExitCode: exit code 1\nhint: see `quorus runs describe r1`\n");
    let cancelled = cluster(RunStatus::Cancelled);
    let (code, _, stderr) = quorus(&["start", "other", "--watch"]).at(&cancelled.endpoint).run();
    assert_eq!(code, 3);
    assert!(stderr.contains("error: run r1 was cancelled"), "{stderr}");
}

#[test]
fn watching_without_a_terminal_prints_a_line_per_event() {
    let node = cluster(RunStatus::Succeeded);
    let (code, stdout, _) = quorus(&["runs", "watch", "r1"]).at(&node.endpoint).run();
    assert_eq!(code, 0);
    let lines: Vec<_> = stdout.lines().take(3).collect();
    assert_eq!(
        lines,
        [
            "20:00:01.000  run                   started",
            "20:00:02.000  build                 attempt 1 on w1",
            "20:00:03.000  run                   succeeded",
        ]
    );
    let (_, stdout, _) = quorus(&["runs", "watch", "r1", "-o", "json"]).at(&node.endpoint).run();
    let kinds: Vec<_> = stdout.lines().map(|line| json_of(line)["type"].clone()).collect();
    assert_eq!(kinds, ["run_started", "step_leased", "run_ended"]);
}

#[test]
fn waiting_longer_than_the_timeout_exits_with_124() {
    let node = FakeNode::start(Script::default().on_watch(|_, _| {
        let item = v1::WatchRunResponse { events: Vec::new(), run: Some(run(RunStatus::Running)) };
        Ok(vec![Ok(item)])
    }));
    let (code, _, stderr) = quorus(&["runs", "wait", "r1", "--timeout", "300ms"]).at(&node.endpoint).run();
    assert_eq!(code, 124, "{stderr}");
    assert!(stderr.starts_with("error: run r1 is still going on after 300ms"), "{stderr}");
    let without_leader = FakeNode::start(Script::default().on_watch(|_, _| Err(Status::unavailable("no leader"))));
    let (code, _, stderr) = quorus(&["runs", "wait", "r1", "--timeout", "300ms"]).at(&without_leader.endpoint).run();
    assert_eq!(code, 6, "{stderr}");
}

#[test]
fn the_api_can_be_called_by_name() {
    let node = cluster(RunStatus::Succeeded);
    let (code, stdout, stderr) = quorus(&["api", "call", "ClusterService/GetClusterStatus"]).at(&node.endpoint).run();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json_of(&stdout)["nodes"][0]["node_id"], "1", "proto JSON has 64-bit numbers as text");
    let (code, stdout, _) = quorus(&["api", "call", "WatchRun", "-d", "{\"run_id\": \"r1\"}"]).at(&node.endpoint).run();
    assert_eq!(code, 0);
    assert_eq!(stdout.matches("\"events\"").count(), 2);
    let (code, _, stderr) = quorus(&["api", "call", "GetRun", "-d", "{\"run\": 1}"]).at(&node.endpoint).run();
    assert_eq!(code, 2);
    assert!(stderr.contains("quorus.v1.GetRunRequest"), "{stderr}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut command = quorus(&["completions", "bash"]).command;
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn an_imported_workflow_is_valid() {
    let instance = json!({
        "name": "tiny", "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {"name": "split", "id": "split_1", "parents": [], "children": ["work_2"], "inputFiles": [], "outputFiles": []},
                    {"name": "work", "id": "work_2", "parents": ["split_1"], "children": [], "inputFiles": [], "outputFiles": []}
                ],
                "files": []
            },
            "execution": {"makespanInSeconds": 3, "executedAt": "2026-01-01T00:00:00Z", "tasks": [
                {"id": "split_1", "runtimeInSeconds": 1.5, "command": {"program": "split"}},
                {"id": "work_2", "runtimeInSeconds": 2.5, "command": {"program": "work"}}
            ], "machines": []}
        }
    });
    let (code, yaml, stderr) = quorus(&["import", "wfformat", "-"]).stdin(&instance.to_string()).run();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.starts_with("2 tasks, 1 edge, 4.0s recorded"), "{stderr}");
    let (code, _, stderr) = quorus(&["validate", "-f", "-"]).stdin(&yaml).run();
    assert_eq!(code, 0, "{stderr}\n{yaml}");
}
