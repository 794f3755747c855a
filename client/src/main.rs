//! `quorus`, the command line of Quorus.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
