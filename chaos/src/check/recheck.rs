//! `quorus-chaos recheck DIR`: reads a results folder, judges it again, and writes `results.json` beside the evidence.
//!
//! What people read is a table of the invariants, the counterexamples as little stories, what is unknown and why, and the counts of coverage.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, process::ExitCode};

use super::{Counterexample, Results, Verdict, judge};
use crate::record::folder::Folder;

/// What is judged.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The results folder
    pub dir: PathBuf,
    /// How to write the verdicts
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    pub output: Output,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    Human,
    /// For programs: what `results.json` holds
    Json,
}

/// Judges, writes, prints.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = Folder::open(args.dir);
    let results = judge(&folder.read()?);
    folder.write_json("results.json", &results)?;
    match args.output {
        Output::Human => anstream::print!("{}", human(&results)),
        Output::Json => anstream::println!("{}", serde_json::to_string_pretty(&results)?),
    }
    Ok(exit_code(results.verdict))
}

/// 0 valid, 1 violated, 2 unknown.
pub fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Valid | Verdict::NotApplicable => ExitCode::SUCCESS,
        Verdict::Violated => ExitCode::from(1),
        Verdict::Unknown => ExitCode::from(2),
    }
}

/// The verdicts as people read them.
pub fn human(results: &Results) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = write_human(results, &mut text);
    text
}

fn write_human(results: &Results, text: &mut String) -> std::fmt::Result {
    let commit = if results.commit.is_empty() { "unknown" } else { &results.commit };
    writeln!(text, "{}: seed {}, commit {commit}\n", results.title, results.seed)?;
    let width = results.invariants.iter().map(|result| result.title.chars().count()).max().unwrap_or(0);
    writeln!(text, "{:<4} {:<width$}  {:<14} {:>8} {:>10}", "", "invariant", "verdict", "facts", "violations")?;
    for result in &results.invariants {
        let (verdict, facts, violations) = (result.verdict.name(), result.checked, result.violated);
        writeln!(text, "{:<4} {:<width$}  {verdict:<14} {facts:>8} {violations:>10}", result.id, result.title)?;
    }
    for result in results.invariants.iter().filter(|result| result.violated > 0) {
        writeln!(text, "\n{} is violated: {}", result.id, result.title)?;
        for counterexample in &result.violations {
            write_counterexample(counterexample, text)?;
        }
        let more = result.violated.saturating_sub(result.violations.len() as u64);
        if more > 0 {
            writeln!(text, "  and {more} more")?;
        }
    }
    if !results.reasons.is_empty() {
        writeln!(text, "\nUnknown")?;
        for reason in &results.reasons {
            writeln!(text, "  {reason}")?;
        }
    }
    let silent = results.invariants.iter().filter(|result| result.verdict == Verdict::NotApplicable);
    let mut why: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    silent.for_each(|result| why.entry(result.reason.as_str()).or_default().push(&result.id));
    if !why.is_empty() {
        writeln!(text, "\nNot applicable")?;
        for (reason, ids) in why {
            writeln!(text, "  {}: {reason}", ids.join(", "))?;
        }
    }
    writeln!(text, "\nSeen")?;
    for (name, count) in results.coverage.0.iter().filter(|(_, count)| **count > 0) {
        writeln!(text, "  {name:<34} {count:>8}")?;
    }
    let none: Vec<&str> = results.coverage.0.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name.as_str()).collect();
    if !none.is_empty() {
        writeln!(text, "  none of: {}", none.join(", "))?;
    }
    writeln!(text, "\nVerdict: {}", results.verdict.name())
}

fn write_counterexample(counterexample: &Counterexample, text: &mut String) -> std::fmt::Result {
    let place = match (counterexample.run.as_str(), counterexample.step.as_str()) {
        ("", "") => String::new(),
        (run, "") => format!("run {run}: "),
        (run, step) => format!("run {run}, step {step}: "),
    };
    writeln!(text, "\n  {place}{}", counterexample.summary)?;
    let width = counterexample.evidence.iter().map(|testimony| testimony.who.chars().count()).max().unwrap_or(0);
    for testimony in &counterexample.evidence {
        // In seconds, so that it can be found in the report.
        let at = testimony.at_us as f64 / 1e6;
        writeln!(text, "    {at:>12.6} s  {:<width$}  {}", testimony.who, testimony.said)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Scene;

    /// A step that was repeated though only a node had died, and nothing promised.
    fn results() -> Results {
        let mut scene = Scene::new();
        let run = scene.start("order-7", "w");
        scene.leader_fault("kill", "node-1", 4_000);
        scene.abandon(&run, "charge", 31_000);
        scene.task(&run, "charge");
        scene.succeed(&run);
        scene.get(&run, false);
        let mut evidence = scene.evidence();
        evidence.setup.expects.insert("compensations".to_owned(), 1);
        judge(&evidence)
    }

    #[test]
    fn people_read_a_table_and_the_stories_of_what_went_wrong() {
        insta::assert_snapshot!(human(&results()));
    }

    #[test]
    fn programs_read_back_what_was_written() {
        let results = results();
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    }

    #[tokio::test]
    async fn a_folder_is_judged_and_its_results_are_written_beside_the_evidence() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::create(temporary.path()).unwrap();
        folder.write(&Scene::new().evidence()).unwrap();
        let args = Args { dir: temporary.path().to_owned(), output: Output::Json };
        let code = run(args).await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", exit_code(Verdict::Unknown)), "nothing was done");
        let written: Results = serde_json::from_slice(&std::fs::read(folder.file("results.json")).unwrap()).unwrap();
        assert_eq!(written.verdict, Verdict::Unknown);
    }
}
