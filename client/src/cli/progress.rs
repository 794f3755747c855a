//! The view of a watched run on a terminal: what ended scrolls away above, what is under way is redrawn in place.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use quorus_client::v1::{EventType, WatchRunResponse};

use super::{
    text::{now, span},
    view::{self, View},
};

/// How often times are redrawn.
pub(crate) const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// More would not fit on a small terminal.
const ROWS_MAX: usize = 12;

pub(crate) struct Progress {
    view: View,
    bars: MultiProgress,
    head: ProgressBar,
    rows: Vec<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bars = MultiProgress::new();
        let head = bars.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} steps").unwrap_or_else(|_| ProgressStyle::default_bar());
        head.set_style(style.progress_chars("=> "));
        Self { view: View::default(), bars, head, rows: Vec::new() }
    }

    pub(crate) fn apply(&mut self, item: &WatchRunResponse) {
        self.view.apply(item);
        for event in &item.events {
            let over = matches!(
                event.r#type(),
                EventType::StepEnded | EventType::RunEnded | EventType::RunFailing | EventType::RunCancelRequested
            );
            let failed = event.r#type() == EventType::AttemptEnded && event.failure.is_some();
            if over || failed {
                // Without a terminal there is no progress; nothing is lost when it can't be drawn.
                let _ = self.bars.println(view::line(event));
            }
        }
        self.redraw();
    }

    pub(crate) fn redraw(&mut self) {
        let now = now();
        let (ended, total) = self.view.counts();
        self.head.set_length(total);
        self.head.set_position(ended);
        self.head.set_message(format!("{} {}", self.view.status(), span(self.view.elapsed(&now))));
        let mut lines = self.view.lines(&now);
        if lines.len() > ROWS_MAX {
            let more = lines.len() - (ROWS_MAX - 1);
            lines.truncate(ROWS_MAX - 1);
            lines.push(format!("… and {more} more"));
        }
        while self.rows.len() > lines.len() {
            if let Some(row) = self.rows.pop() {
                row.finish_and_clear();
                self.bars.remove(&row);
            }
        }
        while self.rows.len() < lines.len() {
            let row = self.bars.add(ProgressBar::new_spinner());
            row.set_style(ProgressStyle::with_template("  {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            self.rows.push(row);
        }
        for (row, line) in self.rows.iter().zip(lines) {
            row.set_message(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // The last state of the steps says nothing once nobody looks; the lines above stay.
        let _ = self.bars.clear();
    }
}
