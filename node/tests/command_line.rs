//! The command line of `quorusd`, as a process: answers, exit codes, where they go.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    process::{Command, Output},
};

/// Runs `quorusd` with these arguments and nothing of this environment.
fn quorusd(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorusd")).args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn config_print_shows_where_each_value_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quorus.toml");
    fs::write(&file, "lease = \"1m\"\nshards = 8\n").unwrap();
    let environment = [("QUORUS_CONFIG", file.to_str().unwrap()), ("QUORUS_SHARDS", "4"), ("QUORUS_SHARD", "2")];
    let output = quorusd(&["config", "print", "-o", "json", "--node-id", "3"], &environment);
    assert!(output.status.success());
    let values: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(values["lease"]["origin"], format!("{}:1", file.display()));
    assert_eq!((&values["shards"]["value"], &values["shards"]["origin"]), (&4.into(), &"env QUORUS_SHARDS".into()));
    assert_eq!(values["node.id"]["origin"], "flag --node-id");
    assert_eq!(values["cancel_grace"]["origin"], "default");
    assert!(text(&output.stderr).contains("did you mean 'QUORUS_SHARDS'?"), "a near miss is a warning: {}", text(&output.stderr));
}

#[test]
fn a_wrong_configuration_is_a_usage_error_that_lists_everything() {
    let output = quorusd(&["serve", "--shards", "0", "--lease", "soon"], &[("QUORUS_LISTEN", "here")]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = text(&output.stderr);
    for part in ["3 problems", "env QUORUS_LISTEN", "flag --shards", "flag --lease"] {
        assert!(complaint.contains(part), "{part} is missing: {complaint}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn a_node_that_cannot_start_says_why_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let arguments =
        ["serve", "--listen", &address, "--http-listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap(), "--log-format", "json"];
    let output = quorusd(&arguments, &[]);
    assert_eq!(output.status.code(), Some(1));
    let last: serde_json::Value = serde_json::from_str(text(&output.stderr).lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains(&address), "{last}");
}

#[test]
fn version_is_for_people_and_for_programs() {
    assert!(text(&quorusd(&["version"], &[]).stdout).starts_with("quorusd 0."));
    let version: serde_json::Value = serde_json::from_slice(&quorusd(&["version", "-o", "json"], &[]).stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
