//! Executes one attempt: ledger, function, ledger, outcome.
//!
//! The function runs as a task of its own, so that a panic becomes a failure of the attempt and an attempt that does not stop in time can be
//! dropped. Cancellation is asked for first; dropping comes [`DROP_AFTER`] after the grace.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quorus_proto::v1::{Failure, Payload, Task, TaskCancelled, TaskOutcome, TaskReleased, task_outcome::Result as Ending};
use quorus_secrets::{Resolved, Secrets};
use tokio::{sync::Semaphore, task::JoinError};
use tracing::{info, warn};

use super::{
    CancelReason, Output, TaskContext, TaskError,
    context::Report,
    registry::{Function, Registry},
};
use crate::{Ledger, LedgerEntry, LedgerEvent, PAYLOAD_BYTES_MAX, content_digest};

/// How much longer than its grace an attempt may take before it is dropped: enough to reap a killed process and read its last words.
const DROP_AFTER: Duration = Duration::from_secs(1);

/// What all attempts of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) ledger: Option<Ledger>,
    pub(super) secrets: Secrets,
    /// Name and incarnation, as the ledger shows it.
    pub(super) worker: String,
    /// Nodes never send more than the capacity, except around a change of session; then the rest waits here.
    pub(super) slots: Arc<Semaphore>,
}

/// Executes the attempt to its end and reports the outcome.
pub(super) async fn execute(shared: Arc<Shared>, context: TaskContext) {
    let lease = context.task.lease.clone();
    let reports = context.reports.clone();
    let result = attempt(&shared, context).await;
    // Fails only when the driver is gone, and then there is no lease either.
    let _ = reports.send(Report::Ended(TaskOutcome { lease, result: Some(result) }));
}

async fn attempt(shared: &Shared, mut context: TaskContext) -> Ending {
    let Some(function) = shared.registry.get(&context.task.r#type) else {
        let message = format!("this worker executes {:?}, not `{}`", shared.registry.task_types(), context.task.r#type);
        return failed(TaskError::failed("UnknownTaskType", message).nothing_done());
    };
    let _slot = tokio::select! {
        biased;
        _ = context.cancelled() => return not_begun(&context),
        slot = shared.slots.acquire() => slot,
    };
    if !context.task.secrets.is_empty()
        && let Err(error) = put_secrets_in(shared, &mut context).await
    {
        return failed(error);
    }
    if let Err(error) = write_ledger(shared, &context, LedgerEvent::Begin, None).await {
        return failed(TaskError::failed("LedgerUnavailable", error.to_string()).nothing_done());
    }
    let task = context.task.clone();
    let started = tokio::time::Instant::now();
    info!(run = task.run_id, step = task.step, attempt = task.attempt, r#type = task.r#type, "attempt begins");
    let ending = masked(&context.secrets, run(function, &context).await);
    let lost = context.cancellation().is_some_and(|cancellation| cancellation.reason == CancelReason::LeaseLost);
    let outcome = if lost { "lost" } else { name(&ending) };
    info!(run = task.run_id, step = task.step, attempt = task.attempt, outcome, ms = started.elapsed().as_millis() as u64, "attempt ended");
    if let Err(error) = write_ledger(shared, &context, LedgerEvent::End, Some((outcome, &ending))).await {
        // The effect is done; hiding the outcome would only repeat it.
        warn!(%error, run = task.run_id, step = task.step, "the ledger lacks the end of an attempt");
    }
    ending
}

/// Puts the values of the task's secrets into its input, for this attempt.
async fn put_secrets_in(shared: &Shared, context: &mut TaskContext) -> Result<(), TaskError> {
    let (secrets, names) = (shared.secrets.clone(), context.task.secrets.clone());
    let unavailable = |why: String| TaskError::failed("QuorusSecretUnavailable", why).nothing_done();
    let resolved = tokio::task::spawn_blocking(move || secrets.resolve(&names)).await;
    let resolved = resolved.map_err(|error| unavailable(error.to_string()))?.map_err(|error| unavailable(error.to_string()))?;
    let mut task = Task::clone(&context.task);
    if let Some(input) = &mut task.input {
        // Only JSON has markers: everything else is opaque to the cluster.
        if let Ok(text) = std::str::from_utf8(&input.data) {
            input.data = resolved.put_into_json(text).into();
        }
    }
    context.task = Arc::new(task);
    context.secrets = Arc::new(resolved);
    Ok(())
}

/// An ending without any value of a secret.
fn masked(secrets: &Resolved, ending: Ending) -> Ending {
    if secrets.is_empty() {
        return ending;
    }
    match ending {
        Ending::Succeeded(output) => Ending::Succeeded(masked_payload(secrets, output)),
        Ending::Failed(failure) => Ending::Failed(Failure {
            r#type: secrets.mask_text(&failure.r#type).into_owned(),
            message: secrets.mask_text(&failure.message).into_owned(),
            details: failure.details.map(|details| masked_payload(secrets, details)),
            ..failure
        }),
        // Its checkpoint was masked when it was kept.
        Ending::Released(_) | Ending::Cancelled(_) => ending,
    }
}

/// A value without any value of a secret.
pub(super) fn masked_payload(secrets: &Resolved, payload: Payload) -> Payload {
    if secrets.is_empty() {
        return payload;
    }
    let json = payload.encoding.is_empty() || payload.encoding == "json";
    let data = secrets.mask_bytes(&payload.data, json).into_owned().into();
    Payload { data, encoding: payload.encoding }
}

/// Runs the function until it returns, or is dropped.
async fn run(function: Function, context: &TaskContext) -> Ending {
    let mut handle = tokio::spawn(function(context.clone()));
    let joined = tokio::select! {
        joined = &mut handle => joined,
        () = too_late(context) => {
            handle.abort();
            handle.await
        }
    };
    match joined {
        Ok(Ok(output)) => succeeded(output),
        Ok(Err(TaskError::Failed(failure))) => failed(TaskError::Failed(failure)),
        Ok(Err(TaskError::Released)) => released(context),
        Ok(Err(TaskError::Cancelled { nothing_done })) => stopped(context, nothing_done),
        Err(error) => match panic_message(error) {
            Some(message) => failed(TaskError::failed("Panic", message)),
            None => stopped(context, false),
        },
    }
}

async fn too_late(context: &TaskContext) {
    context.grace_over().await;
    tokio::time::sleep(DROP_AFTER).await;
}

fn succeeded(output: Output) -> Ending {
    if output.0.data.len() <= PAYLOAD_BYTES_MAX {
        return Ending::Succeeded(output.0);
    }
    let message = format!("the output has {} bytes, the bound is {PAYLOAD_BYTES_MAX}", output.0.data.len());
    failed(TaskError::failed("OutputTooLarge", message).non_retryable())
}

fn failed(error: TaskError) -> Ending {
    let TaskError::Failed(mut failure) = error else { return Ending::Failed(Failure::default()) };
    if failure.details.as_ref().is_some_and(|details| details.data.len() > PAYLOAD_BYTES_MAX) {
        failure.details = None;
        failure.message.push_str(" (details left out: too large)");
    }
    Ending::Failed(failure)
}

/// The attempt stopped because it was told to. When this worker stops, the cluster did not ask for that: the task goes to another worker.
fn stopped(context: &TaskContext, nothing_done: bool) -> Ending {
    match context.cancellation().map(|cancellation| cancellation.reason) {
        Some(CancelReason::Shutdown) => released(context),
        Some(CancelReason::Requested(_) | CancelReason::LeaseLost) => Ending::Cancelled(TaskCancelled { nothing_done }),
        None => failed(TaskError::failed("Cancelled", "the function says that it was cancelled, but nobody asked it to stop")),
    }
}

fn not_begun(context: &TaskContext) -> Ending {
    stopped(context, true)
}

fn released(context: &TaskContext) -> Ending {
    let checkpoint: Option<Payload> = context.checkpoint.lock().clone();
    Ending::Released(TaskReleased { checkpoint })
}

fn name(ending: &Ending) -> &'static str {
    match ending {
        Ending::Succeeded(_) => "succeeded",
        Ending::Failed(_) => "failed",
        Ending::Cancelled(_) => "cancelled",
        Ending::Released(_) => "released",
    }
}

fn panic_message(error: JoinError) -> Option<String> {
    let payload: Box<dyn Any + Send> = error.try_into_panic().ok()?;
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| payload.downcast_ref::<String>().cloned());
    Some(text.unwrap_or_else(|| "the function panicked".to_owned()))
}

async fn write_ledger(
    shared: &Shared,
    context: &TaskContext,
    event: LedgerEvent,
    ended: Option<(&str, &Ending)>,
) -> Result<(), crate::LedgerError> {
    let Some(ledger) = &shared.ledger else { return Ok(()) };
    let task = &context.task;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let entry = LedgerEntry {
        time_ms: since_epoch.as_millis() as u64,
        input_sha256: if ended.is_none() { content_digest(task.input.as_ref()) } else { String::new() },
        output_sha256: match ended {
            Some((_, Ending::Succeeded(output))) => content_digest(Some(output)),
            _ => String::new(),
        },
        outcome: ended.map(|(outcome, _)| outcome.to_owned()).unwrap_or_default(),
        ..LedgerEntry::about(task, event, &shared.worker)
    };
    ledger.write(entry).await
}
