//! The parts of a WfFormat file that matter here, and what must agree in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Contradiction, RUNTIME_SECONDS_MAX};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) schema_version: String,
    pub(super) workflow: Workflow,
}

#[derive(Deserialize)]
pub(super) struct Workflow {
    pub(super) specification: Specification,
    /// Optional in the format; without it there is nothing to replay.
    pub(super) execution: Option<Executions>,
}

#[derive(Deserialize)]
pub(super) struct Specification {
    pub(super) tasks: Vec<Task>,
    #[serde(default)]
    pub(super) files: Vec<DataFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) id: String,
    #[serde(default)]
    pub(super) parents: Vec<String>,
    #[serde(default)]
    pub(super) children: Vec<String>,
    #[serde(default)]
    pub(super) input_files: Vec<String>,
    #[serde(default)]
    pub(super) output_files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataFile {
    pub(super) id: String,
    pub(super) size_in_bytes: u64,
}

#[derive(Deserialize)]
pub(super) struct Executions {
    pub(super) tasks: Vec<Execution>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Execution {
    pub(super) id: String,
    pub(super) runtime_in_seconds: Option<f64>,
    pub(super) command: Option<Command>,
}

#[derive(Deserialize)]
pub(super) struct Command {
    #[serde(default)]
    pub(super) program: String,
}

impl File {
    pub(super) fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.workflow.execution.iter().flat_map(|executions| &executions.tasks)
    }
}

/// Everything in the file that can't be true, task by task.
pub(super) fn contradictions(file: &File) -> Vec<Contradiction> {
    let tasks = &file.workflow.specification.tasks;
    let mut found = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for task in tasks {
        if !known.insert(&task.id) {
            found.push(Contradiction::DuplicateTask(task.id.clone()));
        }
    }
    executions(file, &known, &mut found);
    edges(tasks, &known, &mut found);
    let files: BTreeSet<&str> = file.workflow.specification.files.iter().map(|file| file.id.as_str()).collect();
    for task in tasks {
        for used in task.input_files.iter().chain(&task.output_files).filter(|used| !files.contains(used.as_str())) {
            found.push(Contradiction::UnknownFile { task: task.id.clone(), file: used.clone() });
        }
    }
    found
}

fn executions(file: &File, known: &BTreeSet<&str>, found: &mut Vec<Contradiction>) {
    let mut runtimes: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for execution in file.executions() {
        if !known.contains(execution.id.as_str()) {
            found.push(Contradiction::UnknownExecution(execution.id.clone()));
        }
        runtimes.insert(&execution.id, execution.runtime_in_seconds);
    }
    for id in known {
        match runtimes.get(id).copied().flatten() {
            None => found.push(Contradiction::NoRuntime((*id).to_owned())),
            Some(runtime) if !(0.0..=RUNTIME_SECONDS_MAX).contains(&runtime) => found.push(Contradiction::BadRuntime((*id).to_owned())),
            Some(_) => {}
        }
    }
}

fn edges(tasks: &[Task], known: &BTreeSet<&str>, found: &mut Vec<Contradiction>) {
    // Edge by edge, from parent to child, and which of its ends know it.
    let mut witnesses: BTreeMap<(&str, &str), BTreeSet<&'static str>> = BTreeMap::new();
    for task in tasks {
        let parents = task.parents.iter().map(|parent| (parent, task.id.as_str(), "child", "parent"));
        let children = task.children.iter().map(|child| (child, task.id.as_str(), "parent", "child"));
        for (other, id, witness, relation) in parents.chain(children) {
            if !known.contains(other.as_str()) {
                found.push(Contradiction::UnknownRelative { task: id.to_owned(), relation, other: other.clone() });
                continue;
            }
            let edge = if relation == "parent" { (other.as_str(), id) } else { (id, other.as_str()) };
            witnesses.entry(edge).or_default().insert(witness);
        }
    }
    for ((parent, child), witnesses) in witnesses {
        if let (1, Some(witness)) = (witnesses.len(), witnesses.first()) {
            found.push(Contradiction::OneSided { parent: parent.to_owned(), child: child.to_owned(), witness });
        }
    }
}
