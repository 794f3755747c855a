//! Filters as text: what [`parse`](super::parse()) reads.

use std::fmt::{self, Write};

use quorus_engine::{RunStatus, Timestamp};

use super::{Comparison, Condition, Pattern, RunFilter};
use crate::codec;

impl RunFilter {
    /// The conditions as text, with absolute times.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for condition in &self.conditions {
            // Writing to a String can't fail.
            let _ = write!(text, "{}{condition}", if text.is_empty() { "" } else { " " });
        }
        text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunId { negated, any } => texts(f, "id", *negated, any),
            Self::Workflow { negated, any } => texts(f, "workflow", *negated, any),
            Self::Parent { negated, any } => texts(f, "parent", *negated, any),
            Self::ErrorType { negated, any } => texts(f, "error", *negated, any),
            Self::Label { name, negated, any } if any.is_empty() => write!(f, "{}label.{}", if *negated { "!" } else { "" }, name_of(name)),
            Self::Label { name, negated, any } => texts(f, &format!("label.{}", name_of(name)), *negated, any),
            Self::Status { negated, any } => {
                let names: Vec<String> = any.iter().map(|status| status_name(*status)).collect();
                write!(f, "status{}{}", equals(*negated), names.join(","))
            }
            Self::Version(comparison, version) => write!(f, "version{comparison}{version}"),
            Self::Started(comparison, time) => write!(f, "started{comparison}{}", absolute(*time)),
            Self::Ended(comparison, time) => write!(f, "ended{comparison}{}", absolute(*time)),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

/// `RUN_STATUS_RUNNING` is `running`.
pub(super) fn status_name(status: RunStatus) -> String {
    let name = codec::run_status_to_proto(status).as_str_name();
    name.strip_prefix("RUN_STATUS_").unwrap_or(name).to_lowercase()
}

fn texts(f: &mut fmt::Formatter<'_>, field: &str, negated: bool, any: &[Pattern]) -> fmt::Result {
    let patterns: Vec<String> = any
        .iter()
        .map(|pattern| match pattern {
            Pattern::Exact(text) => word(text),
            Pattern::Prefix(text) => format!("{}*", word(text)),
        })
        .collect();
    write!(f, "{field}{}{}", equals(negated), patterns.join(","))
}

fn equals(negated: bool) -> &'static str {
    if negated { "!=" } else { "=" }
}

/// A value, in quotes if it has to be.
fn word(text: &str) -> String {
    quoted_unless(text, |c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '@' | '+'))
}

/// The name of a label, in quotes if it has to be.
fn name_of(text: &str) -> String {
    quoted_unless(text, |c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
}

fn quoted_unless(text: &str, plain: impl Fn(char) -> bool) -> String {
    if !text.is_empty() && text.chars().all(&plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Milliseconds since the epoch: exact, and never taken for a date.
fn absolute(time: Timestamp) -> String {
    format!("@{}", time.0)
}
