//! `quorusd`: a node of Quorus. What it can do is in [`quorus_node::cli`].

use std::process::ExitCode;

/// One allocator for Rust and for RocksDB's C++ (its feature `jemalloc`): two would fragment each other's memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    quorus_node::cli::run()
}
