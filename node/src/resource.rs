//! What schedules and triggers have in common as definitions: a header, a canonical form, and how their mistakes are told.

use bytes::Bytes;
use prost::Message;
use quorus_proto::v1::{self, Metadata, Template};
use quorus_spec::Problem;
use sha2::{Digest, Sha256};

/// Labels that start with it are ours.
pub(crate) const RESERVED_LABEL: &str = "quorus.";
/// Names are parts of run ids.
const NAME_CHARS_MAX: usize = 63;
const LABELS_MAX: usize = 60;

/// The checks of what every definition starts with.
pub(crate) fn check_header(api_version: &str, kind: &str, expected_kind: &str, metadata: Option<&Metadata>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, value, expected) in [("api_version", api_version, quorus_spec::API_VERSION), ("kind", kind, expected_kind)] {
        if value.is_empty() {
            problems.push(missing(path, format!("add `{path}: {expected}`")));
        } else if value != expected {
            let message = format!("`{path}` is `{value}`, expected `{expected}`");
            problems.push(Problem::error(path, "wrong-value", message).with_hint(format!("write `{path}: {expected}`")));
        }
    }
    match metadata {
        None => problems.push(missing("metadata", "add `metadata: {name: ...}`")),
        Some(metadata) if metadata.name.is_empty() => {
            problems.push(missing("metadata.name", "give it one, in lower-case letters, digits and dashes"));
        }
        Some(metadata) if !is_resource_name(&metadata.name) => {
            let message = format!("`{}` is no name", metadata.name);
            problems.push(Problem::error("metadata.name", "bad-name", message).with_hint(
                "a name has lower-case letters, digits and dashes, begins with a letter, ends without a dash, and has at most 63 characters",
            ));
        }
        Some(_) => {}
    }
    problems
}

/// The checks of labels that go to runs.
pub(crate) fn check_labels<'a>(path: &str, keys: impl ExactSizeIterator<Item = &'a String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if keys.len() > LABELS_MAX {
        problems.push(Problem::error(path, "too-many", format!("more than {LABELS_MAX} labels")));
    }
    for key in keys.filter(|key| key.starts_with(RESERVED_LABEL)) {
        problems.push(Problem::error(
            format!("{path}.{key}"),
            "reserved-label",
            format!("labels that start with `{RESERVED_LABEL}` are reserved"),
        ));
    }
    problems
}

/// Something is not there.
pub(crate) fn missing(path: &str, hint: impl Into<String>) -> Problem {
    Problem::error(path, "missing-field", format!("`{path}` is missing")).with_hint(hint)
}

/// A problem of an expression in a field, at its place in the document.
pub(crate) fn at(field: &str, problem: Problem) -> Problem {
    Problem { path: format!("{field}{}", problem.path), ..problem }
}

/// Reads a template's JSON.
pub(crate) fn template_value(path: &str, template: &Template) -> Result<serde_json::Value, Problem> {
    serde_json::from_str(&template.json).map_err(|error| Problem::error(path, "bad-json", format!("`{path}` is not JSON: {error}")))
}

/// The same value for all templates that mean the same.
pub(crate) fn sort_template(template: &mut Template) {
    if let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&template.json) {
        value.sort_all_objects();
        template.json = value.to_string();
    }
}

/// Encoded, and the SHA-256 of that.
pub(crate) fn encode(definition: &impl Message) -> (Bytes, Bytes) {
    let bytes = Bytes::from(definition.encode_to_vec());
    let digest = Bytes::copy_from_slice(&Sha256::digest(&bytes));
    (bytes, digest)
}

/// Bytes as people see them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name that is a function of texts: 20 characters, enough for events of years never to share one.
pub(crate) fn short_hash(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex(&hash.finalize()[..10])
}

/// Milliseconds of a duration; `None` if it is negative or longer than 10 years.
pub(crate) fn millis(duration: &prost_types::Duration) -> Option<i64> {
    let in_range = (0..=315_360_000).contains(&duration.seconds) && (0..1_000_000_000).contains(&duration.nanos);
    in_range.then(|| duration.seconds * 1000 + i64::from(duration.nanos) / 1_000_000)
}

/// Problems as answers carry them.
pub(crate) fn wire(problem: Problem) -> v1::Problem {
    v1::Problem {
        path: problem.path,
        code: problem.code.to_owned(),
        message: problem.message,
        hint: problem.hint.unwrap_or_default(),
        warning: problem.warning,
        ..v1::Problem::default()
    }
}

fn is_resource_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= NAME_CHARS_MAX && name.chars().all(allowed) && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-')
}
