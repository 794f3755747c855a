//! The command line of `quorusd`: what can be asked, and who answers.
//!
//! Flags that set the configuration are made from the table of settings, so none can be forgotten: see [`settings`].
//! Exit codes are those of the whole project: 0 ok, 1 error, 2 usage (a wrong configuration included).

mod settings;

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use self::settings::SettingArgs;
use crate::{
    config::{Invalid, print},
    dev, serve,
    version::Version,
};

/// Exit code for a command line or configuration that can't be meant.
const USAGE: u8 = 2;

/// A node of Quorus: replicated workflows without a database or a broker.
#[derive(Debug, Parser)]
#[command(name = "quorusd", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node, from file, environment and flags.
    Serve(SettingArgs),
    /// Run a ready cluster on this machine, to try things and to develop against.
    Dev(DevArgs),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what this binary is.
    Version {
        /// Shape of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: VersionOutput,
    },
    /// Write a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
struct DevArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Folder for the nodes' data and logs, kept and used again. Default: a new one, deleted at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// gRPC port of the first node; the others follow.
    #[arg(long, default_value_t = 7401)]
    port: u16,
    /// HTTP port of the first node; the others follow.
    #[arg(long, default_value_t = 8401)]
    http_port: u16,
    /// Start a node that died again after two seconds.
    #[arg(long)]
    restart: bool,
    /// Write the nodes' logs only to files, not to the terminal.
    #[arg(long)]
    quiet: bool,
    /// Flags for each node, as `quorusd serve` takes them.
    #[arg(last = true, value_name = "SERVE FLAGS")]
    flags: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show each value with its origin, or say everything that is wrong.
    Print {
        /// Shape of the answer; toml is a file that says the same.
        #[arg(short, long, value_enum, default_value = "table")]
        output: ConfigOutput,
        #[command(flatten)]
        settings: SettingArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConfigOutput {
    Table,
    Json,
    Toml,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VersionOutput {
    Text,
    Json,
}

/// Does what the command line asks.
pub fn run() -> ExitCode {
    match answer(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}: {error:#}", painted_error());
            ExitCode::from(if error.is::<Invalid>() { USAGE } else { 1 })
        }
    }
}

fn answer(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(settings) => serve::run(load(&settings)?.config),
        Command::Dev(args) => dev::run(dev::Options {
            nodes: args.nodes,
            data: args.data,
            port: args.port,
            http_port: args.http_port,
            restart: args.restart,
            quiet: args.quiet,
            flags: args.flags,
        }),
        Command::Config(ConfigCommand::Print { output, settings }) => {
            let resolved = load(&settings)?;
            anstream::print!(
                "{}",
                match output {
                    ConfigOutput::Table => print::table(&resolved),
                    ConfigOutput::Json => print::json(&resolved),
                    ConfigOutput::Toml => print::toml(&resolved),
                }
            );
            Ok(())
        }
        Command::Version { output } => {
            match output {
                VersionOutput::Text => anstream::println!("{}", Version::current()),
                VersionOutput::Json => anstream::print!("{}", Version::current().json()),
            }
            Ok(())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quorusd", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).context("writing the completion script")
        }
    }
}

/// Resolves the configuration; warnings go to standard error.
fn load(settings: &SettingArgs) -> Result<crate::config::Resolved, Invalid> {
    let (resolved, warnings) = settings.resolve(std::env::vars())?;
    for warning in warnings {
        anstream::eprintln!("warning: {warning}");
    }
    Ok(resolved)
}

fn painted_error() -> impl std::fmt::Display {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    format!("{style}error{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_that_is_given_twice_counts_once() {
        let cli = Cli::try_parse_from(["quorusd", "config", "print", "--shards", "4", "--shards", "8"]).unwrap();
        let Command::Config(ConfigCommand::Print { settings, .. }) = cli.command else { panic!("not config print: {cli:?}") };
        assert_eq!(settings.resolve([]).unwrap().0.config.shards, 8);
    }

    #[test]
    fn dev_passes_flags_after_two_dashes_on() {
        let cli = Cli::try_parse_from(["quorusd", "dev", "--nodes", "3", "--", "--lease", "5s"]).unwrap();
        let Command::Dev(args) = cli.command else { panic!("not dev: {cli:?}") };
        assert_eq!((args.nodes, args.flags), (3, vec!["--lease".to_owned(), "5s".to_owned()]));
    }
}
