//! What people see.

use std::{io::Write as _, path::Path, sync::LazyLock, time::Instant};

use anstyle::{AnsiColor, Style};
use quorus_proto::v1::{EventType, HistoryEvent};

use super::Outcome;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Time zero of the story.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How many findings of a kind are listed.
const FINDINGS_MAX: usize = 20;

/// The story begins now.
pub(super) fn begin() {
    LazyLock::force(&BEGIN);
}

fn line(style: Style, text: &str) {
    // Whoever closed the pipe has seen enough.
    let _ = writeln!(anstream::stdout().lock(), "{DIM}{:6.2}s{DIM:#}  {style}{text}{style:#}", BEGIN.elapsed().as_secs_f64());
}

/// Something that the demo did or saw.
pub(super) fn note(text: &str) {
    line(Style::new(), text);
}

/// Something that nobody should miss.
pub(super) fn shout(text: &str) {
    line(RED, &format!("==> {text}"));
}

/// What went wrong.
pub(super) fn problem(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{RED}demo: {text}{RED:#}");
}

/// The end of a log.
pub(super) fn log(path: &Path, lines: &[&str]) {
    let mut out = anstream::stderr().lock();
    let _ = writeln!(out, "{BOLD}--- {}{BOLD:#}", path.display());
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

/// One event of the big run's history.
pub(super) fn event(event: &HistoryEvent) {
    if let Some((style, text)) = describe(event) {
        line(style, &format!("  {:10} {text}", if event.step.is_empty() { "run" } else { &event.step }));
    }
}

fn describe(event: &HistoryEvent) -> Option<(Style, String)> {
    let status = |name: &str| name.rsplit("STATUS_").next().unwrap_or(name).to_ascii_lowercase();
    Some(match event.r#type() {
        EventType::RunStarted => (BOLD, "started".to_owned()),
        EventType::StepLeased => (DIM, format!("attempt {} goes to {}", event.attempt, event.worker)),
        EventType::AttemptEnded if event.outcome != "succeeded" => {
            let why = event.failure.as_ref().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
            (YELLOW, format!("attempt {} {}{why}", event.attempt, event.outcome))
        }
        EventType::StepWaiting => (DIM, "waits".to_owned()),
        EventType::StepEnded => (GREEN, status(event.step_status().as_str_name())),
        EventType::RunFailing | EventType::RunCancelRequested => (RED, status(event.run_status().as_str_name())),
        EventType::RunEnded => (BOLD, status(event.run_status().as_str_name())),
        _ => return None,
    })
}

/// The verdict; true if it is clean. Its last line is the last of the demo.
pub(super) fn verdict(outcome: &Outcome) -> bool {
    let audit = &outcome.audit;
    for (kind, findings) in [("lost", &audit.lost), ("orphaned", &audit.orphaned), ("duplicated", &audit.duplicated)] {
        for finding in findings.iter().take(FINDINGS_MAX) {
            problem(&format!("{kind}: {finding}"));
        }
    }
    let probe = &outcome.probe;
    note(&format!("the workers' ledgers show {} attempts", audit.attempts));
    note(&format!("the probe completed {} starts on the shard, {} tries were refused or lost", probe.completed, probe.refused));
    let _ = writeln!(anstream::stdout().lock(), "{}", last_line(outcome));
    audit.is_clean()
}

fn last_line(outcome: &Outcome) -> String {
    let audit = &outcome.audit;
    format!(
        "demo: {} runs, {} steps, {} lost, {} orphaned, {} duplicated, gap {} ms",
        audit.runs,
        audit.steps,
        audit.lost.len(),
        audit.orphaned.len(),
        audit.duplicated.len(),
        outcome.probe.gap.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{audit::Audit, probe::Report};

    #[test]
    fn the_last_line_has_the_promised_form() {
        let audit = Audit { runs: 21, steps: 32, ..Audit::default() };
        let outcome = Outcome { audit, probe: Report { gap: Duration::from_millis(640), ..Report::default() } };
        assert_eq!(last_line(&outcome), "demo: 21 runs, 32 steps, 0 lost, 0 orphaned, 0 duplicated, gap 640 ms");
    }
}
