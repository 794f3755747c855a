//! Tools that need no cluster: tests of workflows, pictures of plans, explanations, the schema and the stub.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

const WORKFLOW: &str = r#"
api_version: quorus/v1
kind: Workflow
metadata: {name: release}
spec:
  steps:
    - id: migrate
      task: {type: db.migrate, queue: deploy}
      retry: {max_attempts: 3, initial_interval: 1s, jitter: none}
      compensate: {task: {type: db.rollback, queue: deploy}}
    - id: canary
      needs: [migrate]
      group:
        guard: {gate: {prometheus: {url: "http://p", query: errors}, condition: "value < 0.05"}, breach_for: 1m}
        steps:
          - id: shift
            task: {type: traffic.shift, queue: deploy}
          - id: healthy
            needs: [shift]
            if: "input.gated"
            gate: {prometheus: {url: "http://p", query: errors}, condition: "value < 0.01", interval: 15s, hold_for: 1m}
    - id: side
      needs: [migrate]
      wait: {for: 1m}
    - id: done
      needs: [canary, side]
      set: {ok: true}
  finally:
    - id: notify
      http: {url: "https://hooks.example.org"}
  output: {ok: "${steps.done.output.ok}"}
"#;

const TESTS: &str = r#"
api_version: quorus/v1
kind: WorkflowTest
tests:
  - name: all is well
    input: {gated: true}
    steps:
      migrate: [{fail: {type: Busy, message: locked}}, {after: 2s, succeed: {rows: 1}}]
      healthy: {samples: [0.5, 0.001]}
    expect:
      status: succeeded
      attempts: [migrate, migrate, "canary:guard", shift, healthy, notify]
      output: {ok: true}
      takes: {at_least: 78s, at_most: 78s}
  - name: expectations that are not met
    input: {gated: true}
    steps:
      healthy: {fail: {type: TooSlow, non_retryable: true}}
    actions:
      - {after: done, cancel: {reason: never}}
    expect:
      status: succeeded
      failure: {type: Other}
      attempts: [migrate, shift]
      steps: {shift: {status: failed, attempts: 2}, nope: succeeded}
      compensations: [migrate, shift]
      order: [side, migrate]
"#;

fn quorus(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus"));
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "QUORUS_CONTEXT"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn what_is_not_as_expected_is_shown_with_its_place_and_with_what_happened() {
    let folder = folder(&[("release.yaml", WORKFLOW), ("release.test.yaml", TESTS)]);
    let (code, stdout, stderr) = quorus(&["test", "."], folder.path());
    assert_eq!(code, 1, "{stderr}");
    let lines: Vec<_> = stdout.lines().take(2).collect();
    assert_eq!(
        lines,
        ["ok     ./release.test.yaml: all is well (1m18s)", "failed ./release.test.yaml: expectations that are not met (0s)"]
    );
    assert!(!stderr.contains('\u{1b}'), "no colours without a terminal");
    insta::assert_snapshot!(stderr);
}

#[test]
fn reports_are_for_machines_too() {
    let folder = folder(&[("release.yaml", WORKFLOW), ("release.test.yaml", TESTS)]);
    let (code, stdout, _) = quorus(&["test", ".", "--junit", "out.xml", "-o", "json"], folder.path());
    assert_eq!(code, 1);
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&value["passed"], &value["failed"], &value["broken"]), (&json!(1), &json!(1), &json!(0)));
    let xml = std::fs::read_to_string(folder.path().join("out.xml")).unwrap();
    assert!(xml.contains(r#"<testsuites name="quorus test" tests="2" failures="1" errors="0">"#), "{xml}");
    assert!(!xml.contains('\u{1b}'), "no colours in files");
    let (code, stdout, _) = quorus(&["test", ".", "--filter", "all is well"], folder.path());
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("1 passed, 0 failed"), "{stdout}");
    let (code, _, stderr) = quorus(&["test", ".", "--filter", "nothing like that"], folder.path());
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn mistakes_in_test_files_are_shown_with_their_place() {
    for (text, expected) in [
        ("kind: WorkflowTest\ntests: []\n", "missing field `api_version`"),
        ("api_version: quorus/v1\nkind: Test\ntests: []\n", "x.test.yaml:2:7"),
        ("api_version: quorus/v1\nkind: WorkflowTest\ntests: [{name: a, steps: {mgrate: succeed}}]\n", "no step `mgrate`"),
        ("api_version: quorus/v1\nkind: WorkflowTest\ntests: [{name: a, steps: {migrate: sucseed}}]\n", "`sucseed` is no outcome"),
        ("api_version: quorus/v1\nkind: WorkflowTest\ntests: [{name: a, expect: {statsu: failed}}]\n", "unknown field `statsu`"),
        ("api_version: quorus/v1\nkind: WorkflowTest\ntests: [{name: a}, {name: a}]\n", "two tests have this name"),
        ("api_version: quorus/v1\nkind: WorkflowTest\nworkflow: nope.yaml\ntests: [{name: a}]\n", "nope.yaml"),
    ] {
        let folder = folder(&[("workflow.yaml", WORKFLOW), ("x.test.yaml", text)]);
        let (code, stdout, stderr) = quorus(&["test", "x.test.yaml"], folder.path());
        assert_eq!(code, 1, "{text}: {stdout}");
        assert!(stderr.contains(expected), "{text}: {stderr}");
    }
}

#[test]
fn the_documentation_is_right() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/testing.md")).unwrap();
    let blocks: Vec<_> = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [workflow, tests, _stub] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let folder = folder(&[("workflow.yaml", workflow), ("workflow.test.yaml", tests)]);
    let (code, stdout, stderr) = quorus(&["test", "."], folder.path());
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("2 passed, 0 failed"), "{stdout}");
}

#[test]
fn a_plan_can_be_drawn() {
    let folder = folder(&[("release.yaml", WORKFLOW)]);
    let draw = |graph: &str| {
        let (code, stdout, stderr) = quorus(&["plan", "-f", "release.yaml", "--graph", graph], folder.path());
        assert_eq!((code, stderr.as_str()), (0, ""));
        stdout
    };
    insta::assert_snapshot!(format!("{}\n{}\n{}", draw("ascii"), draw("mermaid"), draw("dot")));
}

#[test]
fn parts_of_definitions_are_explained() {
    let here = tempfile::tempdir().unwrap();
    let (code, stdout, _) = quorus(&["explain", "step.retry"], here.path());
    assert_eq!(code, 0);
    assert!(stdout.contains("max_attempts") && stdout.contains("Default: 3."), "{stdout}");
    let (code, _, stderr) = quorus(&["explain", "step.retyr"], here.path());
    assert_eq!(code, 5);
    assert!(stderr.contains("did you mean `retry`?"), "{stderr}");
    let (code, stdout, _) = quorus(&["explain", "step.retry", "-o", "json"], here.path());
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["path"], "step.retry");
}

#[test]
fn the_schema_is_printed_or_written_with_instructions() {
    let here = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = quorus(&["schema"], here.path());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&stdout).unwrap();
    assert!(schema["$defs"]["Workflow"].is_object());
    let (code, _, stderr) = quorus(&["schema", "--write", "quorus.schema.json"], here.path());
    assert_eq!(code, 0);
    assert!(stderr.contains("# yaml-language-server: $schema=quorus.schema.json"), "{stderr}");
    assert_eq!(std::fs::read_to_string(here.path().join("quorus.schema.json")).unwrap(), stdout);
}

/// A stub that is killed at the end.
struct Stub(std::process::Child);

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: stub\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stub_serves_what_was_recorded() {
    let file = "api_version: quorus/v1
kind: Stub
routes:
  - {method: POST, path: '/x/{id}', responses: [{status: 503, times: 1, headers: {retry-after: '7'}}, {body: {ok: true}}]}
prometheus:
  - {query: errors, values: [0.25]}
";
    let folder = folder(&[("stub.yaml", file)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus"));
    command.args(["stub", "serve", "-q", "-f", "stub.yaml", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    let mut stub = Stub(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(stub.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap();

    let first = ask(address, "POST", "/x/1");
    assert!(first.starts_with("HTTP/1.1 503") && first.contains("retry-after: 7"), "{first}");
    let second = ask(address, "POST", "/x/1");
    assert!(second.starts_with("HTTP/1.1 200") && second.ends_with(r#"{"ok":true}"#), "{second}");
    assert!(ask(address, "GET", "/api/v1/query?query=sum%28errors%29").contains(r#""0.25""#));
    assert!(ask(address, "GET", "/nothing").starts_with("HTTP/1.1 404"));
    let requests = ask(address, "GET", "/_stub/requests");
    assert_eq!(requests.matches(r#""path":"/x/1""#).count(), 2, "{requests}");
}
