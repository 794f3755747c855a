//! One execution of the tool, from what it was told to the result.
//!
//! Invariant: however it ends, the nodes that it started are stopped, and the runs that it let wait elsewhere are removed. A second Ctrl-C
//! says that this takes too long: nodes are killed then, and what still waits is told.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use quorus_bench_options::{Configuration, Waiting, Work};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    clients::Clients,
    failover,
    pace::Pace,
    phase::Phase,
    report::{Machine, Report, Waited},
    target::Target,
    waiting::{self, Parking},
    worker::Working,
    workload::Workload,
};

/// Concurrent clients, unless the options say how many.
pub(crate) const CLIENTS: usize = 64;

/// Somebody ended it.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted; there is no result")
    }
}

impl std::error::Error for Interrupted {}

/// What was asked for can't be done.
#[derive(Debug)]
pub(crate) struct Misuse(String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// Does what the configuration says.
pub(crate) async fn run(configuration: Configuration) -> anyhow::Result<()> {
    let configuration = repeated(configuration)?;
    if let Work::Failover(failover) = &configuration.options.work {
        failover::check(&configuration, failover).map_err(Misuse)?;
    }
    let machine = Machine::this();
    let mut target = tokio::select! {
        target = Target::of(&configuration) => target?,
        () = ended() => return Err(Interrupted.into()),
    };
    if matches!(configuration.options.work, Work::Worker) {
        let served = serve(&configuration, &target).await;
        target.stop().await;
        return served;
    }
    let mut parking = None;
    let result = tokio::select! {
        result = work(&configuration, machine, &mut target, &mut parking) => result,
        () = ended() => Err(Interrupted.into()),
    };
    let tidy = async {
        match parking.filter(|_| !target.is_own()) {
            Some(parking) => parking.terminate(&configuration).await.context("removing the runs that wait"),
            None => Ok(()),
        }
    };
    let tidied = tokio::select! {
        tidied = tidy => tidied,
        () = ended() => Err(anyhow::Error::new(Interrupted).context("runs of the workflow bench-waiting-* may still wait")),
    };
    tokio::select! {
        () = target.stop() => {}
        // They die with the target.
        () = ended() => {}
    }
    // Nothing is printed that was not cleaned up after.
    let report = result?;
    tidied?;
    report.print()
}

/// Ctrl-C, or a polite request to end.
async fn ended() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        // A signal that can't be listened to ends the process by itself.
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The configuration of an earlier result, if that is what is to be repeated.
fn repeated(configuration: Configuration) -> anyhow::Result<Configuration> {
    #[derive(serde::Deserialize)]
    struct Result {
        configuration: Configuration,
    }
    let Work::Repeat { result } = &configuration.options.work else { return Ok(configuration) };
    let read = |path: &Path| {
        let text = fs::read_to_string(path)?;
        anyhow::Ok(serde_json::from_str::<Result>(&text)?.configuration)
    };
    let earlier =
        read(result).with_context(|| format!("reading the configuration in {}, which is to be a result in JSON", result.display()))?;
    if matches!(earlier.options.work, Work::Repeat { .. }) {
        return Err(Misuse(format!("{} is no result", result.display())).into());
    }
    Ok(Configuration { output: configuration.output, quiet: configuration.quiet, ..earlier })
}

async fn work<'a>(
    configuration: &'a Configuration,
    machine: Machine,
    target: &mut Target,
    parking: &mut Option<Parking>,
) -> anyhow::Result<Report<'a>> {
    let options = &configuration.options;
    let queue = options.queue.as_str();
    let client = Clients::new(target.endpoints(), &configuration.namespace, 1, None)?;
    let cluster = target.about(client.of(0)).await?;
    let phase = match options.work {
        Work::Chain(chain) => {
            Phase { name: "chain", workload: Workload::chain(chain.steps, queue), pace: Pace::of(chain.pace, CLIENTS), runs: chain.runs }
        }
        Work::Fanout(fanout) => {
            Phase { name: "fanout", workload: Workload::fanout(fanout, queue), pace: Pace::of(fanout.pace, 1), runs: fanout.runs }
        }
        Work::Mixed(mixed) => {
            Phase { name: "mixed", workload: Workload::mixed(mixed, queue), pace: Pace::of(mixed.pace, CLIENTS), runs: mixed.runs }
        }
        Work::Start(start) => Phase { name: "start", workload: Workload::start(), pace: Pace::of(start.pace, CLIENTS), runs: start.runs },
        Work::Waiting(waiting) => {
            let (measured, waited) = wait(configuration, waiting, target, parking).await?;
            let report = Report { configuration, machine, cluster, measured, gap_ms: None, events: Vec::new(), waited: Some(waited) };
            return Ok(report);
        }
        Work::Failover(failover) => {
            let failovers = failover::run(configuration, &failover, target).await?;
            let (measured, gap_ms, events) = (failovers.measured, failovers.gaps, failovers.events);
            return Ok(Report { configuration, machine, cluster, measured, gap_ms, events, waited: None });
        }
        // Both are something else by now.
        Work::Worker | Work::Repeat { .. } => bail!("this makes no load"),
    };
    let measured = phase.measure(configuration, target).await?;
    Ok(Report { configuration, machine, cluster, measured, gap_ms: None, events: Vec::new(), waited: None })
}

/// The load of `waiting`: without, then with the runs that wait.
async fn wait(
    configuration: &Configuration,
    waiting: Waiting,
    target: &mut Target,
    parking: &mut Option<Parking>,
) -> anyhow::Result<(crate::phase::Measured, Waited)> {
    let queue = &configuration.options.queue;
    let empty = waiting::chain("empty", waiting, queue).measure(configuration, target).await.context("the load without waiting runs")?;
    // Known outside before the first one waits, so that they are removed however this ends.
    let parking = parking.insert(Parking::prepare(configuration, target, waiting).await?);
    let parked = parking.park(configuration, target).await?;
    let on_top = waiting::chain("on top", waiting, queue).measure(configuration, target).await.context("the load on top")?;
    parking.must_wait().await?;
    let compared = waiting::compare(&empty, &parked, &on_top);
    Ok((on_top, Waited { empty, parked, compared }))
}

/// Works for others until somebody ends it. Others have to know where nodes are that it started.
async fn serve(configuration: &Configuration, target: &Target) -> anyhow::Result<()> {
    let options = &configuration.options;
    let working = Working::start(target.endpoints(), &options.queue, options.capacity, None)?;
    if target.is_own() {
        let mut out = io::stdout().lock();
        writeln!(out, "endpoints: {}", target.endpoints().join(",")).and_then(|()| out.flush()).context("telling where the nodes are")?;
    }
    ended().await;
    working.stop().await
}
