//! What is known of the outputs of kinds without a schema of their own: so that misspelt paths are found.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::Kind;

static HTTP: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {"status": {"type": "integer"}, "headers": {"type": "object", "additionalProperties": {"type": "string"}}, "body": true},
        "additionalProperties": false,
    })
});
static GATE: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {"values": {"type": "object", "additionalProperties": {"type": "number"}}},
        "additionalProperties": false,
    })
});
static FOR_EACH: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {"total": {"type": "integer"}, "succeeded": {"type": "integer"}, "failed": {"type": "integer"}, "items": {"type": "array"}},
        "additionalProperties": false,
    })
});

/// JSON Schema of what a step of this kind returns, as far as that is known.
pub(super) fn schema(kind: &Kind) -> Option<&'static Value> {
    match kind {
        Kind::Http(_) => Some(&HTTP),
        Kind::Gate(_) => Some(&GATE),
        Kind::ForEach(_) => Some(&FOR_EACH),
        Kind::Task(_)
        | Kind::Wait(_)
        | Kind::Set(_)
        | Kind::Signal(_)
        | Kind::Approval(_)
        | Kind::Group(_)
        | Kind::Repeat(_)
        | Kind::Workflow(_)
        | Kind::Emit(_)
        | Kind::Fail(_) => None,
    }
}
