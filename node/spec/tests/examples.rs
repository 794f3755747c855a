//! The examples of the repository are what people copy first: each must load without a warning, print, and read back.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use quorus_spec::{read_resources, render_all};
use serde_json::Value;

/// Every YAML file below a folder, in order.
fn texts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "yaml") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// What a cluster takes; tests and stubs of examples are for the command line.
fn is_resource(text: &str) -> bool {
    ["Workflow", "Limit", "Secret"].iter().any(|kind| text.lines().any(|line| line == format!("kind: {kind}")))
}

#[test]
fn every_example_loads_without_a_warning_and_survives_printing() {
    let mut seen = 0;
    for path in texts(&examples()) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        if !is_resource(&text) {
            continue;
        }
        for resource in read_resources(&text, &name) {
            assert!(resource.diagnostics.is_empty(), "{}", render_all(&resource.diagnostics, &text, false));
        }
        for loaded in quorus_spec::load_all(&text, &name).into_iter().filter(|_| text.contains("kind: Workflow\n")) {
            let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{}", render_all(&diagnostics, &text, false)));
            assert!(loaded.warnings.is_empty(), "{}", render_all(&loaded.warnings, &text, false));
            if path.parent() == Some(&examples()) {
                assert_eq!(path.file_stem().unwrap().to_str().unwrap(), loaded.workflow.metadata.as_ref().unwrap().name);
            }
            let printed = quorus_spec::to_yaml(&loaded.workflow);
            assert_eq!(quorus_spec::read(&printed, "printed").workflow.as_ref(), Some(&loaded.workflow), "{printed}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} examples found");
}

#[test]
fn the_input_of_an_example_fits_its_schema() {
    for path in texts(&examples()) {
        let (Ok(input), text) = (fs::read_to_string(path.with_file_name("input.json")), fs::read_to_string(&path).unwrap()) else {
            continue;
        };
        if path.file_name().is_none_or(|name| name != "workflow.yaml") {
            continue;
        }
        let loaded = quorus_spec::load(&text, "workflow.yaml").unwrap_or_else(|found| panic!("{}", render_all(&found, &text, false)));
        let input: Value = serde_json::from_str(&input).unwrap();
        if let Some(schema) = &loaded.definition.input_schema {
            let found = quorus_spec::Schema::compile(schema).unwrap().violations(&input);
            assert!(found.is_empty(), "{}: {found:#?}", path.display());
        }
    }
}

#[test]
fn the_schema_for_editors_accepts_every_example() {
    let schema = quorus_spec::Schema::compile(&quorus_spec::json_schema()).unwrap();
    for path in texts(&examples()) {
        let text = fs::read_to_string(&path).unwrap();
        if !is_resource(&text) {
            continue;
        }
        for read in quorus_spec::read_all(&text, "example").into_iter().filter(|_| text.contains("kind: Workflow\n")) {
            // What is printed uses the shorthands, as people do.
            let found = schema.violations(&quorus_spec::to_json_value(&read.workflow.unwrap()));
            assert!(found.is_empty(), "{}: {found:#?}", path.display());
        }
    }
    let wrong = serde_json::json!({
        "api_version": "quorus/v1", "kind": "Workflow", "metadata": {"name": "x"},
        "spec": {"steps": [{"id": "a", "taks": {}}, {"id": "b", "wait": {"for": "soon"}}]},
    });
    assert!(!schema.violations(&wrong).is_empty());
}
