//! `quorus validate`: every mistake in definitions, without a cluster.

use quorus_proto::v1::Problem;
use serde_json::{Value, json};

use super::{
    args::{Format, Globals},
    definition::Resource,
    failure::Failure,
    render, source, term,
    text::plural,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File, folder, or - for stdin; may be repeated
    #[arg(long, short, required = true, value_name = "PATH")]
    file: Vec<String>,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let checked = source::check(&source::read_all(&args.file)?);
    if globals.output != Format::Table {
        let problems = checked.diagnostics.iter().map(|diagnostic| {
            let mut value = render::value(&Problem::from(diagnostic));
            value["file"] = Value::from(diagnostic.source.as_str());
            value
        });
        let value = json!({"valid": checked.errors() == 0, "problems": problems.collect::<Vec<_>>()});
        term::print_as(globals, || value, String::new)?;
        return if checked.errors() == 0 { Ok(()) } else { Err(Failure::silent(quorus_client::exit_code::ERROR)) };
    }
    checked.report()?;
    if !globals.quiet {
        let steps = checked.resources.iter().map(Resource::steps);
        let (workflows, steps) = steps.flatten().fold((0, 0), |(workflows, steps), more| (workflows + 1, steps + more));
        let others = checked.resources.len() - workflows;
        let others = if others == 0 { String::new() } else { format!(", {}", plural(others, "other definition")) };
        term::print(&format!("{} valid, {}{others}\n", plural(workflows, "workflow"), plural(steps, "step")))?;
    }
    Ok(())
}
