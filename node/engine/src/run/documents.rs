//! The documents that expressions read, parsed at most once while the run's state is in memory.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::expr::format_timestamp;
use crate::{Payload, RunInfo, StepState, StepStatus, Timestamp};

/// A parsed document, or why there is none.
pub(crate) type Document = Result<Arc<Value>, String>;

/// Caches. An entry is a function of recorded facts that don't change any more, so a cache never changes what is decided.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    input: OnceLock<Document>,
    run: OnceLock<Arc<Value>>,
    outputs: Vec<OnceLock<Document>>,
}

impl Documents {
    pub(crate) fn new(steps: usize) -> Self {
        Self { outputs: (0..steps).map(|_| OnceLock::new()).collect(), ..Self::default() }
    }

    pub(super) fn input(&self, info: &RunInfo) -> Document {
        self.input.get_or_init(|| parse(&info.input, "the run's input")).clone()
    }

    pub(super) fn run(&self, info: &RunInfo, started_at: Timestamp) -> Document {
        let document = self.run.get_or_init(|| {
            Arc::new(json!({
                "id": info.run_id,
                "uid": info.uid.to_string(),
                "workflow": info.workflow,
                "namespace": info.namespace,
                "labels": info.labels,
                "started_at": format_timestamp(started_at),
            }))
        });
        Ok(document.clone())
    }

    /// True if the step's output was parsed before.
    pub(super) fn has_output(&self, index: usize) -> bool {
        self.outputs.get(index).is_some_and(|cache| cache.get().is_some())
    }

    /// For a step whose end is recorded.
    pub(super) fn output(&self, index: usize, state: &StepState) -> Document {
        match self.outputs.get(index) {
            Some(cache) if state.status.is_final() => cache.get_or_init(|| output(state)).clone(),
            _ => output(state),
        }
    }
}

/// What `steps.<id>.output` is.
pub(super) fn output(state: &StepState) -> Document {
    match &state.output {
        Some(payload) if state.status == StepStatus::Succeeded => parse(payload, "the output of the step"),
        _ => Ok(Arc::new(Value::Null)),
    }
}

/// What `steps.<id>.error` is.
pub(super) fn error(state: &StepState) -> Value {
    match &state.failure {
        Some(failure) if state.status == StepStatus::Failed => json!({"type": failure.kind, "message": failure.message}),
        _ => Value::Null,
    }
}

fn parse(payload: &Payload, what: &str) -> Document {
    if !payload.is_json() {
        return Err(format!("{what} has the encoding `{}`; expressions read only json", payload.encoding));
    }
    if payload.data.is_empty() {
        return Ok(Arc::new(Value::Null));
    }
    serde_json::from_slice(&payload.data).map(Arc::new).map_err(|error| format!("{what} is not JSON: {error}"))
}
