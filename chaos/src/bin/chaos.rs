//! `quorus-chaos`: game days, simulations and verdicts. The verbs are in [`quorus_chaos::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    quorus_chaos::cli::main()
}
