//! Which fields which kinds of step know. The reference prints it.

use crate::Kind;

/// Every kind of step, as definitions call it.
pub const KINDS: [&str; 13] =
    ["task", "http", "wait", "signal", "approval", "gate", "group", "for_each", "repeat", "workflow", "set", "emit", "fail"];

const EXECUTED: &[&str] = &["task", "http", "gate", "emit"];
const RETRIED: &[&str] = &["task", "http", "gate", "emit", "group", "for_each", "repeat", "workflow"];
const UNDONE: &[&str] = &["task", "http", "emit", "group", "for_each", "repeat", "workflow"];
const TIMED: &[&str] = &["task", "http", "wait", "signal", "approval", "gate", "group", "for_each", "repeat", "workflow", "emit"];

/// Fields of a step with the kinds that know them. The other fields (`id`, `needs`, `if`, `run_on`, `continue_on_error`, `description` and
/// `labels`) are known by every kind.
pub const FIELDS: [(&str, &[&str]); 10] = [
    ("with", &["task", "workflow"]),
    ("retry", RETRIED),
    ("timeout", TIMED),
    ("attempt_timeout", EXECUTED),
    ("schedule_timeout", EXECUTED),
    ("heartbeat_timeout", &["task"]),
    ("compensate", UNDONE),
    ("point_of_no_return", &["task", "http", "emit"]),
    ("limits", EXECUTED),
    ("output_schema", &["task", "http", "signal", "workflow"]),
];

/// The kind as definitions call it.
pub(super) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Task(_) => "task",
        Kind::Wait(_) => "wait",
        Kind::Set(_) => "set",
        Kind::Http(_) => "http",
        Kind::Signal(_) => "signal",
        Kind::Approval(_) => "approval",
        Kind::Gate(_) => "gate",
        Kind::Group(_) => "group",
        Kind::ForEach(_) => "for_each",
        Kind::Repeat(_) => "repeat",
        Kind::Workflow(_) => "workflow",
        Kind::Emit(_) => "emit",
        Kind::Fail(_) => "fail",
    }
}
