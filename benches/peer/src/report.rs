//! Ratios with their spread, as a table and as JSON.

use std::fmt::Write as _;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use crate::{compare::Args, load::Load};

/// Whose figure it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// Ours: dispatched tasks.
    Quorus,
    /// Theirs: steps in the process of the handler.
    PeerRun,
    /// Theirs: calls of another service, which is what we do.
    PeerCall,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Quorus => "dispatched tasks",
            Self::PeerRun => "steps in its own process",
            Self::PeerCall => "calls of another service",
        }
    }
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub(crate) concurrency: usize,
    pub(crate) runs: usize,
    pub(crate) steps: usize,
    pub(crate) seconds: f64,
    pub(crate) steps_per_second: f64,
    pub(crate) run_p50_ms: f64,
    pub(crate) run_p99_ms: f64,
    /// Of a run, divided by its steps: the same for both sides.
    pub(crate) step_p50_ms: f64,
}

impl Sample {
    pub(crate) fn new(load: Load, seconds: f64, run_p50_ms: f64, run_p99_ms: f64) -> Self {
        let steps = load.runs * load.steps;
        let (steps_per_second, step_p50_ms) = (steps as f64 / seconds, run_p50_ms / load.steps as f64);
        Self { concurrency: load.concurrency, runs: load.runs, steps, seconds, steps_per_second, run_p50_ms, run_p99_ms, step_p50_ms }
    }
}

/// A measurement and where it belongs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    pub(crate) round: u32,
    pub(crate) side: Side,
    #[serde(flatten)]
    pub(crate) sample: Sample,
    /// Of each node, after it.
    pub(crate) rss_bytes: Vec<Option<u64>>,
}

impl Measured {
    /// Tells people who wait.
    pub(crate) fn told(round: u32, side: Side, sample: Sample, rss_bytes: Vec<Option<u64>>) -> Self {
        let Sample { concurrency, steps_per_second, step_p50_ms, .. } = sample;
        let whose = if side == Side::Quorus { "quorus" } else { "peer" };
        eprintln!(
            "round {round}  {whose:<6}  {:<24}  {concurrency:>5} clients  {steps_per_second:>7.0} steps/s  p50 {step_p50_ms:.2} ms a step",
            side.name()
        );
        Self { round, side, sample, rss_bytes }
    }
}

/// The ratios of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
        Some(Self { median: (lower + upper) / 2.0, min, max })
    }
}

/// Ours to theirs, at one concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) against: Side,
    pub(crate) concurrency: usize,
    /// Above 1: we do more.
    pub(crate) steps_per_second: Spread,
    /// Below 1: we take less.
    pub(crate) step_p50: Spread,
}

/// The result.
#[derive(Clone, Debug)]
pub(crate) struct Report<'a> {
    args: &'a Args,
    cpus: Option<usize>,
    load_average_before: Option<f64>,
    /// Ours was built without optimisation, theirs never is.
    pub(crate) debug_build: bool,
    pub(crate) samples: Vec<Measured>,
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 6)?;
        report.serialize_field("configuration", self.args)?;
        report.serialize_field("cpus", &self.cpus)?;
        report.serialize_field("load_average_before", &self.load_average_before)?;
        report.serialize_field("debug_build", &self.debug_build)?;
        report.serialize_field("ratios", &self.ratios())?;
        report.serialize_field("samples", &self.samples)?;
        report.end()
    }
}

impl<'a> Report<'a> {
    pub(crate) fn begin(args: &'a Args) -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            args,
            cpus: std::thread::available_parallelism().ok().map(usize::from),
            load_average_before: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
            debug_build: false,
            samples: Vec::new(),
        }
    }

    /// Only figures of the same round are divided: what else ran on the machine was alike then.
    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let mut concurrencies: Vec<usize> = self.samples.iter().map(|measured| measured.sample.concurrency).collect();
        concurrencies.sort_unstable();
        concurrencies.dedup();
        let both = concurrencies.into_iter().flat_map(|concurrency| [Side::PeerRun, Side::PeerCall].map(|against| (concurrency, against)));
        both.filter_map(|(concurrency, against)| {
            let pairs: Vec<(Sample, Sample)> = self
                .of(Side::Quorus, concurrency)
                .filter_map(|(round, ours)| {
                    let theirs = self.of(against, concurrency).find(|(other, _)| *other == round)?.1;
                    Some((ours, theirs))
                })
                .collect();
            let spread =
                |figure: fn(&Sample) -> f64| Spread::of(pairs.iter().map(|(ours, theirs)| figure(ours) / figure(theirs)).collect());
            Some(Ratio {
                against,
                concurrency,
                steps_per_second: spread(|sample| sample.steps_per_second)?,
                step_p50: spread(|sample| sample.step_p50_ms)?,
            })
        })
        .collect()
    }

    fn of(&self, side: Side, concurrency: usize) -> impl Iterator<Item = (u32, Sample)> {
        let samples = self.samples.iter().filter(move |measured| measured.side == side && measured.sample.concurrency == concurrency);
        samples.map(|measured| (measured.round, measured.sample))
    }

    fn middle(&self, side: Side, concurrency: usize, figure: fn(&Sample) -> f64) -> f64 {
        let values = self.of(side, concurrency).map(|(_, sample)| figure(&sample)).collect();
        Spread::of(values).map_or(f64::NAN, |spread| spread.median)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let spread = |Spread { median, min, max }: Spread| format!("{median:.2} [{min:.2}-{max:.2}]");
        let mut line = |cells: [String; 6]| {
            let [against, clients, rates, ratio, latencies, latency_ratio] = cells;
            // Writing to a text does not fail.
            let _ = writeln!(text, "{against:<26} {clients:>7}  {rates:>17}  {ratio:<19}  {latencies:>17}  {latency_ratio}");
        };
        let head = ["peer's work", "clients", "steps/s ours/its", "ratio", "p50 ms ours/its", "ratio"];
        line(head.map(ToOwned::to_owned));
        for Ratio { against, concurrency, steps_per_second, step_p50 } in self.ratios() {
            let rate = |side| self.middle(side, concurrency, |sample| sample.steps_per_second);
            let latency = |side| self.middle(side, concurrency, |sample| sample.step_p50_ms);
            line([
                against.name().to_owned(),
                concurrency.to_string(),
                format!("{:.0} / {:.0}", rate(Side::Quorus), rate(against)),
                spread(steps_per_second),
                format!("{:.2} / {:.2}", latency(Side::Quorus), latency(against)),
                spread(step_p50),
            ]);
        }
        if self.debug_build {
            text.push_str("\nremark: our programs were built without optimisation, the peer's were not: these ratios say nothing\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn measured(round: u32, side: Side, seconds: f64, run_p50_ms: f64) -> Measured {
        let load = Load { runs: 10, warm_up: 0, steps: 10, concurrency: 4 };
        Measured { round, side, sample: Sample::new(load, seconds, run_p50_ms, run_p50_ms), rss_bytes: Vec::new() }
    }

    #[test]
    fn ratios_are_taken_within_rounds_and_have_a_spread() {
        let line = "x --server s --server-version 1 --quorus-bench q --folder f --out o";
        let cli = Cli::parse_from(line.split(' '));
        let mut report = Report::begin(&cli.args);
        report.samples = vec![
            measured(1, Side::PeerCall, 8.0, 40.0),
            measured(1, Side::Quorus, 2.0, 10.0),
            measured(2, Side::Quorus, 10.0, 60.0),
            measured(2, Side::PeerCall, 20.0, 120.0),
            measured(3, Side::Quorus, 1.0, 5.0),
        ];
        let [ratio] = report.ratios()[..] else { panic!("{:?}", report.ratios()) };
        assert_eq!((ratio.against, ratio.concurrency), (Side::PeerCall, 4));
        assert_eq!(ratio.steps_per_second, Spread { median: 3.0, min: 2.0, max: 4.0 });
        assert_eq!(ratio.step_p50, Spread { median: 0.375, min: 0.25, max: 0.5 });
        let table = report.table();
        assert!(table.contains("calls of another service") && table.contains("3.00 [2.00-4.00]"), "{table}");
        assert_eq!(serde_json::to_value(&report).unwrap()["ratios"][0]["steps_per_second"]["median"], 3.0);
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_one_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
