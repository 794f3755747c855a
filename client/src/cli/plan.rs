//! `quorus plan`: what a run would do. Executes nothing, needs no cluster.

use std::fmt::Write;

use quorus_client::v1;
use quorus_engine::{Plan, PlannedKind, PlannedStep};

use super::{
    args::Globals,
    failure::Failure,
    render, source, term,
    text::{cut, plural},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with one workflow, or - for stdin
    #[arg(long, short, value_name = "FILE")]
    file: String,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let loaded = source::load_one(&args.file)?;
    let response = || v1::PlanWorkflowResponse {
        steps: loaded.plan.steps.iter().map(|step| planned(step, &loaded.plan)).collect(),
        problems: loaded.warnings.iter().map(Into::into).collect(),
        critical_path: critical_path(&loaded.plan).iter().map(|step| step.id.as_str().to_owned()).collect(),
    };
    term::print_as(globals, || render::value(&response()), || levels(&loaded.plan))
}

fn planned(step: &PlannedStep, plan: &Plan) -> v1::PlannedStep {
    let task = step.kind.task();
    v1::PlannedStep {
        step: step.id.as_str().to_owned(),
        kind: step.kind.name().to_owned(),
        needs: needs(step, plan),
        level: step.level,
        queue: task.map(|task| task.queue.clone()).unwrap_or_default(),
        task_type: task.map(|task| task.task_type.clone()).unwrap_or_default(),
        condition: step.condition().unwrap_or_default().to_owned(),
    }
}

fn needs(step: &PlannedStep, plan: &Plan) -> Vec<String> {
    step.needs.iter().map(|&index| plan.steps[index].id.as_str().to_owned()).collect()
}

/// The longest chain of needs, first to last.
fn critical_path(plan: &Plan) -> Vec<&PlannedStep> {
    // The first of the deepest, so that the answer is always the same.
    let mut path: Vec<_> = plan.steps.iter().rev().max_by_key(|step| step.level).into_iter().collect();
    while let Some(before) =
        path.last().and_then(|step| step.needs.iter().map(|&index| &plan.steps[index]).rev().max_by_key(|need| need.level))
    {
        path.push(before);
    }
    path.reverse();
    path
}

/// One block per level: steps of one level can run side by side.
fn levels(plan: &Plan) -> String {
    let deepest = plan.steps.iter().map(|step| step.level).max().unwrap_or_default();
    let mut text = format!("workflow {} · {} · {}\n", plan.name, plural(plan.steps.len(), "step"), plural(deepest as usize + 1, "level"));
    let width = plan.steps.iter().map(|step| step.id.as_str().len()).max().unwrap_or_default();
    for level in 0..=deepest {
        let steps: Vec<_> = plan.steps.iter().filter(|step| step.level == level).collect();
        let _ = writeln!(text, "\n{level:>3} ┐");
        for (position, step) in steps.iter().enumerate() {
            let branch = if position + 1 == steps.len() { "└─" } else { "├─" };
            let line = format!("    {branch} {:width$}  {}{}", step.id.as_str(), what(step), after(step, plan));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    let path: Vec<_> = critical_path(plan).iter().map(|step| step.id.as_str()).collect();
    let _ = write!(text, "\ncritical path: {} ({})\n", path.join(" → "), plural(path.len(), "step"));
    text
}

fn what(step: &PlannedStep) -> String {
    let mut text = match &step.kind {
        PlannedKind::Task(task) => {
            let retry = if task.retry.max_attempts > 1 { format!(", up to {} attempts", task.retry.max_attempts) } else { String::new() };
            format!("task {} on {}{retry}", task.task_type, task.queue)
        }
        other => other.name().to_owned(),
    };
    if let Some(condition) = step.condition() {
        let _ = write!(text, ", if {}", cut(condition, 60));
    }
    text
}

fn after(step: &PlannedStep, plan: &Plan) -> String {
    let needs = needs(step, plan);
    match needs.len() {
        0 => String::new(),
        1..=5 => format!("  ← {}", needs.join(", ")),
        more => format!("  ← {}, … {} in all", needs[..4].join(", "), more),
    }
}
