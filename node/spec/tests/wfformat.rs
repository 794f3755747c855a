//! Importing recorded scientific workflows: the same tasks, the same edges, or a clear no.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use quorus_spec::wfformat::{Contradiction, Error, import};
use serde_json::{Value, json};

/// Four tasks in a diamond, in the shape of the format.
fn diamond() -> Value {
    let task = |id: &str, parents: &[&str], children: &[&str], inputs: &[&str], outputs: &[&str]| json!({"name": format!("{id}-name"), "id": id, "parents": parents, "children": children, "inputFiles": inputs, "outputFiles": outputs});
    let run =
        |id: &str, seconds: f64| json!({"id": id, "runtimeInSeconds": seconds, "command": {"program": "sort ${x}", "arguments": ["-n"]}});
    json!({
        "name": "diamond 0.1", "description": "Hand-made.", "schemaVersion": "1.5", "createdAt": "2026-01-01T00:00:00Z",
        "workflow": {
            "specification": {
                "tasks": [
                    task("Split_ID01", &[], &["Left.ID02", "Right.ID03"], &["in.txt"], &["l.txt", "r.txt"]),
                    task("Left.ID02", &["Split_ID01"], &["Join_ID04"], &["l.txt"], &["l.out"]),
                    task("Right.ID03", &["Split_ID01"], &["Join_ID04"], &["r.txt"], &["r.out"]),
                    task("Join_ID04", &["Left.ID02", "Right.ID03"], &[], &["l.out", "r.out"], &["out.txt"]),
                ],
                "files": [
                    {"id": "in.txt", "sizeInBytes": 100}, {"id": "l.txt", "sizeInBytes": 40}, {"id": "r.txt", "sizeInBytes": 60},
                    {"id": "l.out", "sizeInBytes": 40}, {"id": "r.out", "sizeInBytes": 60}, {"id": "out.txt", "sizeInBytes": 100},
                ],
            },
            "execution": {
                "makespanInSeconds": 9,
                "tasks": [run("Split_ID01", 0.5), run("Left.ID02", 3.25), run("Right.ID03", 2000.5), run("Join_ID04", 1.0)],
                "machines": [],
            },
        },
    })
}

#[test]
fn a_file_becomes_a_workflow_with_its_tasks_edges_and_figures() {
    let imported = import(&diamond().to_string()).unwrap();
    assert_eq!((imported.tasks, imported.edges), (4, 4));
    insta::assert_snapshot!(quorus_spec::to_yaml(&imported.workflow));
}

#[test]
fn every_contradiction_is_named_at_once() {
    let mut file = diamond();
    let tasks = &mut file["workflow"]["specification"]["tasks"];
    tasks[1]["parents"] = json!([]);
    tasks[2]["children"] = json!(["Join_ID04", "Nobody"]);
    tasks[3]["inputFiles"] = json!(["unknown.txt"]);
    file["workflow"]["execution"]["tasks"][0]["runtimeInSeconds"] = json!(-1);
    file["workflow"]["execution"]["tasks"][3]["id"] = json!("Ghost");
    let Err(Error::Contradictions(found)) = import(&file.to_string()) else { panic!("this file contradicts itself") };
    let text = |text: &str| text.to_owned();
    let expected = [
        Contradiction::UnknownExecution(text("Ghost")),
        Contradiction::NoRuntime(text("Join_ID04")),
        Contradiction::BadRuntime(text("Split_ID01")),
        Contradiction::UnknownRelative { task: text("Right.ID03"), relation: "child", other: text("Nobody") },
        Contradiction::OneSided { parent: text("Split_ID01"), child: text("Left.ID02"), witness: "parent" },
        Contradiction::UnknownFile { task: text("Join_ID04"), file: text("unknown.txt") },
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_task_id_used_twice_is_refused() {
    let mut file = diamond();
    file["workflow"]["specification"]["tasks"][1]["id"] = json!("Split_ID01");
    let Err(Error::Contradictions(found)) = import(&file.to_string()) else { panic!("an id is used twice") };
    assert!(found.contains(&Contradiction::DuplicateTask("Split_ID01".into())));
}

#[test]
fn a_cycle_is_refused_by_its_path() {
    let mut file = diamond();
    let tasks = &mut file["workflow"]["specification"]["tasks"];
    tasks[0]["parents"] = json!(["Join_ID04"]);
    tasks[3]["children"] = json!(["Split_ID01"]);
    let error = import(&file.to_string()).unwrap_err();
    assert!(error.to_string().contains("->"), "{error}");
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let mut file = diamond();
    file["schemaVersion"] = json!("1.4");
    assert_eq!(import(&file.to_string()).unwrap_err().to_string(), "WfFormat 1.4 is not supported, only 1.5");
    assert!(matches!(import("{\"a\": 1}"), Err(Error::Json(_))));
    assert!(matches!(import("not json"), Err(Error::Json(_))));
}

/// Recorded instances, where somebody has them.
fn instances() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/wfinstances");
    Some(env::var_os("QUORUS_WFINSTANCES").map_or_else(beside, PathBuf::from)).filter(|folder| folder.is_dir())
}

#[test]
fn recorded_instances_keep_every_task_and_edge() {
    let Some(folder) = instances() else {
        println!("skipped: no recorded instances (QUORUS_WFINSTANCES)");
        return;
    };
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let imported = import(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let original: Value = serde_json::from_str(&text).unwrap();
        let tasks = original["workflow"]["specification"]["tasks"].as_array().unwrap();
        let edges: BTreeSet<(&str, &str)> = tasks
            .iter()
            .flat_map(|task| {
                task["parents"].as_array().unwrap().iter().map(|parent| (parent.as_str().unwrap(), task["id"].as_str().unwrap()))
            })
            .collect();
        let steps = &imported.workflow.spec.as_ref().unwrap().steps;
        let task_id = |id: &str| steps.iter().find(|step| step.id == id).unwrap().labels["wfformat_id"].as_str();
        let kept: BTreeSet<(&str, &str)> = steps
            .iter()
            .flat_map(|step| step.needs.iter().map(|need| (task_id(&need.step), step.labels["wfformat_id"].as_str())))
            .collect();
        assert_eq!(edges, kept, "{}", path.display());
        assert_eq!(imported.tasks, tasks.len());
        if path.ends_with("montage-chameleon-dss-05d-001.json") {
            assert_eq!((imported.tasks, imported.edges), (58, 114));
        }
        for printed in [quorus_spec::to_yaml(&imported.workflow), quorus_spec::to_json_value(&imported.workflow).to_string()] {
            let loaded = quorus_spec::load(&printed, "printed");
            let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{}", quorus_spec::render_all(&diagnostics, &printed, false)));
            assert_eq!(loaded.workflow, imported.workflow, "{}", path.display());
        }
        seen += 1;
    }
    println!("{seen} recorded instances");
}
