//! Writing to the terminal: stdout for what was asked for, stderr for everything else. Colours are removed where they don't belong.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::{
    args::{Format, Globals},
    failure::Failure,
};

/// Writes to stdout, all at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes bytes to stdout as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Writes to stderr. That it can't be read is nobody's loss.
pub(crate) fn note(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Writes a line for people who wait to stderr.
pub(crate) fn remark(globals: &Globals, text: &str) {
    if !globals.quiet {
        note(&format!("{text}\n"));
    }
}

pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes a value as the flags ask for; `table` is for people.
pub(crate) fn print_as(globals: &Globals, value: impl FnOnce() -> Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
    match globals.output {
        Format::Table => print(&table()),
        Format::Json => print(&json(&value())),
        Format::Yaml => print(&yaml(&value())?),
    }
}

/// Indented, with a line break at the end.
pub(crate) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    let mut text = serde_saphyr::to_string(value).map_err(|error| Failure::error(format!("can't write YAML: {error}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
