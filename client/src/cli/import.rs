//! `quorus import`: other formats become workflow definitions.

use clap::Subcommand;
use quorus_spec::wfformat;

use super::{
    args::{Format, Globals},
    failure::Failure,
    source, term,
    text::{plural, span},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A recorded scientific workflow (WfFormat 1.5, wfcommons.org); its programs become tasks of type `replay`
    Wfformat {
        /// File, or - for stdin
        file: String,
    },
}

pub(crate) fn run(command: &Command, globals: &Globals) -> Result<(), Failure> {
    let Command::Wfformat { file } = command;
    let text = if file == "-" {
        source::read_stdin()?
    } else {
        std::fs::read_to_string(file).map_err(|error| Failure::error(format!("can't read `{file}`: {error}")))?
    };
    let imported = wfformat::import(&text).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Failure::error(format!("{file}: {error}{cause}"))
    })?;
    let time = std::time::Duration::try_from_secs_f64(imported.runtime_seconds).unwrap_or_default();
    let tasks = plural(imported.tasks, "task");
    term::remark(globals, &format!("{tasks}, {}, {} recorded in all", plural(imported.edges, "edge"), span(time)));
    match globals.output {
        Format::Json => term::print(&term::json(&quorus_spec::to_json_value(&imported.workflow))),
        Format::Table | Format::Yaml => term::print(&quorus_spec::to_yaml(&imported.workflow)),
    }
}
