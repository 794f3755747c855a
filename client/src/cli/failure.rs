//! Why a command did not succeed: an exit code, a sentence, and what to do about it.

use std::{io, process::ExitCode};

use anstyle::{AnsiColor, Style};
use quorus_client::{Error, exit_code};

/// The exit code of a process that a signal ended, as shells see it; used when the person pressed Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// See the module.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    hint: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new() }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(exit_code::ERROR, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit_code::USAGE, message)
    }

    /// Everything has been said already.
    pub(crate) fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Says what it is about.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            let mut text = format!("{ERROR}error:{ERROR:#} {}\n", self.message);
            if !self.hint.is_empty() {
                text.push_str(&format!("{HINT}hint:{HINT:#} {}\n", self.hint));
            }
            super::term::note(&text);
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        if let Error::Api(api) = &error {
            for violation in &api.violations {
                let code = if violation.reason.is_empty() { String::new() } else { format!(" [{}]", violation.reason) };
                message.push_str(&format!("\n  {}: {}{code}", violation.field, violation.description));
            }
        }
        Self::new(error.exit_code(), message).hint(hint(&error))
    }
}

fn hint(error: &Error) -> &'static str {
    match (error, error.reason()) {
        (Error::Unavailable { last, .. }, "") if last.from_transport => {
            "is a node running there? Start one with `quorusd dev`, or name others with --endpoints"
        }
        (Error::Unavailable { .. }, _) => "most nodes must be up for an answer; see `quorus cluster status`",
        (Error::TimedOut { .. }, _) => {
            "the node accepts connections but does not answer; see `quorus cluster status`, or give more time with --timeout"
        }
        (_, "WORKFLOW_NOT_FOUND") => "see `quorus workflows list`, and `quorus apply -f FILE` to make a workflow known",
        (_, "RUN_NOT_FOUND") => "see `quorus runs list`; runs belong to a namespace (-n)",
        (_, "SCHEDULE_NOT_FOUND") => "see `quorus schedules list`; schedules belong to a namespace (-n)",
        (_, "TRIGGER_NOT_FOUND") => "see `quorus triggers list`; triggers belong to a namespace (-n)",
        (_, "RUN_EXISTS") => "choose another --id, or say what to do with --on-conflict or --on-reuse",
        (_, "WORKFLOW_IN_USE") => "wait for the runs or cancel them, see `quorus runs list`; schedules have to be deleted first",
        (_, "RUN_ENDED") => "see `quorus runs describe`",
        (_, "UNKNOWN_STEP") => "see `quorus runs describe` for the steps",
        (_, "STEP_NOT_WAITING") => "see `quorus runs why` for what the run waits for",
        (_, "NOT_AN_APPROVER") => "name a role of yours with --role",
        (_, "UNVERIFIED_PRINCIPAL") => "the cluster was made with unverified_approvals = refuse",
        (_, "RUN_ACTIVE") => "cancel it first, or wait for its end",
        (_, "PAYLOAD_TOO_LARGE") => "values are at most 2 MiB; put large things elsewhere and pass a reference",
        (_, "OVERLOADED") => "the cluster refuses new work until it has caught up; try again later",
        _ => "",
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever reads our output has seen enough: `quorus runs list | head`.
        if error.kind() == io::ErrorKind::BrokenPipe { Self::silent(exit_code::OK) } else { Self::error(error.to_string()) }
    }
}
