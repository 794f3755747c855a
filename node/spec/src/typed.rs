//! Definitions of one kind that are no workflows (schedules, triggers), in the same form and with the same reader.
//!
//! The message says what its fields are called and take; what it means is for its owner to check.

use prost_reflect::prost::{Message, Name};

use crate::{
    diagnostic::Diagnostic,
    engine::Problem,
    header::API_VERSION,
    read::{Read, read_message},
    schema,
};

/// Reads a text with one definition of a kind. `name` is what messages call the text, for example the file's name.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn read_resource<M: Message + Name + Default>(text: &str, name: &str, kind: &str) -> Result<M, Vec<Diagnostic>> {
    let Some(descriptor) = schema::by_full_name(&M::full_name()) else {
        // Only a message of another crate is not among the descriptors.
        return Err(Vec::new());
    };
    let (message, read) = read_message(text, name, &descriptor, kind);
    match message.and_then(|message| message.transcode_to().ok()) {
        Some(message) if !read.diagnostics.iter().any(Diagnostic::is_error) => Ok(message),
        _ => Err(read.into_diagnostics()),
    }
}

/// Places problems that were found elsewhere, for example by a node, in the text in which the definition was written.
pub fn place_problems<M: Message + Name + Default>(text: &str, name: &str, kind: &str, problems: &[Problem]) -> Vec<Diagnostic> {
    let Some(descriptor) = schema::by_full_name(&M::full_name()) else { return Vec::new() };
    let (_, read): (_, Read) = read_message(text, name, &descriptor, kind);
    problems.iter().map(|problem| read.locate(problem)).collect()
}

/// The checks of what every definition starts with.
pub(crate) fn check_kind(api_version: &str, kind: &str, expected: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, value, expected) in [("api_version", api_version, API_VERSION), ("kind", kind, expected)] {
        if value.is_empty() {
            let problem = Problem::error(path, "missing-field", format!("`{path}` is missing"));
            problems.push(problem.with_hint(format!("add `{path}: {expected}`")));
        } else if value != expected {
            let problem = Problem::error(path, "wrong-value", format!("`{path}` is `{value}`, expected `{expected}`"));
            problems.push(problem.with_hint(format!("write `{path}: {expected}`")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{Schedule, schedule_spec::When};

    use super::*;

    const NIGHTLY: &str = "api_version: quorus/v1
kind: Schedule
metadata: {name: nightly}
spec:
  every: 15m
  overlap: buffer_one
  run: {workflow: report, input: {day: \"${schedule.scheduled_at}\"}}
";

    #[test]
    fn a_schedule_is_read_in_the_form_of_workflows() {
        let schedule: Schedule = read_resource(NIGHTLY, "s.yaml", "Schedule").unwrap();
        let spec = schedule.spec.unwrap();
        assert!(matches!(spec.when, Some(When::Every(duration)) if duration.seconds == 900));
        assert_eq!(spec.run.unwrap().input.unwrap().json, r#"{"day":"${schedule.scheduled_at}"}"#);
    }

    #[test]
    fn mistakes_are_placed_and_hinted_at() {
        let text = NIGHTLY
            .replace("overlap: buffer_one", "overlap: bufer_one")
            .replace("every", "evry")
            .replace("kind: Schedule", "kind: Workflow");
        let found = read_resource::<Schedule>(&text, "s.yaml", "Schedule").unwrap_err();
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "s.yaml:2:7: error[wrong-value]: `kind` is `Workflow`, expected `Schedule`",
                "s.yaml:5:3: error[unknown-field]: unknown field `evry` in `spec`",
                "s.yaml:6:12: error[unknown-value]: `spec.overlap` can't be the text \"bufer_one\"",
            ]
        );
        let document =
            read_resource::<Schedule>("api_version: quorus/v1\nkind: Schedule\nmetdata: {}\n", "s.yaml", "Schedule").unwrap_err();
        assert_eq!(document[0].message, "unknown field `metdata` in the schedule");
    }

    #[test]
    fn what_a_node_found_is_placed_in_the_text() {
        let placed = place_problems::<Schedule>(NIGHTLY, "s.yaml", "Schedule", &[Problem::error("spec.run.workflow", "x", "is unknown")]);
        assert_eq!((placed[0].line, placed[0].column), (7, 19));
    }
}
