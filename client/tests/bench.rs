//! `quorus bench`: reads the options, and goes on as the load tool beside it.

#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

use serde_json::{Value, json};

/// Runs a copy of the command in a folder of its own, where the load tool is whatever the test puts there: exit code and output.
fn quorus_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let program = folder.join("quorus");
    std::fs::copy(env!("CARGO_BIN_EXE_quorus"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(arguments).env("PATH", folder).env("QUORUS_CONTEXTS", folder.join("none"));
    command.env_remove("QUORUS_ENDPOINTS").env_remove("QUORUS_NAMESPACE").env_remove("QUORUS_CONTEXT");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn a_load_is_handed_over_to_the_tool_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("quorus-bench");
    std::fs::write(&tool, "#!/bin/sh\nprintf '%s' \"$2\"; printf '%s' \"$1\" >&2; exit 7\n").unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let line = "bench chain --runs 20 --steps 3 --concurrency 5 -o json -n team --endpoints n1:7401,n2:7401 --quiet";
    let (code, stdout, stderr) = quorus_in(folder.path(), &line.split(' ').collect::<Vec<_>>());
    assert_eq!((code, stderr.as_str()), (7, "--configuration"), "the exit code is that of the tool");
    let handed = serde_json::from_str::<Value>(&stdout).unwrap();
    assert_eq!(
        (&handed["endpoints"], &handed["namespace"], &handed["output"]),
        (&json!(["n1:7401", "n2:7401"]), &json!("team"), &json!("json"))
    );
    assert_eq!(handed["quiet"], true);
    let chain = &handed["work"]["chain"];
    assert_eq!((&chain["runs"], &chain["steps"], &chain["pace"]["concurrency"]), (&json!(20), &json!(3), &json!(5)));
}

#[test]
fn without_the_load_tool_it_says_how_to_get_it_and_still_helps() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = quorus_in(folder.path(), &["bench", "start"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("`quorus-bench`") && stderr.contains("cargo build"), "{stderr}");
    let (code, stdout, _) = quorus_in(folder.path(), &["bench", "--help"]);
    assert!(code == 0 && stdout.contains("step_latency_ms") && stdout.contains("Examples:"), "{stdout}");
    let (code, stdout, _) = quorus_in(folder.path(), &["completions", "bash"]);
    assert!(code == 0 && stdout.contains("quorus__subcmd__bench__subcmd__failover") && stdout.contains("--graceful"));
}
