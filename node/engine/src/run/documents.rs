//! The documents that expressions read, parsed at most once while the run's state is in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

use crate::expr::format_timestamp;
use crate::{Payload, RunHead, RunInfo, RunStatus, SkipCause, StepId, StepState, StepStatus, Timestamp};

/// A parsed document, or why there is none.
pub(crate) type Document = Result<Arc<Value>, String>;

/// What of a step is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// What it returned.
    Output,
    /// The list of its items.
    Items,
}

/// Caches. An entry is a function of recorded facts that don't change while it is kept, so a cache never changes what is decided. Only what
/// has one entry in the run is kept, so that items leave nothing.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    input: OnceLock<Document>,
    run: OnceLock<Arc<Value>>,
    parts: Mutex<BTreeMap<(StepId, Part), Document>>,
}

impl Documents {
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

    /// What was parsed before.
    pub(super) fn known(&self, id: &StepId, part: Part) -> Option<Document> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.get(&(id.clone(), part)).cloned()
    }

    /// Keeps what was parsed of a recorded entry.
    pub(super) fn keep(&self, id: &StepId, part: Part, document: &Document) {
        if id.is_plain() {
            let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.insert((id.clone(), part), document.clone());
        }
    }

    /// The entry changes in a way that a document may show.
    pub(super) fn forget(&mut self, id: &StepId) {
        let parts = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        parts.remove(&(id.clone(), Part::Output));
        parts.remove(&(id.clone(), Part::Items));
    }
}

/// What `steps.<id>.output` is.
pub(super) fn output(state: &StepState) -> Document {
    match &state.output {
        Some(payload) if state.status == StepStatus::Succeeded || state.skip == Some(SkipCause::Operator) => {
            parse(payload, "the output of the step")
        }
        _ => Ok(Arc::new(Value::Null)),
    }
}

/// The list of a `for_each`.
pub(super) fn items(state: &StepState) -> Document {
    state.input.as_ref().map_or_else(|| Ok(Arc::new(Value::Null)), |payload| parse(payload, "the list of items"))
}

/// What `steps.<id>.error` is.
pub(super) fn error(state: &StepState) -> Value {
    match &state.failure {
        Some(failure) if state.status == StepStatus::Failed => json!({"type": failure.kind, "message": failure.message}),
        _ => Value::Null,
    }
}

/// What `run.status` is: how the run is about to end.
pub(super) fn run_status(head: &RunHead) -> &'static str {
    match head.status {
        RunStatus::NeedsAttention => "needs_attention",
        RunStatus::Terminated => "terminated",
        _ if head.cancelled_by.is_some() => "cancelled",
        _ if head.failure.is_some() => "failed",
        _ => "succeeded",
    }
}

/// What `run.error` is.
pub(super) fn run_error(head: &RunHead) -> Value {
    let failure = head.attention.as_ref().and_then(|attention| attention.failure.as_ref()).or(head.failure.as_ref());
    failure.map_or(Value::Null, |failure| json!({"type": failure.kind, "message": failure.message}))
}

/// What a compensation reads as `self`.
pub(super) fn undone(state: &StepState, item: Document) -> Document {
    let part = |payload: &Option<Payload>, what: &str| match payload {
        Some(payload) => parse(payload, what).map(|value| (*value).clone()),
        None => Ok(Value::Null),
    };
    Ok(Arc::new(json!({
        "with": part(&state.input, "what the step was given")?,
        "output": (*output(state)?).clone(),
        "checkpoint": part(&state.checkpoint, "the checkpoint of the step")?,
        "state": state.status.name(),
        "item": (*item?).clone(),
    })))
}

pub(super) fn parse(payload: &Payload, what: &str) -> Document {
    if !payload.is_json() {
        return Err(format!("{what} has the encoding `{}`; expressions read only json", payload.encoding));
    }
    if payload.data.is_empty() {
        return Ok(Arc::new(Value::Null));
    }
    serde_json::from_slice(&payload.data).map(Arc::new).map_err(|error| format!("{what} is not JSON: {error}"))
}
