//! Scientific workflows recorded in WfFormat 1.5 (wfcommons.org), as workflows that can be replayed.
//!
//! A task becomes a step of type `replay`, which a `quorus worker replay` stands in for by waiting the recorded run time. The graph is
//! taken over exactly: same tasks, same edges. Programs, run times and file sizes go along in `with`, the task's own names in its labels.
//!
//! Invariants: an import either has all tasks and all edges of the file, and passes [`fn@crate::check`], or it is an error that names every
//! contradiction in the file.

use std::collections::{BTreeMap, BTreeSet};

use quorus_proto::v1::{Metadata, Need, Step, TaskStep, Template, Workflow, WorkflowSpec, step};
use serde_json::json;

use crate::{
    engine::Problem,
    header::{API_VERSION, KIND},
};

mod file;
mod names;

/// The version of the format that is understood.
const SCHEMA_VERSION: &str = "1.5";
/// Task type and queue of every step.
const REPLAY: &str = "replay";
/// A step without an `attempt_timeout` has an hour; from half of that on a recorded run time is too near to it.
const LONG_SECONDS: f64 = 1800.0;
/// A century: recorded times are hours at most, and what is far beyond is a mistake.
const RUNTIME_SECONDS_MAX: f64 = 3.2e9;

/// A file that became a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Passes [`fn@crate::check`].
    pub workflow: Workflow,
    /// Number of steps.
    pub tasks: usize,
    /// Number of needs of all steps.
    pub edges: usize,
    /// All recorded run times together.
    pub runtime_seconds: f64,
}

/// Why a file can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON, or not in the shape of the format.
    #[error("this is not a WfFormat file")]
    Json(#[from] serde_json::Error),
    /// It is of a version whose meaning is not known here.
    #[error("WfFormat {found} is not supported, only {SCHEMA_VERSION}")]
    Version {
        /// What `schemaVersion` says.
        found: String,
    },
    /// It contradicts itself.
    #[error("the file contradicts itself:{}", list(.0))]
    Contradictions(Vec<Contradiction>),
    /// What it describes can't be run.
    #[error("what the file describes is not a valid workflow:{}", list(.0))]
    Invalid(Vec<Problem>),
}

/// Something in a file that can't be true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two tasks share an id.
    #[error("the task id `{0}` is used twice")]
    DuplicateTask(String),
    /// A task is recorded as executed, but not specified.
    #[error("task `{0}` was executed, but is not in the specification")]
    UnknownExecution(String),
    /// No run time was recorded.
    #[error("task `{0}` has no recorded run time")]
    NoRuntime(String),
    /// The run time is negative, or longer than anybody waited.
    #[error("task `{0}` has an impossible run time")]
    BadRuntime(String),
    /// A parent or child is not in the file.
    #[error("task `{task}` has the {relation} `{other}`, which is not in the file")]
    UnknownRelative {
        /// Who says so.
        task: String,
        /// `parent` or `child`.
        relation: &'static str,
        /// Who is missing.
        other: String,
    },
    /// One end of an edge doesn't know it.
    #[error("task `{child}` is a child of `{parent}` according to the {witness} only")]
    OneSided {
        /// Comes first.
        parent: String,
        /// Comes after.
        child: String,
        /// `parent` or `child`.
        witness: &'static str,
    },
    /// A task uses a file of which nothing is known.
    #[error("task `{task}` uses the file `{file}`, whose size is not in the file")]
    UnknownFile {
        /// Who uses it.
        task: String,
        /// Which file.
        file: String,
    },
}

/// Turns a WfFormat 1.5 file into a workflow.
///
/// # Errors
/// Says why the text is no such file, or lists every contradiction in it.
pub fn import(json_text: &str) -> Result<Imported, Error> {
    let file: file::File = serde_json::from_str(json_text)?;
    if file.schema_version != SCHEMA_VERSION {
        return Err(Error::Version { found: file.schema_version });
    }
    let contradictions = file::contradictions(&file);
    if !contradictions.is_empty() {
        return Err(Error::Contradictions(contradictions));
    }

    let specification = &file.workflow.specification;
    let ids = names::step_ids(specification.tasks.iter().map(|task| task.id.as_str()));
    let executions: BTreeMap<&str, &file::Execution> = file.executions().map(|execution| (execution.id.as_str(), execution)).collect();
    let sizes: BTreeMap<&str, u64> = specification.files.iter().map(|file| (file.id.as_str(), file.size_in_bytes)).collect();
    let bytes =
        |files: &[String]| files.iter().filter_map(|file| sizes.get(file.as_str())).fold(0u64, |sum, size| sum.saturating_add(*size));

    let mut steps = Vec::with_capacity(specification.tasks.len());
    let mut runtime_seconds = 0.0;
    for (task, id) in specification.tasks.iter().zip(&ids) {
        let parents: BTreeSet<&str> = task.parents.iter().map(String::as_str).collect();
        let needs = specification.tasks.iter().zip(&ids).filter(|(other, _)| parents.contains(other.id.as_str()));
        let runtime = executions.get(task.id.as_str()).and_then(|execution| execution.runtime_in_seconds).unwrap_or_default();
        let program = executions.get(task.id.as_str()).and_then(|execution| execution.command.as_ref()).map(|command| &command.program);
        runtime_seconds += runtime;
        let with = json!({
            // What looks like an expression in a recorded command is none.
            "program": program.unwrap_or(&task.name).replace("${", "$${"),
            "runtime_seconds": runtime,
            "input_bytes": bytes(&task.input_files),
            "output_bytes": bytes(&task.output_files),
        });
        steps.push(Step {
            id: id.clone(),
            needs: needs.map(|(_, id)| Need { step: id.clone(), accept: Vec::new() }).collect(),
            with: Some(Template { json: with.to_string() }),
            attempt_timeout: (runtime >= LONG_SECONDS).then(|| minutes_above(runtime * 2.0)),
            labels: [("wfformat_id".into(), task.id.clone()), ("wfformat_name".into(), task.name.clone())].into(),
            kind: Some(step::Kind::Task(TaskStep { r#type: REPLAY.into(), queue: REPLAY.into(), ..TaskStep::default() })),
            ..Step::default()
        });
    }

    let edges = steps.iter().map(|step| step.needs.len()).sum();
    let tasks = steps.len();
    let workflow = Workflow {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        metadata: Some(Metadata {
            name: names::workflow_name(&file.name),
            labels: [("wfformat_version".into(), SCHEMA_VERSION.into())].into(),
            description: file.description.trim().to_owned(),
            ..Metadata::default()
        }),
        spec: Some(WorkflowSpec { steps, ..WorkflowSpec::default() }),
    };
    let (plan, problems) = crate::check(&workflow);
    match plan {
        Some(_) => Ok(Imported { workflow, tasks, edges, runtime_seconds }),
        None => Err(Error::Invalid(problems)),
    }
}

fn minutes_above(seconds: f64) -> prost_types::Duration {
    // Bounded by RUNTIME_SECONDS_MAX, so this is exact.
    prost_types::Duration { seconds: (seconds / 60.0).ceil() as i64 * 60, nanos: 0 }
}

/// The first few, each on a line of its own.
fn list<T: std::fmt::Display>(items: &[T]) -> String {
    const SHOWN: usize = 20;
    let mut text: String = items.iter().take(SHOWN).map(|item| format!("\n  {item}")).collect();
    if items.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", items.len() - SHOWN));
    }
    text
}
