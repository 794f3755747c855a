//! An attempt as an executor sees it, and what it answers.
//!
//! Around every executor: secrets are put into the request before, and masked in everything that leaves after; a panic is a failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quorus_proto::v1::{self, task_outcome};
use quorus_secrets::Resolved;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    time::Instant,
};

use super::Services;

/// How an attempt ended.
pub(super) type Ending = task_outcome::Result;

/// What an attempt tells the session.
#[derive(Debug)]
pub(super) enum Report {
    /// It ended.
    Ended { lease: Bytes, ending: Ending },
    /// It wants this to be kept for the next attempt.
    Checkpoint { lease: Bytes, number: u64, payload: v1::Payload },
    /// It gets on.
    Progress { lease: Bytes },
}

/// A request to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The cluster wants it, and waits until then for the outcome.
    Cancelled { until: Instant },
    /// The node is about to stop, and waits until then.
    Draining { until: Instant },
    /// The lease is over: nothing counts any more.
    LeaseLost,
}

/// The attempt. Cheap to clone.
#[derive(Clone)]
pub(super) struct Attempt {
    task: Arc<v1::Task>,
    secrets: Arc<Resolved>,
    stop: watch::Receiver<Option<Stop>>,
    reports: UnboundedSender<Report>,
    committed: watch::Receiver<u64>,
    numbers: Arc<AtomicU64>,
}

/// The session's end of an attempt.
pub(super) struct Strings {
    pub(super) stop: watch::Sender<Option<Stop>>,
    pub(super) committed: watch::Sender<u64>,
}

impl Attempt {
    /// An attempt and the strings that its session holds it by.
    pub(super) fn new(task: v1::Task, reports: UnboundedSender<Report>) -> (Self, Strings) {
        let strings = Strings { stop: watch::Sender::new(None), committed: watch::Sender::new(0) };
        let (stop, committed) = (strings.stop.subscribe(), strings.committed.subscribe());
        let attempt = Self { task: Arc::new(task), secrets: Arc::default(), stop, reports, committed, numbers: Arc::default() };
        (attempt, strings)
    }

    /// The task.
    pub(super) fn task(&self) -> &v1::Task {
        &self.task
    }

    /// True if secrets are part of the request.
    pub(super) fn is_confidential(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Reads the request.
    pub(super) fn request<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let data = self.task.input.as_ref().map_or(&b"null"[..], |input| &input.data);
        serde_json::from_slice(data).map_err(|error| Fault::invalid(format!("the request can't be read: {error}")))
    }

    /// Reads what an earlier attempt kept, if it fits.
    pub(super) fn last_checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.task.checkpoint.as_ref()?.data).ok()
    }

    /// Keeps a value for the next attempt; does not wait until it is kept. Returns its number.
    pub(super) fn note(&self, value: &impl Serialize) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let report = Report::Checkpoint { lease: self.task.lease.clone(), number, payload: self.masked(payload(value)) };
        // Fails only when the session is gone, and the lease with it.
        self.reports.send(report).ok();
        number
    }

    /// Keeps a value for the next attempt; false if the lease is over first.
    pub(super) async fn keep(&self, value: &impl Serialize) -> bool {
        let number = self.note(value);
        self.committed.clone().wait_for(|committed| *committed >= number).await.is_ok()
    }

    /// Shows that it gets on.
    pub(super) fn progress(&self) {
        self.reports.send(Report::Progress { lease: self.task.lease.clone() }).ok();
    }

    /// The request to stop, if there is one.
    pub(super) fn stop(&self) -> Option<Stop> {
        self.stop.borrow().clone()
    }

    /// Waits for a request to stop.
    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await {
            Ok(stop) => stop.clone().unwrap_or(Stop::LeaseLost),
            Err(_) => Stop::LeaseLost,
        }
    }

    /// Waits until it was asked to stop and the time for it is over.
    pub(super) async fn out_of_time(&self) -> Stop {
        let mut changes = self.stop.clone();
        loop {
            let stop = changes.borrow_and_update().clone();
            let over = async {
                match &stop {
                    Some(Stop::Cancelled { until } | Stop::Draining { until }) => tokio::time::sleep_until(*until).await,
                    Some(Stop::LeaseLost) => {}
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return stop.unwrap_or(Stop::LeaseLost),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Stop::LeaseLost;
                    }
                }
            }
        }
    }

    /// How long it may take; `None` means no bound.
    pub(super) fn timeout(&self) -> Option<Duration> {
        (self.task.attempt_timeout_ms > 0).then(|| Duration::from_millis(self.task.attempt_timeout_ms))
    }

    fn masked(&self, payload: v1::Payload) -> v1::Payload {
        if self.secrets.is_empty() {
            return payload;
        }
        let json = payload.encoding.is_empty() || payload.encoding == "json";
        let data = Bytes::from(self.secrets.mask_bytes(&payload.data, json).into_owned());
        v1::Payload { data, encoding: payload.encoding }
    }

    fn masked_ending(&self, ending: Ending) -> Ending {
        match ending {
            Ending::Succeeded(output) => Ending::Succeeded(self.masked(output)),
            Ending::Failed(failure) => Ending::Failed(v1::Failure {
                message: self.secrets.mask_text(&failure.message).into_owned(),
                details: failure.details.map(|details| self.masked(details)),
                ..failure
            }),
            Ending::Released(released) => {
                Ending::Released(v1::TaskReleased { checkpoint: released.checkpoint.map(|checkpoint| self.masked(checkpoint)) })
            }
            Ending::Cancelled(cancelled) => Ending::Cancelled(cancelled),
        }
    }
}

/// Executes an attempt to its end, and reports it.
pub(super) async fn run(services: Arc<Services>, attempt: Attempt) {
    let (lease, reports) = (attempt.task.lease.clone(), attempt.reports.clone());
    let ending = match tokio::spawn(execute(services, attempt)).await {
        Ok(ending) => ending,
        // Its message may hold anything; it is in the node's log.
        Err(_) => Fault::new("QuorusPanic", "the node's executor panicked; see its log").ending(),
    };
    reports.send(Report::Ended { lease, ending }).ok();
}

async fn execute(services: Arc<Services>, mut attempt: Attempt) -> Ending {
    if !attempt.task.secrets.is_empty()
        && let Err(fault) = put_secrets_in(&services, &mut attempt).await
    {
        return fault.ending();
    }
    let ending = services.execute(&attempt).await;
    let size = match &ending {
        Ending::Succeeded(output) => output.data.len(),
        _ => 0,
    };
    if size > quorus_engine::Payload::BYTES_MAX {
        return too_large(size).ending();
    }
    attempt.masked_ending(ending)
}

/// An output that can't be kept.
pub(super) fn too_large(bytes: usize) -> Fault {
    Fault::new("QuorusOutputTooLarge", format!("the output has {bytes} bytes, the bound is {}", quorus_engine::Payload::BYTES_MAX))
        .final_one()
}

async fn put_secrets_in(services: &Services, attempt: &mut Attempt) -> Result<(), Fault> {
    let (secrets, names) = (services.secrets.clone(), attempt.task.secrets.clone());
    let unavailable = |why: String| Fault::new("QuorusSecretUnavailable", why).nothing_done();
    let resolved = tokio::task::spawn_blocking(move || secrets.resolve(&names)).await;
    let resolved = resolved.map_err(|error| unavailable(error.to_string()))?.map_err(|error| unavailable(error.to_string()))?;
    let mut task = v1::Task::clone(&attempt.task);
    if let Some(input) = &mut task.input {
        let text = std::str::from_utf8(&input.data).map_err(|_| Fault::invalid("the request is not text"))?;
        input.data = resolved.put_into_json(text).into();
    }
    attempt.task = Arc::new(task);
    attempt.secrets = Arc::new(resolved);
    Ok(())
}

/// A value as a payload. Values of executors are always JSON.
pub(super) fn payload(value: &impl Serialize) -> v1::Payload {
    v1::Payload { data: serde_json::to_vec(value).unwrap_or_default().into(), encoding: "json".to_owned() }
}

/// It worked.
pub(super) fn succeeded(output: &impl Serialize) -> Ending {
    Ending::Succeeded(payload(output))
}

/// It gives the task back.
pub(super) fn released(checkpoint: Option<v1::Payload>) -> Ending {
    Ending::Released(v1::TaskReleased { checkpoint })
}

/// It stopped because it was told to.
pub(super) fn cancelled(nothing_done: bool) -> Ending {
    Ending::Cancelled(v1::TaskCancelled { nothing_done })
}

/// Why an attempt failed: retryable and in doubt unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault(v1::Failure);

impl Fault {
    pub(super) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self(v1::Failure { r#type: kind.to_owned(), message: message.into(), ..Default::default() })
    }

    /// The request is wrong: no other attempt can help.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("QuorusInvalidRequest", message).final_one().nothing_done()
    }

    /// Nothing was changed in the outside world.
    pub(super) fn nothing_done(mut self) -> Self {
        self.0.nothing_done = true;
        self
    }

    /// Another attempt can't help.
    pub(super) fn final_one(mut self) -> Self {
        self.0.non_retryable = true;
        self
    }

    pub(super) fn details(mut self, details: &impl Serialize) -> Self {
        self.0.details = Some(payload(details));
        self
    }

    pub(super) fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.0.retry_after_ms = after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    pub(super) fn ending(self) -> Ending {
        Ending::Failed(self.0)
    }

    #[cfg(test)]
    pub(super) fn failure(&self) -> &v1::Failure {
        &self.0
    }
}
