//! A result, for people and for programs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    latency::Summary,
    nodes::Node,
    options::{Format, Options},
};

/// The result of a load. See the help of the command for what each figure means.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) configuration: &'a Options,
    pub(crate) runs: usize,
    pub(crate) steps: usize,
    pub(crate) seconds: f64,
    pub(crate) runs_per_second: f64,
    pub(crate) steps_per_second: f64,
    pub(crate) run_latency_ms: Option<Summary>,
    pub(crate) step_latency_ms: Option<Summary>,
    /// Calls that had to be repeated, by reason.
    pub(crate) retries: BTreeMap<String, u64>,
    /// CPU time of this process: clients and, unless it is elsewhere, worker.
    pub(crate) client_cpu_seconds: Option<f64>,
    pub(crate) nodes: Vec<Node>,
}

impl Report<'_> {
    /// Prints it to standard output.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match self.configuration.output {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, self)?;
                writeln!(out)?;
            }
            Format::Table => self.table(&mut out)?,
        }
        Ok(out.flush()?)
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<20} {} runs, {} steps in {:.2} s", "executed", self.runs, self.steps, self.seconds)?;
        writeln!(out, "{:<20} {:.0}", "runs/s", self.runs_per_second)?;
        if self.steps > 0 {
            writeln!(out, "{:<20} {:.0}", "steps/s", self.steps_per_second)?;
        }
        for (name, summary) in [("run latency", self.run_latency_ms), ("step latency", self.step_latency_ms)] {
            if let Some(Summary { p50, p90, p99, p999, max, .. }) = summary {
                writeln!(out, "{name:<20} p50 {p50:.2} ms, p90 {p90:.2}, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2}")?;
            }
        }
        for (reason, count) in &self.retries {
            writeln!(out, "{:<20} {count} because of {reason}", "repeated calls")?;
        }
        if let Some(seconds) = self.client_cpu_seconds {
            writeln!(out, "{:<20} {seconds:.2} s CPU", "clients and worker")?;
        }
        for node in &self.nodes {
            let mebibytes = node.rss_bytes as f64 / f64::from(1 << 20);
            writeln!(out, "{:<20} {:.2} s CPU, {mebibytes:.0} MiB resident", format!("node {}", node.address), node.cpu_seconds)?;
        }
        Ok(())
    }
}

/// Tells why there is no result.
pub(crate) fn error(error: &anyhow::Error) {
    // Without a standard error nobody can be told.
    let _ = writeln!(io::stderr(), "error: {error:#}");
}
