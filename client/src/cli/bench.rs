//! `quorus bench`: puts load on a cluster and measures it, by `quorus-bench`, the program beside this one.
//!
//! Why a program of its own: it starts and kills nodes, and stands on what this command must not depend on. This command knows its options,
//! so that help, completion and mistakes are as everywhere, and hands over what it was told, with the context's endpoints filled in.

use std::{io, path::PathBuf, process::Command};

use quorus_bench_options::{CONFIGURATION, Configuration, Format as Output, Options, PROGRAM};

use super::{
    args::{Format, Globals},
    failure::Failure,
};

pub(crate) fn run(options: Options, globals: &Globals) -> Result<(), Failure> {
    let configuration = serde_json::to_string(&configuration(options, globals))
        .map_err(|error| Failure::error(format!("can't hand over the options: {error}")))?;
    let program = program();
    let mut command = Command::new(&program);
    command.arg(CONFIGURATION).arg(configuration);
    let error = become_it(command);
    if error.kind() == io::ErrorKind::NotFound {
        return Err(Failure::error(format!("the load tool `{PROGRAM}` is neither beside this program nor in PATH"))
            .hint(format!("build it: cargo build --workspace --locked --bins; or put `{PROGRAM}` beside `quorus`")));
    }
    Err(Failure::error(format!("can't start {}: {error}", program.display())))
}

fn configuration(options: Options, globals: &Globals) -> Configuration {
    let output = match globals.output {
        Format::Table => Output::Table,
        Format::Json => Output::Json,
        Format::Yaml => Output::Yaml,
    };
    let namespace = globals.namespace.clone().unwrap_or_else(|| "default".to_owned());
    Configuration { endpoints: globals.endpoints.clone(), namespace, output, quiet: globals.quiet, options }
}

/// The one beside this program, else whatever PATH has.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(PROGRAM));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
}

/// Goes on as the program: its output, exit code and signals need no passing on. Returns only if that failed.
fn become_it(mut command: Command) -> io::Error {
    std::os::unix::process::CommandExt::exec(&mut command)
}
