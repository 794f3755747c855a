//! What people see while a game day is held, and at its end.

use std::{
    io::Write as _,
    sync::Mutex,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};

use super::super::{
    activity::Observer,
    journal::Run,
    model::{Activity, ActivityKind},
};

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Writes lines with the time since the beginning.
pub struct Show {
    begin: Instant,
    quiet: bool,
    /// Lines that were written, for the results folder.
    lines: Mutex<Vec<String>>,
}

impl Show {
    /// Begins now.
    pub fn new(quiet: bool) -> Self {
        Self { begin: Instant::now(), quiet, lines: Mutex::new(Vec::new()) }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// What was written so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    fn line(&self, style: Style, text: &str) {
        let seconds = self.begin.elapsed().as_secs_f64();
        if let Ok(mut lines) = self.lines.lock() {
            lines.push(format!("{seconds:7.2}s  {text}"));
        }
        if !self.quiet {
            // Whoever closed the pipe has seen enough.
            let _ = writeln!(anstream::stdout().lock(), "{DIM}{seconds:7.2}s{DIM:#}  {style}{text}{style:#}");
        }
    }

    /// A new part of the day.
    pub fn part(&self, text: &str) {
        self.line(BOLD, text);
    }

    /// Something that went well.
    pub fn good(&self, text: &str) {
        self.line(GREEN, text);
    }

    /// Something to look at.
    pub fn warn(&self, text: &str) {
        self.line(YELLOW, text);
    }

    /// Something that is wrong.
    pub fn bad(&self, text: &str) {
        self.line(RED, text);
    }

    /// Something that is asked again and again: only what is new is written.
    pub fn note_once(&self, text: &str) {
        let known = self.lines.lock().is_ok_and(|lines| lines.last().is_some_and(|last| last.ends_with(text)));
        if !known {
            self.line(DIM, text);
        }
    }

    /// Anything else.
    pub fn say(&self, text: &str) {
        self.line(PLAIN, text);
    }
}

impl Observer for Show {
    fn part(&self, title: &str) {
        Self::part(self, title);
    }

    fn begins(&self, activity: &Activity) {
        let what = match activity.kind {
            ActivityKind::Probe => "probe ",
            ActivityKind::Action => "action",
        };
        let beside = if activity.background { " (in the background)" } else { "" };
        self.say(&format!("  {what}  {}{beside}", activity.name));
    }

    fn ended(&self, activity: &Activity, run: &Run) {
        if !run.done() {
            let text = format!("          {}: {}", activity.name, run.trouble());
            // The answer of a probe is judged elsewhere: it may well be meant not to be 0.
            if activity.kind == ActivityKind::Action { self.bad(&text) } else { self.warn(&text) }
        }
    }

    fn note(&self, text: &str) {
        self.line(DIM, &format!("  {text}"));
    }
}
