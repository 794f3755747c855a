//! `quorus plan`: what a run would do. Executes nothing, and needs no cluster unless `--server` asks for its opinion.

use std::{collections::BTreeMap, fmt::Write};

use quorus_client::v1::{self, PlanWorkflowResponse, PlannedStep, plan_workflow_request::Definition};
use quorus_spec::{Diagnostic, Loaded, render_all};

use super::{
    args::{Format, Globals, json_text},
    client,
    failure::Failure,
    graph::{self, Graph},
    render, source, term,
    text::{cut, plural},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with one workflow, or - for stdin
    #[arg(long, short, value_name = "FILE")]
    file: String,
    /// Let the cluster plan it, for example because its version is another one
    #[arg(long)]
    server: bool,
    /// Draw it: mermaid, dot (for Graphviz) or ascii
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    graph: Option<Graph>,
    /// Check this input against the workflow's schema, too: JSON, @FILE, or - for stdin
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,
}

pub(crate) async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (name, plan) = if args.server {
        of_server(args, globals).await?
    } else {
        let loaded = source::load_one(&args.file)?;
        check_input(args, &loaded)?;
        of_this_program(&loaded)
    };
    if let Some(graph) = args.graph {
        return term::print(&graph::draw(graph, &name, &plan));
    }
    term::print_as(
        globals,
        || render::value(&plan),
        || {
            let flat = plan.steps.iter().all(|step| step.parent.is_empty() && matches!(step.role.as_str(), "" | "body"));
            if flat { levels(&name, &plan) } else { graph::draw(Graph::Ascii, &format!("workflow {name}"), &plan) }
        },
    )
}

/// Says everything in the input that the workflow would refuse.
fn check_input(args: &Args, loaded: &Loaded) -> Result<(), Failure> {
    let Some(input) = &args.input else { return Ok(()) };
    let text = json_text("--input", input)?;
    let value = serde_json::from_str(&text).map_err(|error| Failure::usage(error.to_string()))?;
    let Some(schema) = &loaded.plan.input_schema else { return Ok(()) };
    let schema = quorus_spec::Schema::compile(schema).map_err(Failure::error)?;
    let violations = schema.violations(&value);
    if violations.is_empty() {
        return Ok(());
    }
    let lines = violations.iter().map(|violation| format!("\n  input{}: {}", violation.path, violation.message));
    Err(Failure::error(format!("the input does not fit the workflow's `input_schema`{}", lines.collect::<String>())))
}

/// The cluster's plan; an error if it finds mistakes.
async fn of_server(args: &Args, globals: &Globals) -> Result<(String, PlanWorkflowResponse), Failure> {
    let source = source::read_one(&args.file)?;
    let definition = Definition::Source(v1::Source { text: source.text.clone(), name: source.name.clone() });
    let plan = client::connect(globals)?.plan_workflow(v1::PlanWorkflowRequest { definition: Some(definition) }).await?;
    if globals.output == Format::Table || plan.steps.is_empty() {
        let found: Vec<_> = plan.problems.iter().map(|problem| Diagnostic::from_problem(problem, &source.text, &source.name)).collect();
        term::note(&render_all(&found, &source.text, true));
    }
    if plan.problems.iter().any(|problem| !problem.warning) {
        return Err(Failure::silent(quorus_client::exit_code::ERROR));
    }
    Ok((source.name, plan))
}

fn of_this_program(loaded: &Loaded) -> (String, PlanWorkflowResponse) {
    let plan = &loaded.plan;
    let steps: Vec<_> = plan.steps.iter().map(|step| quorus_spec::planned_step(plan, step)).collect();
    let critical_path = critical_path(&steps);
    let problems = loaded.warnings.iter().map(Into::into).collect();
    (plan.name.clone(), PlanWorkflowResponse { steps, problems, critical_path })
}

/// The longest chain of needs, first to last. Of several the first, so that the answer is always the same.
fn critical_path(steps: &[PlannedStep]) -> Vec<String> {
    let by_id: BTreeMap<_, _> = steps.iter().map(|step| (step.step.as_str(), step)).collect();
    let mut path: Vec<_> = steps.iter().rev().max_by_key(|step| step.level).into_iter().collect();
    while let Some(step) = path.last() {
        let needs = step.needs.iter().rev().filter_map(|id| by_id.get(id.as_str()));
        let Some(longest) = needs.max_by_key(|need| need.level) else { break };
        path.push(longest);
    }
    path.iter().rev().map(|step| step.step.clone()).collect()
}

/// One block per level: steps of one level can run side by side.
fn levels(name: &str, plan: &PlanWorkflowResponse) -> String {
    let deepest = plan.steps.iter().map(|step| step.level).max().unwrap_or_default();
    let mut text = format!("workflow {name} · {} · {}\n", plural(plan.steps.len(), "step"), plural(deepest as usize + 1, "level"));
    let width = plan.steps.iter().map(|step| step.step.len()).max().unwrap_or_default();
    for level in 0..=deepest {
        let steps: Vec<_> = plan.steps.iter().filter(|step| step.level == level).collect();
        let _ = writeln!(text, "\n{level:>3} ┐");
        for (position, step) in steps.iter().enumerate() {
            let branch = if position + 1 == steps.len() { "└─" } else { "├─" };
            let line = format!("    {branch} {:width$}  {}{}", step.step, what(step), after(&step.needs));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    let _ = write!(text, "\ncritical path: {} ({})\n", plan.critical_path.join(" → "), plural(plan.critical_path.len(), "step"));
    text
}

fn what(step: &PlannedStep) -> String {
    let kind = if step.task_type.is_empty() { step.kind.clone() } else { format!("task {} on {}", step.task_type, step.queue) };
    if step.condition.is_empty() { kind } else { format!("{kind}, if {}", cut(&step.condition, 60)) }
}

fn after(needs: &[String]) -> String {
    match needs.len() {
        0 => String::new(),
        1..=5 => format!("  ← {}", needs.join(", ")),
        more => format!("  ← {}, … {more} in all", needs[..4].join(", ")),
    }
}
