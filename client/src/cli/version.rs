//! `quorus version`.

use serde_json::json;

use super::{args::Globals, failure::Failure, term};

pub(crate) fn run(globals: &Globals) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    term::print_as(globals, || json!({"version": version, "api": "quorus.v1"}), || format!("quorus {version}, API quorus.v1\n"))
}
