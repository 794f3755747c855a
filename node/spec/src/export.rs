//! Histories as JSON lines: what `quorus runs export` writes, and nodes before they remove a run.
//!
//! A run is a line with the run, a line for each event, and a line that says that this is all: a reader that finds the last one has the whole run.
//! Every line says what it is and which run it belongs to, so that the lines can be sorted, filtered and loaded by tools that look at one at a time.

use quorus_proto::v1::{HistoryEvent, Run};
use serde_json::{Value, json};

use crate::render;

/// The first line of a run: the run without its steps, which the events tell.
pub fn run_line(run: &Run) -> String {
    let run = Run { steps: Vec::new(), ..run.clone() };
    line(&json!({"type": "run", "run_uid": run.run_uid, "run": render::value(&run)}))
}

/// The line of an event.
pub fn event_line(run_uid: &str, event: &HistoryEvent) -> String {
    line(&json!({"type": "event", "run_uid": run_uid, "event": render::value(event)}))
}

/// The last line of a run.
pub fn end_line(run: &Run) -> String {
    line(&json!({"type": "end", "run_uid": run.run_uid, "started_at": run.started_at.map(|time| time.to_string())}))
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_json_and_says_what_it_is() {
        let run = Run { run_uid: "ab".to_owned(), steps: vec![Default::default()], ..Run::default() };
        let event = HistoryEvent { sequence: 1, ..HistoryEvent::default() };
        let lines = [run_line(&run), event_line("ab", &event), end_line(&run)];
        let kinds = lines.map(|line| {
            assert!(line.ends_with('\n') && line.lines().count() == 1);
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["run_uid"], "ab");
            assert_eq!(value["run"]["steps"], Value::Null);
            value["type"].as_str().unwrap().to_owned()
        });
        assert_eq!(kinds, ["run", "event", "end"]);
    }
}
