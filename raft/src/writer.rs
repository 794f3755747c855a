//! The one writer of logs and votes of all groups: many batches, one fsync.
//!
//! Jobs are written in the order in which they are queued. While one fsync runs, the next jobs gather; so the busier the node, the larger the batch, and no
//! timer is needed. After a failed write or fsync nothing is written any more, every job fails, and the process has to exit.

use std::{io, sync::Arc, time::Instant};

use quorus_mutants::{Mutant, active};
use tokio::sync::{mpsc, watch};

use crate::{
    Fatal, WriterMode,
    disk::{Batch, Disk, DiskError, Durability},
};

/// Bytes that are written with one fsync, about.
const ROUND_BYTES_MAX: usize = 4 << 20;

/// Jobs that are written with one fsync.
const ROUND_JOBS_MAX: usize = 1024;

/// Called after the batch is written, and synced if it was to be.
type Done = Box<dyn FnOnce(Result<(), io::Error>) + Send>;

struct Job {
    batch: Batch,
    durability: Durability,
    done: Option<Done>,
}

/// Queues jobs. Cheap to clone; the writer ends with its last handle.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::UnboundedSender<Job>,
    alarm: Alarm,
}

/// Says that the process can't go on; the first reason stays.
#[derive(Clone)]
pub(crate) struct Alarm {
    fatal: watch::Sender<Option<Fatal>>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { fatal: watch::Sender::new(None) }
    }

    pub(crate) fn raise(&self, error: &DiskError) {
        tracing::error!(%error, "the disk failed; this process must exit");
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                *fatal = Some(Fatal { reason: error.to_string() });
            }
            first
        });
    }

    pub(crate) fn raised(&self) -> bool {
        self.fatal.borrow().is_some()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Fatal>> {
        self.fatal.subscribe()
    }
}

impl Writer {
    /// Starts the writer. In the mode `Task`, within a tokio runtime.
    pub(crate) fn start(disk: Arc<dyn Disk>, mode: WriterMode, alarm: Alarm) -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut rounds = Rounds { disk, alarm: alarm.clone() };
        match mode {
            WriterMode::Thread => {
                std::thread::Builder::new().name("raft-writer".to_owned()).spawn(move || {
                    while let Some(first) = receiver.blocking_recv() {
                        rounds.write(first, &mut receiver);
                    }
                })?;
            }
            WriterMode::Task => {
                tokio::spawn(async move {
                    while let Some(first) = receiver.recv().await {
                        rounds.write(first, &mut receiver);
                    }
                });
            }
        }
        Ok(Self { jobs: sender, alarm })
    }

    /// Queues a batch; `done` is called on the writer, and must be quick.
    pub(crate) fn queue(&self, batch: Batch, durability: Durability, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        self.send(Job { batch, durability, done: Some(Box::new(done)) });
    }

    /// Queues a batch that nobody waits for, and that no crash may separate from what is queued before it.
    pub(crate) fn queue_unsynced(&self, batch: Batch) {
        self.send(Job { batch, durability: Durability::Buffered, done: None });
    }

    /// Waits until a batch is written, and synced if it is to be.
    pub(crate) async fn write(&self, batch: Batch, durability: Durability) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.queue(batch, durability, move |result| {
            let _gone = sender.send(result);
        });
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn send(&self, job: Job) {
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(job) {
            // It ends with its last handle, and this is one: so it panicked, or its runtime is gone.
            self.alarm.raise(&DiskError::Failed { operation: "write", reason: "the writer is gone".to_owned() });
            if let Some(done) = job.done {
                done(Err(stopped()));
            }
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the writer stopped")
}

struct Rounds {
    disk: Arc<dyn Disk>,
    alarm: Alarm,
}

impl Rounds {
    /// Writes a job and those that wait behind it.
    fn write(&mut self, first: Job, waiting: &mut mpsc::UnboundedReceiver<Job>) {
        let mut batch = first.batch;
        let mut durability = first.durability;
        let mut dones: Vec<Done> = first.done.into_iter().collect();
        let mut jobs = 1;
        while jobs < ROUND_JOBS_MAX && batch.len_bytes() < ROUND_BYTES_MAX {
            let Ok(job) = waiting.try_recv() else { break };
            batch.extend(job.batch);
            if job.durability == Durability::Synced {
                durability = Durability::Synced;
            }
            dones.extend(job.done);
            jobs += 1;
        }
        let result = self.write_batch(batch, durability, jobs);
        for done in dones {
            done(result.clone().map_err(io::Error::other));
        }
    }

    fn write_batch(&self, batch: Batch, durability: Durability, jobs: usize) -> Result<(), DiskError> {
        if self.alarm.raised() {
            return Err(DiskError::Failed { operation: "write", reason: "an earlier write failed".to_owned() });
        }
        let durability = if active(Mutant::NoFsync) { Durability::Buffered } else { durability };
        let begin = Instant::now();
        let result = self.disk.write(batch, durability);
        if let Err(error) = &result {
            self.alarm.raise(error);
        }
        if durability == Durability::Synced {
            metrics::histogram!("quorus_raft_fsync_duration_seconds").record(begin.elapsed());
            metrics::counter!("quorus_raft_fsyncs_total").increment(1);
            #[expect(clippy::cast_precision_loss, reason = "at most 1024")]
            metrics::histogram!("quorus_raft_fsync_batch_jobs").record(jobs as f64);
        }
        result
    }
}
