//! Flags that every command takes, and readers of values that several take.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, ValueEnum};
use quorus_client::{DEFAULT_ENDPOINT, v1::Principal};

use super::{
    context::{Context, Contexts},
    failure::Failure,
};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

/// How results are asked for: the formats, and variants that some commands know; the others take them for the format that they are a variant of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// For people
    #[default]
    Table,
    /// For people, with all columns
    Wide,
    /// For programs
    Json,
    /// For programs, a line for each, as they come
    Jsonl,
    /// For both
    Yaml,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Nodes to ask, as host:port; several separated by commas allow failover [default: those of the context, else http://127.0.0.1:7401]
    #[arg(long, global = true, env = "QUORUS_ENDPOINTS", value_delimiter = ',', value_name = "LIST", hide_env_values = true)]
    pub(crate) endpoints: Vec<String>,
    /// Context to take endpoints and namespace from [default: the one of `quorus context use`]
    #[arg(long, global = true, env = "QUORUS_CONTEXT", value_name = "NAME", hide_env_values = true)]
    pub(crate) context: Option<String>,
    /// Namespace [default: that of the context, else default]
    #[arg(long, short, global = true, env = "QUORUS_NAMESPACE", value_name = "NAME", hide_env_values = true)]
    pub(crate) namespace: Option<String>,
    /// How to write results
    #[arg(
        id = "output",
        long = "output",
        short = 'o',
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true,
        help = "How to write results: table, json or yaml; lists also wide and jsonl"
    )]
    pub(crate) shape: Shape,
    /// What `shape` is a variant of
    #[arg(skip)]
    pub(crate) output: Format,
    /// How long a call may take, with all its tries; and how long to wait for a run [default: 15s for calls, no bound for waiting]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Name that is recorded with changes, unverified (default: $USER@host)
    #[arg(long = "as", global = true, value_name = "SUBJECT")]
    pub(crate) subject: Option<String>,
    /// Write only what was asked for: no progress, no notes
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to use colours: auto, always or never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", hide_possible_values = true)]
    pub(crate) color: Color,
}

impl Globals {
    /// Fills in what follows from what was given.
    pub(crate) fn settled(mut self) -> Self {
        self.output = match self.shape {
            Shape::Table | Shape::Wide => Format::Table,
            Shape::Json | Shape::Jsonl => Format::Json,
            Shape::Yaml => Format::Yaml,
        };
        self
    }

    /// Sets the choice for everything that writes.
    pub(crate) fn apply_color(&self) {
        let choice = match self.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }

    /// What was said about the cluster, by flags or the environment.
    pub(crate) fn given(&self) -> Context {
        Context { endpoints: self.endpoints.clone(), namespace: self.namespace.clone() }
    }

    /// Fills in from the context what neither flags nor the environment say.
    pub(crate) fn resolve(&mut self) -> Result<(), Failure> {
        if self.endpoints.is_empty() || self.namespace.is_none() || self.context.is_some() {
            let contexts = Contexts::load()?;
            if let Some(context) = contexts.select(self.context.as_deref())? {
                if self.endpoints.is_empty() {
                    self.endpoints.clone_from(&context.endpoints);
                }
                if self.namespace.is_none() {
                    self.namespace.clone_from(&context.namespace);
                }
            }
        }
        if self.endpoints.is_empty() {
            self.endpoints.push(DEFAULT_ENDPOINT.to_owned());
        }
        Ok(())
    }

    /// Who asks, as far as this machine knows.
    pub(crate) fn principal(&self) -> Principal {
        let subject = self.subject.clone().unwrap_or_else(|| {
            let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
            format!("{user}@{}", host_name())
        });
        Principal { subject, ..Default::default() }
    }
}

/// The machine's name; `localhost` if it has none.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Reads `30s`, `5m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = quorus_spec::parse_duration(text).map_err(|error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "a duration can't be negative".to_owned())
}

/// Reads `key=value`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value".to_owned()),
    }
}

/// The last value of each key.
pub(crate) fn labels(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().collect()
}

/// Reads a JSON value given as text, as `@file` or as `-` for stdin; a mistake is shown with its place.
pub(crate) fn json_text(flag: &str, argument: &str) -> Result<String, Failure> {
    let (text, from) = if argument == "-" {
        (super::source::read_stdin()?, "stdin".to_owned())
    } else if let Some(path) = argument.strip_prefix('@') {
        (std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("can't read `{path}`: {error}")))?, path.to_owned())
    } else {
        (argument.to_owned(), flag.to_owned())
    };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        return Err(Failure::usage(bad_json(&from, &text, &error)));
    }
    Ok(text)
}

/// Says what is wrong and points at it.
fn bad_json(from: &str, text: &str, error: &serde_json::Error) -> String {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or(&what);
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // serde_json counts bytes; people look at characters.
    let before = line.get(..error.column().saturating_sub(1)).map_or(error.column().saturating_sub(1), |before| before.chars().count());
    let start = before.saturating_sub(60);
    let shown: String = line.chars().skip(start).take(100).collect();
    format!(
        "{from}: not JSON: {what} at line {}, column {}\n  | {shown}\n  | {}^",
        error.line(),
        error.column(),
        " ".repeat(before - start)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_json_is_shown_with_its_place() {
        let failure = json_text("--input", "{\"a\": 1,\n \"b\": x}").unwrap_err();
        assert_eq!(failure.code(), 2);
        assert_eq!(failure.message(), "--input: not JSON: expected value at line 2, column 7\n  |  \"b\": x}\n  |       ^");
    }

    #[test]
    fn labels_need_a_key() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("=b").is_err());
        assert!(key_value("a").is_err());
    }

    #[test]
    fn durations_are_the_ones_of_definitions() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("5").is_err());
        assert!(duration("-5s").is_err());
    }
}
