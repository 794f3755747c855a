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

use crate::{
    latency::Latencies,
    workload::{self, TASK_TYPE, Workload},
};

/// When the steps of each run were executed.
#[derive(Debug)]
pub(crate) struct StepClock {
    /// What the ids of this load's runs begin with; the rest is the run's number.
    prefix: String,
    workload: Workload,
    began: Instant,
    /// Nanoseconds since `began` by run and step; 0 before it was executed.
    executed: Vec<Box<[AtomicU64]>>,
    measuring: AtomicBool,
    latencies: Mutex<Latencies>,
}

impl StepClock {
    /// For runs of a workload with numbers below `runs`.
    pub(crate) fn new(prefix: &str, workload: Workload, runs: usize) -> anyhow::Result<Self> {
        let executed = (0..runs).map(|run| workload.before(run).iter().map(|_| AtomicU64::new(0)).collect()).collect();
        Ok(Self {
            prefix: prefix.to_owned(),
            workload,
            began: Instant::now(),
            executed,
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
    fn executed(&self, run_id: &str, step: &str) {
        let run = run_id.strip_prefix(&self.prefix).and_then(|number| number.parse::<usize>().ok());
        let Some((run, step)) = run.zip(workload::step_index(step)) else { return };
        let Some(executed) = self.executed.get(run) else { return };
        let Some((own, before)) = executed.get(step).zip(self.workload.before(run).get(step)) else { return };
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A step that is executed again waited for something else.
        if own.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_err() || !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        // The last of those that it waited for is the one that it waited for longest. Unknown if another worker executed one.
        let last = before.iter().map(|task| executed.get(*task).map_or(0, |time| time.load(Ordering::Relaxed)));
        let known = last.clone().all(|time| time > 0);
        if let Some(last) = last.max().filter(|_| known) {
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
                clock.executed(&task.run_id, &task.step);
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

    fn count(clock: &StepClock) -> u64 {
        clock.latencies().summary().map_or(0, |summary| summary.count)
    }

    #[test]
    fn latency_is_between_the_steps_of_one_run_and_only_while_measuring() {
        let clock = StepClock::new("load-", Workload::chain(3, "q"), 2).unwrap();
        clock.executed("load-0", "s0");
        clock.executed("load-0", "s1");
        clock.measure();
        clock.executed("load-1", "s0");
        assert_eq!(count(&clock), 0, "a first step has none before it");
        clock.executed("load-1", "s1");
        assert_eq!(count(&clock), 1);
        for (run, step) in [("load-1", "s1"), ("other-1", "s2"), ("load-7", "s1"), ("load-1", "s3"), ("load-1", "each")] {
            clock.executed(run, step);
        }
        assert_eq!(count(&clock), 1, "a second attempt, and what is not of this load");
        clock.executed("load-0", "s2");
        assert_eq!(count(&clock), 2);
    }

    #[test]
    fn a_step_that_this_worker_has_not_seen_the_needs_of_has_no_latency() {
        let clock = StepClock::new("load-", Workload::chain(3, "q"), 1).unwrap();
        clock.measure();
        clock.executed("load-0", "s0");
        clock.executed("load-0", "s2");
        assert_eq!(count(&clock), 0);
    }
}
