//! `make demo`. The story is in [`quorus_chaos::demo`].

use std::process::ExitCode;

use clap::Parser;
use quorus_chaos::demo::{self, Options};

fn main() -> ExitCode {
    demo::main(&Options::parse())
}
