//! Rounds, in each of which both sides start anew, work and stop, so that neither pays for what the other one left.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    load::Load,
    ours::Ours,
    peer::Peer,
    report::{Measured, Report, Side},
};

/// What is compared.
#[derive(Clone, Debug, clap::Args, serde::Serialize)]
pub(crate) struct Args {
    /// The peer's server program
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// The version of it, for the result
    #[arg(long, value_name = "VERSION")]
    server_version: String,
    /// Our load tool; the node program lies beside it
    #[arg(long, value_name = "PATH")]
    quorus_bench: PathBuf,
    /// A folder for data and logs; the data is deleted after each round
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// How many rounds; sides take turns in beginning
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Concurrent runs, one measurement each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256, 1_024])]
    concurrency: Vec<usize>,
    /// Steps of each run
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Where the result goes as JSON
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Compares.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let report = tokio::select! {
        report = rounds(&args) => report?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; there is no result"),
    };
    let json = serde_json::to_string_pretty(&report)?;
    fs::write(&args.out, json + "\n").with_context(|| format!("writing {}", args.out.display()))?;
    print!("{}", report.table());
    println!("\nas JSON: {}", args.out.display());
    Ok(())
}

async fn rounds(args: &Args) -> anyhow::Result<Report<'_>> {
    let mut report = Report::begin(args);
    for round in 1..=args.rounds {
        let folder = args.folder.join(format!("round-{round}"));
        // Of an earlier comparison that was interrupted.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        // Nodes are told absolute paths.
        let folder = folder.canonicalize()?;
        for ours in [round % 2 == 0, round % 2 == 1] {
            let measured =
                if ours { quorus(args, round, &folder, &mut report.debug_build).await } else { peer(args, round, &folder).await };
            report.samples.extend(measured.with_context(|| format!("round {round}; logs are in {}", folder.display()))?);
        }
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(report)
}

async fn peer(args: &Args, round: u32, folder: &Path) -> anyhow::Result<Vec<Measured>> {
    let mut peer = Peer::start(&args.server, folder).await.context("the peer")?;
    let mut all = Vec::new();
    for concurrency in args.concurrency.iter().copied() {
        for side in [Side::PeerRun, Side::PeerCall] {
            let handler = if side == Side::PeerRun { "run" } else { "call" };
            let sample = Load::of(concurrency, args.steps).drive(&peer.ingresses, handler).await;
            let sample = sample.with_context(|| format!("the peer's `{handler}` with {concurrency} clients"))?;
            peer.must_live()?;
            all.push(Measured::told(round, side, sample, peer.rss_bytes()));
        }
    }
    peer.stop().await?;
    Ok(all)
}

async fn quorus(args: &Args, round: u32, folder: &Path, debug_build: &mut bool) -> anyhow::Result<Vec<Measured>> {
    let mut ours = Ours::start(&args.quorus_bench, folder).await?;
    let mut all = Vec::new();
    for concurrency in args.concurrency.iter().copied() {
        let sample = ours.drive(&args.quorus_bench, Load::of(concurrency, args.steps)).await;
        let sample = sample.with_context(|| format!("Quorus with {concurrency} clients"))?;
        all.push(Measured::told(round, Side::Quorus, sample, ours.rss_bytes()));
    }
    *debug_build |= ours.debug_build;
    ours.stop().await?;
    Ok(all)
}
