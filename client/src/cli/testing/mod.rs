//! `quorus test`: workflows against scripts, in virtual time and without a cluster.
//!
//! - `file.rs` is what a test file says, with `outcome.rs`, `action.rs` and `expect.rs`; `world.rs` plays a run; `act.rs` has what people do to it; `gate.rs` plays the executor of gates.
//! - `trace.rs` is what the run did; `check.rs` compares that with what is expected; `report.rs` tells people and machines.

mod act;
mod action;
mod check;
mod expect;
mod file;
mod gate;
mod outcome;
mod report;
mod suite;
mod trace;
mod world;

use std::{path::PathBuf, sync::Mutex, time::Instant};

use quorus_client::exit_code;
use serde_json::json;

use self::suite::Suite;
use super::{
    args::{Format, Globals},
    failure::Failure,
    term,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders with `*.test.yaml` files, or such files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only tests whose file and name contain this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write a report in the form of JUnit
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show what happened in each test, not only in those that fail
    #[arg(long)]
    trace: bool,
}

/// Exit codes: 0 all passed, 1 some failed, 2 there was none to run.
pub(crate) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let files = suite::find(&args.paths)?;
    let began = Instant::now();
    let suites = play_all(&files, args);
    let (passed, failed) = suites
        .iter()
        .flat_map(|suite| &suite.results)
        .fold((0, 0), |(passed, failed), result| if result.passed() { (passed + 1, failed) } else { (passed, failed + 1) });
    let broken = suites.iter().filter(|suite| !suite.broken.is_empty()).count();
    if let Some(path) = &args.junit {
        std::fs::write(path, report::junit(&suites)?)
            .map_err(|error| Failure::error(format!("can't write `{}`: {error}", path.display())))?;
    }
    match globals.output {
        Format::Table => report::show(&suites, args.trace, globals)?,
        Format::Json | Format::Yaml => {
            let value = json!({"passed": passed, "failed": failed, "broken": broken, "files": suites.iter().map(report::value).collect::<Vec<_>>()});
            term::print_as(globals, || value, String::new)?;
        }
    }
    if passed + failed + broken == 0 {
        return Err(Failure::usage("there is no test to run").hint("tests are files `*.test.yaml`; does --filter leave any?"));
    }
    if globals.output == Format::Table && !globals.quiet {
        let broken = if broken == 0 { String::new() } else { format!(", {broken} files could not be read") };
        term::print(&format!("\n{} passed, {failed} failed{broken} ({:.1?})\n", passed, began.elapsed()))?;
    }
    if failed + broken == 0 { Ok(()) } else { Err(Failure::silent(exit_code::ERROR)) }
}

/// Plays the files side by side; the results keep their order.
fn play_all(files: &[PathBuf], args: &Args) -> Vec<Suite> {
    let next = Mutex::new(files.iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(files.len()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let claimed = lock(&next).next();
                    let Some((index, path)) = claimed else { return };
                    let suite = Suite::play(path, args.filter.as_deref());
                    lock(&done).push((index, suite));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, suite)| suite).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
