//! `quorus-planted`: the same program as `quorus-chaos`, with bugs in what it simulates. A name of its own, so that no build with planted bugs lies where
//! somebody looks for the real one.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorus_chaos::cli::main()
}
