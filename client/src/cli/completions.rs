//! `quorus completions`: a script that completes this command in a shell.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, failure::Failure, term};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "quorus", &mut script);
    term::print_bytes(&script)
}
