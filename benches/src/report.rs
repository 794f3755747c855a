//! A result, for people and for programs.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use quorus_bench_options::{Configuration, Format};
use serde::Serialize;

use crate::{
    failover::Event,
    latency::Summary,
    nodes::Node,
    phase::Measured,
    session::{Interrupted, Misuse},
    target::About,
    waiting::{Compared, Parked},
};

/// The exit code of a process that a signal ended, as shells see it.
const INTERRUPTED: u8 = 130;
/// The command line was wrong.
const USAGE: u8 = 2;
const MEBIBYTE: f64 = 1_048_576.0;

/// The result of a load. See the help of the command for what each figure means.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) configuration: &'a Configuration,
    pub(crate) machine: Machine,
    pub(crate) cluster: About,
    #[serde(flatten)]
    pub(crate) measured: Measured,
    /// Of each client and event; only `failover`.
    pub(crate) gap_ms: Option<Summary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<Event>,
    #[serde(flatten)]
    pub(crate) waited: Option<Waited>,
}

/// What `waiting` adds: the figures above are those of the load on top.
#[derive(Debug, Serialize)]
pub(crate) struct Waited {
    /// The same load before.
    pub(crate) empty: Measured,
    pub(crate) parked: Parked,
    pub(crate) compared: Compared,
}

/// Where the tool ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpus: Option<usize>,
    pub(crate) system: &'static str,
    pub(crate) architecture: &'static str,
    /// Of the last minute, when the tool began: what else ran here.
    pub(crate) load_average_before: Option<f64>,
    /// The tool was built without optimisation.
    pub(crate) debug_build: bool,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            cpus: std::thread::available_parallelism().ok().map(usize::from),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            load_average_before: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
            debug_build: cfg!(debug_assertions),
        }
    }
}

impl Report<'_> {
    /// Prints it to standard output.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut text = Vec::new();
        match self.configuration.output {
            Format::Json => {
                serde_json::to_writer_pretty(&mut text, self)?;
                writeln!(text)?;
            }
            Format::Yaml => {
                let yaml = serde_saphyr::to_string(&serde_json::to_value(self)?)?;
                writeln!(text, "{}", yaml.trim_end())?;
            }
            Format::Table => self.table(&mut text)?,
        }
        let mut out = io::stdout().lock();
        match out.write_all(&text).and_then(|()| out.flush()) {
            // Whoever reads it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        if self.machine.debug_build {
            row(out, "remark", "a build without optimisation: its figures say nothing about a release")?;
        }
        if let Some(Waited { empty, parked, compared }) = &self.waited {
            writeln!(out, "without waiting runs")?;
            measured(empty, out)?;
            writeln!(out, "\nwith {} waiting runs", parked.runs)?;
            row(out, "started", format_args!("{:.0} a second", parked.starts_per_second))?;
            for (node, more) in parked.nodes.iter().zip(&compared.rss_bytes_more) {
                let Some(more) = more else { continue };
                let each = *more as f64 / parked.runs as f64 / 1024.0;
                row(out, format_args!("node {}", node.address), format_args!("{:+.1} MiB, {each:.2} KiB a run", *more as f64 / MEBIBYTE))?;
            }
            measured(&self.measured, out)?;
            writeln!(out, "\nwith to without")?;
            row(out, "steps/s", format_args!("{:.3}", compared.step_rate))?;
            if let Some(ratio) = compared.step_latency_p50 {
                row(out, "step latency p50", format_args!("{ratio:.3}"))?;
            }
            return Ok(());
        }
        measured(&self.measured, out)?;
        if let Some(gaps) = self.gap_ms {
            row(out, "gap per client", summary(gaps))?;
        }
        for event in &self.events {
            let Event { node, shards_led, gap_before_ms, done, unanswered, failed, .. } = event;
            let how = match event.stopped_in_order {
                None => "killed",
                Some(true) => "stopped in order",
                Some(false) => "did NOT stop in order",
            };
            let longest = event.gap_ms.iter().copied().fold(0.0, f64::max);
            let text = format!(
                "longest gap {longest:.0} ms (before {gap_before_ms:.0}), {done} runs done, {unanswered} due without answer, {failed} failed"
            );
            row(out, format_args!("node {node}"), format_args!("{how}, led {shards_led} shards: {text}"))?;
            if *unanswered > event.gap_ms.len() {
                row(out, "remark", "the clients could not keep up: a lower --rate, or a longer --after, measures the failover")?;
            }
            if let Some(failure) = &event.failure {
                row(out, "", failure)?;
            }
        }
        Ok(())
    }
}

fn measured(measured: &Measured, out: &mut impl Write) -> io::Result<()> {
    let Measured { runs, steps, seconds, .. } = *measured;
    row(out, "executed", format_args!("{runs} runs, {steps} steps in {seconds:.2} s"))?;
    row(out, "runs/s", format_args!("{:.0}", measured.runs_per_second))?;
    if steps > 0 {
        row(out, "steps/s", format_args!("{:.0}", measured.steps_per_second))?;
    }
    for (name, latencies) in [("run latency", measured.run_latency_ms), ("step latency", measured.step_latency_ms)] {
        if let Some(latencies) = latencies {
            row(out, name, summary(latencies))?;
        }
    }
    for (reason, count) in &measured.retries {
        row(out, "repeated calls", format_args!("{count} because of {reason}"))?;
    }
    if let Some(seconds) = measured.client_cpu_seconds {
        row(out, "clients and worker", format_args!("{seconds:.2} s CPU"))?;
    }
    for node in &measured.nodes {
        row(out, format_args!("node {}", node.address), figures(node, runs, steps))?;
    }
    Ok(())
}

/// What a node used, also for each step, or for each run if there are none.
fn figures(node: &Node, runs: usize, steps: usize) -> String {
    let (count, unit) = if steps > 0 { (steps, "step") } else { (runs, "run") };
    let cpu = node.cpu_seconds.map(|seconds| format!("{seconds:.2} s CPU ({:.0} us a {unit})", seconds * 1e6 / count as f64));
    let rss = node.rss_bytes.map(|bytes| format!("{:.0} MiB resident", bytes as f64 / MEBIBYTE));
    let written = node
        .bytes_written
        .map(|bytes| format!("{:.1} MiB written ({:.0} B a {unit})", bytes as f64 / MEBIBYTE, bytes as f64 / count as f64));
    let parts: Vec<String> = [cpu, rss, written, node.absent.clone()].into_iter().flatten().collect();
    parts.join(", ")
}

fn summary(Summary { p50, p90, p99, p999, max, .. }: Summary) -> String {
    format!("p50 {p50:.2} ms, p90 {p90:.2}, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2}")
}

fn row(out: &mut impl Write, name: impl std::fmt::Display, text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(out, "{:<22} {text}", name.to_string())
}

/// Tells why there is no result.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    // Without a standard error nobody can be told.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    if error.is::<Interrupted>() {
        ExitCode::from(INTERRUPTED)
    } else if error.is::<Misuse>() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::FAILURE
    }
}
