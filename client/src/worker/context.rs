//! What a registered function sees of its attempt, and what it gives back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use quorus_proto::v1::{Failure, LogLine, Payload, Task};
use quorus_secrets::Resolved;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::attempt::masked_payload;

/// Longer lines are cut.
const LOG_LINE_MAX: usize = 4096;

/// What an attempt tells the driver.
#[derive(Debug)]
pub(super) enum Report {
    /// It ended; an outcome is to be sent.
    Ended(quorus_proto::v1::TaskOutcome),
    /// It wants this to be kept for the next attempt.
    Checkpoint { lease: Bytes, number: u64, payload: Payload },
    /// It lives.
    Progress { lease: Bytes },
    /// It wrote a line.
    Log { lease: Bytes, line: LogLine },
}

/// Why an attempt is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The cluster asks for it, for example because the run was cancelled.
    Requested(String),
    /// The lease is over; another attempt may begin at any time, so nothing more must be done.
    LeaseLost,
    /// The worker is about to stop; the attempt is given back.
    Shutdown,
}

/// A request to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// Why.
    pub reason: CancelReason,
    /// How long stopping may take. After that the function is dropped at its next await.
    pub grace: Duration,
}

/// The stop signal of one attempt, shared by the driver and the function.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    token: CancellationToken,
    state: Arc<watch::Sender<Option<(Cancellation, Instant)>>>,
}

impl Signal {
    pub(super) fn new() -> Self {
        Self { token: CancellationToken::new(), state: Arc::new(watch::Sender::new(None)) }
    }

    /// Asks to stop. The first request counts, except that a lost lease overrules all others: it can't wait for their grace.
    pub(super) fn cancel(&self, cancellation: Cancellation) {
        self.state.send_modify(|state| {
            if state.is_none() || cancellation.reason == CancelReason::LeaseLost {
                let until = Instant::now() + cancellation.grace;
                *state = Some((cancellation, until));
            }
        });
        self.token.cancel();
    }

    pub(super) fn get(&self) -> Option<Cancellation> {
        self.state.borrow().as_ref().map(|(cancellation, _)| cancellation.clone())
    }

    async fn cancelled(&self) -> Cancellation {
        self.token.cancelled().await;
        // The state is set before the token.
        self.get().unwrap_or(Cancellation { reason: CancelReason::LeaseLost, grace: Duration::ZERO })
    }

    /// Waits until the attempt has been asked to stop and the time for it is over.
    pub(super) async fn grace_over(&self) {
        let mut changes = self.state.subscribe();
        loop {
            let until = changes.borrow_and_update().as_ref().map(|(_, until)| *until);
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The lease is over: whatever the attempt does now counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is over")]
pub struct LeaseLost;

/// The attempt that a function executes.
#[derive(Clone, Debug)]
pub struct TaskContext {
    pub(super) task: Arc<Task>,
    pub(super) secrets: Arc<Resolved>,
    pub(super) signal: Signal,
    pub(super) reports: UnboundedSender<Report>,
    pub(super) committed: watch::Receiver<u64>,
    pub(super) numbers: Arc<AtomicU64>,
    /// The newest checkpoint known to this attempt: its own, else the one that it was handed.
    pub(super) checkpoint: Arc<Mutex<Option<Payload>>>,
}

impl TaskContext {
    /// The task as the node sent it: run, step, attempt, token, idempotency key and the rest.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Reads the input as JSON. A value that does not fit is a failure that another attempt can't help.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        let payload = self.task.input.clone().unwrap_or_default();
        let text: &[u8] = if payload.data.is_empty() { b"null" } else { &payload.data };
        serde_json::from_slice(text).map_err(|error| TaskError::invalid_input(error.to_string()))
    }

    /// Reads the last checkpoint of an earlier attempt as JSON, if there is one that fits.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.task.checkpoint.as_ref()?.data).ok()
    }

    /// Keeps a value for the next attempt. Returns when it is committed; shows progress, too.
    pub async fn checkpoint(&self, value: impl Into<Output>) -> Result<(), LeaseLost> {
        let payload = masked_payload(&self.secrets, value.into().0);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        *self.checkpoint.lock() = Some(payload.clone());
        let report = Report::Checkpoint { lease: self.task.lease.clone(), number, payload };
        self.reports.send(report).map_err(|_| LeaseLost)?;
        self.committed.clone().wait_for(|committed| *committed >= number).await.map_err(|_| LeaseLost)?;
        Ok(())
    }

    /// Shows that the function gets on. Needed only where the step has a heartbeat timeout; the lease itself is kept alive without it.
    pub fn progress(&self) {
        // Fails only when the worker is gone, and then nobody waits for progress.
        let _ = self.reports.send(Report::Progress { lease: self.task.lease.clone() });
    }

    /// Writes a line that people see with `quorus runs logs`. Nodes keep at most 256 KiB of each attempt.
    pub fn log(&self, line: impl AsRef<str>) {
        self.log_from("worker", line.as_ref());
    }

    /// Writes a line of a stream of the attempt.
    pub(crate) fn log_from(&self, stream: &str, line: &str) {
        let masked = self.secrets.mask_text(line);
        let mut end = masked.len().min(LOG_LINE_MAX);
        while !masked.is_char_boundary(end) {
            end -= 1;
        }
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let time_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        let line = LogLine { time_ms, stream: stream.to_owned(), text: masked[..end].to_owned() };
        // Fails only when the worker is gone.
        let _ = self.reports.send(Report::Log { lease: self.task.lease.clone(), line });
    }

    /// Waits until the attempt is asked to stop.
    pub async fn cancelled(&self) -> Cancellation {
        self.signal.cancelled().await
    }

    /// Waits until the attempt has been asked to stop and the time for it is over: the moment to stop by force.
    pub async fn grace_over(&self) {
        self.signal.grace_over().await;
    }

    /// The request to stop, if there is one.
    pub fn cancellation(&self) -> Option<Cancellation> {
        self.signal.get()
    }

    /// For libraries that take a token.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.signal.token.clone()
    }
}

/// What a function returns: JSON, bytes with an encoding, or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output(pub(crate) Payload);

impl Output {
    /// Serializes a value as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self(Payload { data: serde_json::to_vec(value)?.into(), encoding: "json".to_owned() }))
    }
}

impl From<Payload> for Output {
    fn from(payload: Payload) -> Self {
        Self(payload)
    }
}

impl From<serde_json::Value> for Output {
    fn from(value: serde_json::Value) -> Self {
        Self(Payload { data: value.to_string().into(), encoding: "json".to_owned() })
    }
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        serde_json::Value::Null.into()
    }
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskError {
    /// It failed.
    Failed(Failure),
    /// It stopped because it was told to. True when it is sure to have changed nothing in the outside world.
    Cancelled {
        /// See [`Failure::nothing_done`].
        nothing_done: bool,
    },
    /// It gives the task back, undone, for another worker.
    Released,
}

impl TaskError {
    /// A failure that another attempt may help.
    pub fn failed(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed(Failure { r#type: kind.into(), message: message.into(), ..Default::default() })
    }

    /// A failure because of the input: no other attempt can help, and nothing was done.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::failed("InvalidInput", message).non_retryable().nothing_done()
    }

    /// Another attempt can't help.
    pub fn non_retryable(self) -> Self {
        self.with(|failure| failure.non_retryable = true)
    }

    /// The attempt is sure to have changed nothing in the outside world.
    pub fn nothing_done(self) -> Self {
        self.with(|failure| failure.nothing_done = true)
    }

    /// More, for programs.
    pub fn details(self, details: impl Into<Output>) -> Self {
        let payload = details.into().0;
        self.with(|failure| failure.details = Some(payload))
    }

    fn with(mut self, change: impl FnOnce(&mut Failure)) -> Self {
        if let Self::Failed(failure) = &mut self {
            change(failure);
        }
        self
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "{}: {}", failure.r#type, failure.message),
            Self::Cancelled { .. } => f.write_str("cancelled"),
            Self::Released => f.write_str("released"),
        }
    }
}

impl std::error::Error for TaskError {}
