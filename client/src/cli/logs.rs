//! `quorus runs logs`: what steps wrote while they were executed.

use std::{collections::BTreeMap, time::Duration};

use anstyle::AnsiColor;
use quorus_client::{is_final, v1};

use super::{
    args::{Format, Globals},
    client,
    failure::Failure,
    render, term,
};

/// Pause between two looks while following.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run
    #[arg(value_name = "RUN")]
    run: String,
    /// Only this step
    #[arg(value_name = "STEP", default_value = "", hide_default_value = true)]
    step: String,
    /// Show new lines as they come, until the run ends
    #[arg(long, short)]
    follow: bool,
}

pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let client = client::connect(globals)?;
    let mut shown: BTreeMap<(String, u32, u64), u32> = BTreeMap::new();
    loop {
        let run = client.get_run(v1::GetRunRequest { run_id: args.run.clone(), ..Default::default() }).await?;
        let request = v1::GetRunLogsRequest { run_uid: run.run_uid.clone(), step: args.step.clone() };
        let mut answer = client.get_run_logs(request).await?;
        // Lines of an attempt on a node only grow at their end.
        let attempt = |line: &v1::StepLogLine| (line.step.clone(), line.attempt, line.node);
        answer.lines.retain(|line| line.position >= shown.get(&attempt(line)).copied().unwrap_or(0));
        for line in &answer.lines {
            let next = shown.entry(attempt(line)).or_default();
            *next = (*next).max(line.position + 1);
        }
        if !args.follow && globals.output != Format::Table {
            return term::print_as(globals, || render::value(&answer), String::new);
        }
        let shown_now: String = match globals.output {
            Format::Table => answer.lines.iter().map(|line| text(line, args.step.is_empty())).collect(),
            // One document a line, so that programs can follow, too.
            Format::Json | Format::Yaml => answer.lines.iter().map(|line| format!("{}\n", render::value(line))).collect(),
        };
        term::print(&shown_now)?;
        let ended = is_final(run.status());
        if !args.follow || ended {
            if !answer.missing_nodes.is_empty() {
                term::remark(globals, &format!("lines of nodes {:?} are missing: they did not answer", answer.missing_nodes));
            }
            if answer.truncated {
                term::remark(globals, "there are more lines than an answer holds: ask step by step");
            }
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn text(line: &v1::StepLogLine, with_step: bool) -> String {
    let style = if line.stream == "stderr" { AnsiColor::Yellow.on_default() } else { anstyle::Style::new() };
    let step = if with_step { format!("{} | ", line.step) } else { String::new() };
    format!("{step}{style}{}{style:#}\n", line.text)
}
