//! The log: human on a terminal, JSON otherwise.
//!
//! Logs go to standard error, so that standard output stays free for what a command answers.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Log, LogFormat};

/// Directives that always hold unless the level names the same target: libraries that tell more than an operator can use.
const QUIET: &[&str] = &["h2=warn", "hyper=warn", "tower=warn", "openraft=error", "ractor=warn"];

/// Starts the log of this process. A second call does nothing, so that several nodes can live in one process.
pub fn init(log: &Log) {
    let human = match log.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter(&log.level));
    let started = if human {
        let colored = wants_color(io::stderr().is_terminal(), |name| std::env::var(name).ok());
        registry.with(fmt::layer().with_writer(io::stderr).with_ansi(colored).with_target(false)).try_init()
    } else {
        let json = fmt::layer().json().with_writer(io::stderr).flatten_event(true).with_current_span(true).with_span_list(false);
        registry.with(json).try_init()
    };
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
}

/// The filter for a level that the configuration has checked.
fn filter(level: &str) -> EnvFilter {
    let quiet = QUIET.iter().filter(|directive| {
        let target = directive.split('=').next().unwrap_or_default();
        !level.contains(target)
    });
    let all = quiet.copied().chain([level]).collect::<Vec<_>>().join(",");
    EnvFilter::new(all)
}

/// The usual conventions: `NO_COLOR` forbids, `CLICOLOR_FORCE` demands, else a terminal decides.
fn wants_color(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
    if set("NO_COLOR") { false } else { set("CLICOLOR_FORCE") || terminal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatty_libraries_are_quiet_unless_they_are_named() {
        assert!(filter("info").to_string().contains("openraft=error"));
        let named = filter("info,openraft=debug").to_string();
        assert!(named.contains("openraft=debug") && !named.contains("openraft=error"), "{named}");
    }

    #[test]
    fn no_color_wins_over_everything() {
        let forced = |name: &str| (name == "CLICOLOR_FORCE").then(|| "1".to_owned());
        assert!(wants_color(false, forced));
        assert!(wants_color(true, |_| None));
        assert!(!wants_color(false, |_| None));
        assert!(!wants_color(true, |_| Some("1".to_owned())));
    }
}
