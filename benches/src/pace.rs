//! When runs start, and what their latencies are counted from.
//!
//! In a closed loop each client starts its next run when its last one has ended, and a latency counts from the start. In an open loop
//! runs are due by a schedule, which nothing slows down, and a latency counts from when the run was *due*: what could not begin in time,
//! because the cluster or this tool stood still, has waited all the same. So a stall counts for every run that was due in it, and not only
//! for those that happened to be open (no coordinated omission).

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use indicatif::ProgressBar;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::latency::Latencies;

/// How runs follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many clients, each with one run at a time.
    Closed(usize),
    /// So many runs a second.
    Open(f64),
}

impl Pace {
    /// What the options say; without anything a closed loop.
    pub(crate) fn of(options: quorus_bench_options::Pace, clients: usize) -> Self {
        options.rate.map_or_else(|| Self::Closed(options.concurrency.unwrap_or(clients)), Self::Open)
    }

    /// For how many runs at a time there should be room. In an open loop nobody knows; what starts within a second is a guess.
    pub(crate) fn at_a_time(self) -> usize {
        match self {
            Self::Closed(clients) => clients,
            Self::Open(rate) => rate.ceil() as usize,
        }
    }
}

/// When runs are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    began: Instant,
    rate: f64,
}

impl Schedule {
    /// The first one is due now.
    pub(crate) fn begin(rate: f64) -> Self {
        Self { began: Instant::now(), rate }
    }

    /// The same, later by a part of the time between two runs: for clients that are not to start all at once.
    pub(crate) fn shifted(self, part: f64) -> Self {
        Self { began: self.began + Duration::from_secs_f64(part / self.rate), ..self }
    }

    /// When a run is due, counted from 0. Computed for each from the beginning, so that errors do not add up.
    pub(crate) fn due(&self, index: usize) -> Instant {
        self.began + Duration::from_secs_f64(index as f64 / self.rate)
    }
}

/// A run that is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turn {
    /// Who does it.
    pub(crate) client: usize,
    /// Which one it is.
    pub(crate) number: usize,
}

/// What a number of runs came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Latencies,
}

/// Does the runs with these numbers, and ends with the first error.
pub(crate) async fn drive<R, F>(pace: Pace, numbers: Range<usize>, bar: &ProgressBar, run: R) -> anyhow::Result<Outcome>
where
    R: Fn(Turn) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let began = Instant::now();
    let latencies = match pace {
        Pace::Closed(clients) => closed(clients, numbers, bar, run).await?,
        Pace::Open(rate) => open(rate, numbers, bar, run).await?,
    };
    Ok(Outcome { elapsed: began.elapsed(), latencies })
}

async fn closed<R, F>(clients: usize, numbers: Range<usize>, bar: &ProgressBar, run: R) -> anyhow::Result<Latencies>
where
    R: Fn(Turn) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let mut loops = JoinSet::new();
    for client in 0..clients.min(numbers.len()) {
        let (next, bar, run, end) = (next.clone(), bar.clone(), run.clone(), numbers.end);
        loops.spawn(async move {
            let mut latencies = Latencies::new()?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok(latencies);
                }
                let began = Instant::now();
                run(Turn { client, number }).await?;
                latencies.record(began.elapsed());
                bar.inc(1);
            }
        });
    }
    let mut latencies = Latencies::new()?;
    while let Some(one) = loops.join_next().await {
        latencies.add(&one.context("a client panicked")??);
    }
    Ok(latencies)
}

async fn open<R, F>(rate: f64, numbers: Range<usize>, bar: &ProgressBar, run: R) -> anyhow::Result<Latencies>
where
    R: Fn(Turn) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let schedule = Schedule::begin(rate);
    let mut latencies = Latencies::new()?;
    let mut runs = JoinSet::new();
    let ended = |one: Result<anyhow::Result<Duration>, _>, latencies: &mut Latencies| {
        latencies.record(one.context("a run panicked")??);
        bar.inc(1);
        anyhow::Ok(())
    };
    for (index, number) in numbers.enumerate() {
        let due = schedule.due(index);
        loop {
            tokio::select! {
                // What is due goes first, however much has ended.
                biased;
                () = sleep_until(due) => break,
                Some(one) = runs.join_next() => ended(one, &mut latencies)?,
            }
        }
        let run = run.clone();
        runs.spawn(async move {
            run(Turn { client: index, number }).await?;
            anyhow::Ok(due.elapsed())
        });
    }
    while let Some(one) = runs.join_next().await {
        ended(one, &mut latencies)?;
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;

    /// A server that answers in a millisecond, except that it stands still for a second from 1 s on.
    async fn serve(began: Instant) -> anyhow::Result<()> {
        let now = began.elapsed();
        if (1_000..2_000).contains(&now.as_millis()) {
            sleep_until(began + Duration::from_secs(2)).await;
        }
        sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    async fn latencies(pace: Pace, runs: usize) -> Latencies {
        let began = Instant::now();
        let bar = ProgressBar::hidden();
        drive(pace, 0..runs, &bar, move |_| serve(began)).await.unwrap().latencies
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_open_loop_a_stall_counts_for_every_run_that_was_due_in_it() {
        let latencies = latencies(Pace::Open(100.0), 300).await;
        let summary = latencies.summary().unwrap();
        assert_eq!(summary.count, 300);
        // A third of the runs was due in the second without answers, and waited for half of it in the middle.
        assert!((0.62..0.68).contains(&latencies.part_below(Duration::from_millis(20))), "{summary:?}");
        assert!((0.81..0.85).contains(&latencies.part_below(Duration::from_millis(510))), "{summary:?}");
        assert!((990.0..1_010.0).contains(&summary.max), "{summary:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_closed_loop_it_counts_once_for_each_client() {
        let latencies = latencies(Pace::Closed(2), 3_000).await;
        assert_eq!(latencies.summary().unwrap().count, 3_000);
        let late = (1.0 - latencies.part_below(Duration::from_millis(20))) * 3_000.0;
        assert!((late - 2.0).abs() < 0.5, "{late} late ones");
    }

    #[tokio::test(start_paused = true)]
    async fn runs_of_an_open_loop_start_when_they_are_due_although_none_has_ended() {
        let began = Instant::now();
        let started = Arc::new(Mutex::new(Vec::new()));
        let noted = started.clone();
        let run = move |turn: Turn| {
            noted.lock().push((turn.number, began.elapsed().as_millis()));
            async {
                sleep(Duration::from_secs(60)).await;
                Ok(())
            }
        };
        let outcome = drive(Pace::Open(4.0), 7..11, &ProgressBar::hidden(), run).await.unwrap();
        assert_eq!(*started.lock(), [(7, 0), (8, 250), (9, 500), (10, 750)]);
        assert_eq!(outcome.elapsed.as_millis(), 60_750);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_it() {
        let run = |turn: Turn| async move { if turn.number == 3 { anyhow::bail!("no") } else { Ok(()) } };
        for pace in [Pace::Closed(2), Pace::Open(10.0)] {
            let error = drive(pace, 0..100, &ProgressBar::hidden(), run).await.unwrap_err();
            assert_eq!(error.to_string(), "no");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedule_does_not_drift() {
        let schedule = Schedule::begin(3.0);
        let first = schedule.due(0);
        assert_eq!((schedule.due(3_000_000) - first).as_secs(), 1_000_000);
        assert_eq!((schedule.shifted(0.5).due(0) - first).as_millis(), 166);
    }
}
