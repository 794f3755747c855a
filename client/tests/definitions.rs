//! Definitions on a cluster as the command line treats them: diff, apply with a plan, prune, versions; and the contexts that name clusters.

#![allow(clippy::unwrap_used)]

mod fake;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use fake::{FakeNode, Script};
use quorus_client::v1::{self, Workflow, apply_workflow_request::Definition};
use serde_json::Value;
use tonic::{Code, Status};

/// A command that sees nothing of this machine.
fn quorus(arguments: &[&str], endpoint: &str) -> (i32, String, String) {
    let mut command = command(arguments, Path::new("/nonexistent/config.yaml"));
    command.env("QUORUS_ENDPOINTS", endpoint);
    finish(command)
}

fn command(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus"));
    for name in ["QUORUS_ENDPOINTS", "QUORUS_NAMESPACE", "QUORUS_CONTEXT", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(arguments).env("QUORUS_CONTEXTS", config).stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What a cluster has: every version of each name.
type Stored = Arc<Mutex<BTreeMap<String, Vec<Workflow>>>>;

fn version(workflow: &Workflow, number: usize) -> v1::WorkflowVersion {
    let digest = quorus_spec::digest_hex(&quorus_spec::canonical(workflow).1);
    v1::WorkflowVersion { workflow: Some(workflow.clone()), version: number as u64, digest, ..Default::default() }
}

/// A cluster that keeps what is applied. Workflows named `forbidden...` are refused.
fn registry(stored: &Stored) -> FakeNode {
    let (for_apply, for_get, for_list, for_versions, for_delete) =
        (stored.clone(), stored.clone(), stored.clone(), stored.clone(), stored.clone());
    let script = Script::default()
        .on_apply(move |request, _| {
            let Some(Definition::Workflow(workflow)) = request.definition else { return Err(Status::invalid_argument("no workflow")) };
            let name = workflow.metadata.clone().unwrap_or_default().name;
            if name.starts_with("forbidden") {
                return Err(Status::invalid_argument(format!("{name} is forbidden")));
            }
            let mut stored = for_apply.lock().unwrap();
            let mut versions = stored.get(&name).cloned().unwrap_or_default();
            let digest = |workflow: &Workflow| quorus_spec::canonical(workflow).1;
            let changed = versions.last().is_none_or(|last| digest(last) != digest(&workflow));
            if changed {
                versions.push(workflow.clone());
            }
            let answer = v1::ApplyWorkflowResponse { workflow: Some(version(&workflow, versions.len())), changed, ..Default::default() };
            if !request.dry_run {
                stored.insert(name, versions);
            }
            Ok(answer)
        })
        .on_get_workflow(move |request, _| {
            let stored = for_get.lock().unwrap();
            let versions = stored.get(&request.name).ok_or_else(|| Status::new(Code::NotFound, "there is no such workflow"))?;
            Ok(v1::GetWorkflowResponse { workflow: Some(version(versions.last().unwrap(), versions.len())) })
        })
        .on_list_workflows(move |_, _| {
            let stored = for_list.lock().unwrap();
            let workflows = stored.values().map(|versions| version(versions.last().unwrap(), versions.len())).collect();
            Ok(v1::ListWorkflowsResponse { workflows, ..Default::default() })
        })
        .on_versions(move |request, _| {
            let stored = for_versions.lock().unwrap();
            let versions = stored[&request.name].iter().enumerate().rev().map(|(index, workflow)| version(workflow, index + 1));
            Ok(v1::ListWorkflowVersionsResponse { versions: versions.collect(), ..Default::default() })
        })
        .on_delete(move |request, _| {
            for_delete.lock().unwrap().remove(&request.name).unwrap();
            Ok(v1::DeleteWorkflowResponse::default())
        });
    FakeNode::start(script)
}

fn workflow(name: &str, seconds: u32) -> String {
    format!(
        "# {name}\napi_version: quorus/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n    - {{id: nap, wait: {{for: {seconds}s}}}}\n"
    )
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn names(stored: &Stored) -> Vec<String> {
    stored.lock().unwrap().keys().cloned().collect()
}

#[test]
fn a_diff_is_about_meaning_and_not_about_layout() {
    let stored = Stored::default();
    let node = registry(&stored);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    write(folder.path(), "nap.yaml", &workflow("nap", 60));

    let (code, stdout, stderr) = quorus(&["diff", "-f", path], &node.endpoint);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert!(stdout.starts_with("--- /dev/null\n+++ "), "{stdout}");
    assert_eq!(quorus(&["apply", "-f", path], &node.endpoint), (0, "workflow nap applied, version 1\n".to_owned(), String::new()));

    write(folder.path(), "nap.yaml", &workflow("nap", 60).replace("60s", "1m").replace("# nap", "# another comment"));
    assert_eq!(quorus(&["diff", "-f", path], &node.endpoint), (0, String::new(), String::new()));
    assert_eq!(quorus(&["apply", "-f", path], &node.endpoint).1, "workflow nap unchanged, version 1\n");

    write(folder.path(), "nap.yaml", &workflow("nap", 90));
    let (code, stdout, _) = quorus(&["diff", "-f", path], &node.endpoint);
    assert_eq!(code, 1);
    assert!(stdout.contains("--- cluster: workflow nap, version 1\n"), "{stdout}");
    assert!(stdout.contains("\n-        for: 1m\n+        for: 1m30s\n"), "{stdout}");
    let (_, stdout, _) = quorus(&["diff", "-f", path, "-o", "json"], &node.endpoint);
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&value["different"], &value["definitions"][0]["change"]), (&true.into(), &"update".into()));

    write(folder.path(), "nap.yaml", "kind: Workflow\n");
    assert_eq!(quorus(&["diff", "-f", path], &node.endpoint).0, 2, "files that are wrong are no difference");
}

#[test]
fn a_folder_is_applied_with_all_mistakes_told_first() {
    let stored = Stored::default();
    let node = registry(&stored);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    write(folder.path(), "a.yaml", &format!("{}---\n{}", workflow("one", 1), workflow("two", 2)));
    write(folder.path(), "sub/b.yaml", &workflow("three", 3));
    write(folder.path(), "sub/b.test.yaml", "not: a workflow");
    write(folder.path(), "sub/stub.yaml", "not: a workflow");

    let (code, stdout, _) = quorus(&["apply", "-f", path, "--dry-run"], &node.endpoint);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "workflow one would be created\nworkflow two would be created\nworkflow three would be created\n")
    );
    assert!(names(&stored).is_empty(), "a dry run changes nothing");
    let (code, stdout, _) = quorus(&["apply", "-f", path, "--dry-run=client"], "http://127.0.0.1:1");
    assert_eq!((code, stdout.lines().count()), (0, 3), "the client needs no cluster: {stdout}");

    write(folder.path(), "c.yaml", &workflow("forbidden-one", 1));
    write(folder.path(), "d.yaml", &workflow("forbidden-two", 1));
    let (code, _, stderr) = quorus(&["apply", "-f", path], &node.endpoint);
    assert_eq!(code, 1);
    assert!(stderr.contains("forbidden-one is forbidden") && stderr.contains("forbidden-two is forbidden"), "{stderr}");
    assert!(names(&stored).is_empty(), "nothing is applied while anything is wrong");

    write(folder.path(), "c.yaml", &workflow("one", 5));
    std::fs::remove_file(folder.path().join("d.yaml")).unwrap();
    let (code, _, stderr) = quorus(&["apply", "-f", path], &node.endpoint);
    assert_eq!(code, 1);
    assert!(stderr.contains("workflow `one` is defined twice"), "{stderr}");

    std::fs::remove_file(folder.path().join("c.yaml")).unwrap();
    let first = quorus(&["apply", "-f", path], &node.endpoint);
    assert_eq!((first.0, names(&stored).len()), (0, 3), "{first:?}");
    let again = quorus(&["apply", "-f", path], &node.endpoint);
    assert_eq!((again.0, again.1.matches("unchanged").count()), (0, 3), "{again:?}");
}

#[test]
fn pruning_deletes_only_what_the_set_had() {
    let stored = Stored::default();
    let node = registry(&stored);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    write(folder.path(), "a.yaml", &workflow("kept", 1));
    write(folder.path(), "b.yaml", &workflow("dropped", 1));
    quorus(&["apply", "-f", path, "--set", "shop"], &node.endpoint);
    let foreign = tempfile::tempdir().unwrap();
    write(foreign.path(), "x.yaml", &workflow("foreign", 1));
    quorus(&["apply", "-f", foreign.path().to_str().unwrap()], &node.endpoint);
    std::fs::remove_file(folder.path().join("b.yaml")).unwrap();

    let (code, stdout, _) = quorus(&["apply", "-f", path, "--set", "shop", "--prune", "--dry-run"], &node.endpoint);
    assert_eq!((code, stdout.as_str()), (0, "workflow kept would be unchanged (1)\nworkflow dropped would be deleted\n"));
    let (code, _, stderr) = quorus(&["apply", "-f", path, "--set", "shop", "--prune"], &node.endpoint);
    assert_eq!(code, 2);
    assert!(stderr.contains("dropped") && stderr.contains("nobody is there to ask"), "{stderr}");
    assert_eq!(names(&stored), ["dropped", "foreign", "kept"]);

    let (code, stdout, stderr) = quorus(&["apply", "-f", path, "--set", "shop", "--prune", "--yes"], &node.endpoint);
    assert_eq!((code, stdout.as_str()), (0, "workflow kept unchanged, version 1\nworkflow dropped deleted\n"), "{stderr}");
    assert_eq!(names(&stored), ["foreign", "kept"]);
    let (code, _, stderr) = quorus(&["apply", "-f", path, "--prune"], &node.endpoint);
    assert_eq!(code, 2, "without a set nothing says what may be deleted: {stderr}");
    let (code, stdout, _) = quorus(&["diff", "-f", path], &node.endpoint);
    assert_eq!((code, stdout.as_str()), (0, ""), "what belongs to a set stays in it");
}

#[test]
fn versions_are_listed() {
    let stored = Stored::default();
    let node = registry(&stored);
    let folder = tempfile::tempdir().unwrap();
    for seconds in [1, 2] {
        write(folder.path(), "nap.yaml", &workflow("nap", seconds));
        quorus(&["apply", "-f", folder.path().to_str().unwrap()], &node.endpoint);
    }
    let (code, stdout, _) = quorus(&["workflows", "versions", "nap"], &node.endpoint);
    let numbers: Vec<_> = stdout.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!((code, numbers), (0, vec!["VERSION", "2", "1"]));
}

#[test]
fn a_context_names_a_cluster_and_flags_and_environment_win() {
    let node = registry(&Stored::default());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("quorus/config.yaml");
    let run = |arguments: &[&str]| finish(command(arguments, &config));

    let (code, _, stderr) = run(&["context", "current"]);
    assert_eq!((code, stderr.as_str()), (5, "error: no context is in use\nhint: see `quorus context list`\n"));
    assert_eq!(run(&["context", "add", "here", "--endpoints", &node.endpoint, "-n", "shop"]).0, 0);
    assert_eq!(run(&["context", "add", "dead", "--endpoints", "127.0.0.1:1"]).0, 0);
    assert_eq!(run(&["context", "current"]).1, "here\n", "the first one is used");
    assert_eq!(run(&["workflows", "list"]).2, "no workflows in namespace shop; see `quorus apply -f FILE`\n");
    assert_eq!(run(&["workflows", "list", "-n", "toys"]).2, "no workflows in namespace toys; see `quorus apply -f FILE`\n");
    assert_eq!(run(&["workflows", "list", "--context", "dead", "--timeout", "200ms"]).0, 6);
    assert_eq!(run(&["workflows", "list", "--context", "dead", "--endpoints", &node.endpoint]).0, 0, "a flag wins");
    assert_eq!(run(&["context", "use", "dead"]).0, 0);
    let mut with_environment = command(&["workflows", "list"], &config);
    with_environment.env("QUORUS_CONTEXT", "here");
    assert_eq!(finish(with_environment).0, 0, "the environment wins over the file");
    let (code, _, stderr) = run(&["context", "use", "nope"]);
    assert_eq!((code, stderr.as_str()), (5, "error: there is no context `nope`\nhint: there are: dead, here\n"));
    assert_eq!(run(&["context", "remove", "dead"]).0, 0);
    let (_, stdout, _) = run(&["context", "list", "-o", "json"]);
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["current"], Value::Null);
    assert_eq!(value["contexts"]["here"]["namespace"], "shop");
}
