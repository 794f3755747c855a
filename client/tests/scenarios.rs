//! The scenarios of `examples/`: each has its parts, and every test beside them passes.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn quorus(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorus"));
    command.args(arguments).current_dir(examples()).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Folders with a scenario.
fn scenarios() -> Vec<PathBuf> {
    let entries = fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_scenario_is_complete() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 14, "{scenarios:?}");
    for folder in scenarios {
        for file in ["workflow.yaml", "input.json", "README.md", "workflow.test.yaml"] {
            assert!(folder.join(file).is_file(), "{} has no {file}", folder.display());
        }
        let workflow = fs::read_to_string(folder.join("workflow.yaml")).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(workflow.contains(&format!("name: {name}\n")), "{name}: the workflow is named like its folder");
        let tests = fs::read_to_string(folder.join("workflow.test.yaml")).unwrap();
        let ends_well = tests.contains("status: succeeded");
        let ends_badly = tests.contains("status: failed") || tests.contains("status: needs_attention");
        assert!(ends_well && ends_badly, "{name}: both the success and a failure are tested");
        // What people start from has to fit the workflow.
        serde_json::from_str::<serde_json::Value>(&fs::read_to_string(folder.join("input.json")).unwrap()).unwrap();
    }
}

#[test]
fn every_test_of_every_scenario_passes() {
    let (code, stdout, stderr) = quorus(&["test", "."]);
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), stdout.lines().count() - 2, "{stdout}");
}

#[test]
fn every_scenario_is_valid_without_a_warning_and_can_be_drawn() {
    let (code, stdout, stderr) = quorus(&["validate", "-f", "."]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    for folder in scenarios() {
        let workflow = folder.join("workflow.yaml");
        for graph in ["mermaid", "dot", "ascii"] {
            let (code, stdout, stderr) = quorus(&["plan", "-f", workflow.to_str().unwrap(), "--graph", graph]);
            assert_eq!((code, stderr.as_str()), (0, ""), "{}", folder.display());
            assert!(stdout.lines().count() > 3, "{stdout}");
        }
    }
}
