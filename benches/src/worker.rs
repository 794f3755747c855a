//! The worker of the load: executes tasks that do nothing, and takes the time between the steps of each run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use quorus_client::{Worker, WorkerError};
use quorus_proto::v1::Task;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{latency::Latencies, workload::TASK_TYPE};

/// When the last step of each run was executed.
#[derive(Debug)]
pub(crate) struct StepClock {
    /// What the ids of this load's runs begin with; the rest is the run's number.
    prefix: String,
    began: Instant,
    /// Nanoseconds since `began`, by run number; 0 before the first step.
    executed: Vec<AtomicU64>,
    measuring: AtomicBool,
    latencies: Mutex<Latencies>,
}

impl StepClock {
    /// For runs with numbers below `runs`.
    pub(crate) fn new(prefix: &str, runs: usize) -> anyhow::Result<Self> {
        Ok(Self {
            prefix: prefix.to_owned(),
            began: Instant::now(),
            executed: (0..runs).map(|_| AtomicU64::new(0)).collect(),
            measuring: AtomicBool::new(false),
            latencies: Mutex::new(Latencies::new()?),
        })
    }

    /// From now on latencies count.
    pub(crate) fn measure(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    /// The latencies so far.
    pub(crate) fn latencies(&self) -> Latencies {
        self.latencies.lock().clone()
    }

    /// A step of a run is executed: now, as it does nothing.
    fn executed(&self, run_id: &str) {
        let number = run_id.strip_prefix(&self.prefix).and_then(|number| number.parse::<usize>().ok());
        let Some(last) = number.and_then(|number| self.executed.get(number)) else { return };
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let last = last.swap(now, Ordering::Relaxed);
        if last > 0 && self.measuring.load(Ordering::Relaxed) {
            self.latencies.lock().record(Duration::from_nanos(now.saturating_sub(last)));
        }
    }
}

/// A worker in this process.
#[derive(Debug)]
pub(crate) struct Working {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Working {
    /// Begins to work.
    pub(crate) fn start(endpoints: &[String], queue: &str, capacity: usize, clock: Option<Arc<StepClock>>) -> anyhow::Result<Self> {
        let execute = move |task: &Task| {
            if let Some(clock) = &clock {
                clock.executed(&task.run_id);
            }
        };
        let execute = Arc::new(execute);
        let worker = Worker::builder(endpoints.iter().cloned())
            .queue(queue)
            .concurrency(capacity)
            .register(TASK_TYPE, move |context| {
                let execute = execute.clone();
                async move {
                    execute(context.task());
                    Ok(())
                }
            })
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        // A dropped sender stops it, too.
        let task = tokio::spawn(worker.run(async move { drop(stopped.await) }));
        Ok(Self { stop, task })
    }

    /// Stops in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.task.await.context("the worker panicked")?.context("the worker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_between_the_steps_of_one_run_and_only_while_measuring() {
        let clock = StepClock::new("load-", 2).unwrap();
        let count = || clock.latencies().summary().map_or(0, |summary| summary.count);
        clock.executed("load-0");
        clock.executed("load-0");
        clock.measure();
        clock.executed("load-1");
        assert_eq!(count(), 0, "a first step has none before it");
        clock.executed("load-1");
        clock.executed("other-1");
        clock.executed("load-7");
        assert_eq!(count(), 1);
    }
}
