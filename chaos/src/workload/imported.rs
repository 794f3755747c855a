//! Recorded scientific workflows (WfFormat, wfcommons.org) as a workload: real graphs, real proportions of times.

use std::path::Path;

use anyhow::Context as _;
use quorus_client::v1::{Step, Workflow, step};
use quorus_spec::wfformat;

use super::{
    model::Definition,
    oracle::RUN_SUCCEEDED,
    plan::{Catalogue, Planned},
};
use crate::record::{Prediction, Shape, StepShape};

/// Larger graphs are left out: a run has all of its steps at once.
const TASKS_MAX: usize = 5_000;

/// Reads every `*.json` of a folder. Files that are no such workflows are an error: a typing mistake must not make a workload smaller.
pub fn read(folder: &Path, queue: &str) -> anyhow::Result<Vec<Planned>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    anyhow::ensure!(!paths.is_empty(), "{} has no *.json", folder.display());
    let mut workflows = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let planned = import(&text, queue).with_context(|| format!("importing {}", path.display()))?;
        workflows.extend(planned);
    }
    Ok(workflows)
}

/// A workflow of a file's text, with its tasks in this queue; none if it is too large.
pub fn import(text: &str, queue: &str) -> anyhow::Result<Option<Planned>> {
    let imported = wfformat::import(text)?;
    if imported.tasks > TASKS_MAX {
        return Ok(None);
    }
    let mut workflow = imported.workflow;
    let steps = workflow.spec.as_mut().map(|spec| spec.steps.as_mut_slice()).unwrap_or_default();
    for one in steps {
        if let Some(step::Kind::Task(task)) = &mut one.kind {
            queue.clone_into(&mut task.queue);
        }
    }
    let shape = shape(&workflow);
    let definition = Definition { name: shape.workflow.clone(), variants: 1, ..Definition::default() };
    let predictions = shape.predictions.values().cloned().collect();
    Ok(Some(Planned { definition, yaml: quorus_spec::to_yaml(&workflow), shape, predictions }))
}

fn shape(workflow: &Workflow) -> Shape {
    let name = workflow.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
    let steps = workflow.spec.as_ref().map(|spec| spec.steps.as_slice()).unwrap_or_default();
    let one = |step: &Step| StepShape {
        step: step.id.clone(),
        kind: "task".to_owned(),
        needs: step.needs.iter().map(|need| need.step.clone()).collect(),
        attempts_max: step.retry.as_ref().map_or(3, |retry| u32::try_from(retry.max_attempts).unwrap_or(3)),
        ..StepShape::default()
    };
    // A recorded program that is replayed always ends well.
    let prediction = Prediction {
        status: RUN_SUCCEEDED.to_owned(),
        steps: steps.iter().map(|step| (step.id.clone(), "STEP_STATUS_SUCCEEDED".to_owned())).collect(),
        failures: Default::default(),
    };
    Shape { workflow: name, steps: steps.iter().map(one).collect(), predictions: [(String::new(), prediction)].into() }
}

/// Adds imported workflows to those that are started.
pub fn add(catalogue: &mut Catalogue, imported: Vec<Planned>) {
    catalogue.workflows.extend(imported);
}
