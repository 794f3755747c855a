//! One form for all that mean the same, so that applying a definition again makes no new version.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value as Wire};
use quorus_proto::v1::Workflow;
use sha2::{Digest, Sha256};

use crate::schema;

/// The canonical bytes of a definition and their SHA-256.
///
/// The bytes are an encoded message: fields in order of their numbers, maps in order of their keys, templates as compact JSON with keys in
/// order. Two texts that differ in layout, comments, order of keys or spelling of durations give the same bytes.
///
/// ```
/// use quorus_spec::{canonical, read};
/// let text = |with| format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: x}}\nspec: {{steps: [{{id: a, set: {with}}}]}}\n");
/// let digest = |text: String| canonical(&read(&text, "x").workflow.unwrap()).1;
/// assert_eq!(digest(text("{a: 1, b: 2}")), digest(text("{b: 2, a: 0x1}")));
/// assert_ne!(digest(text("{a: 1, b: 2}")), digest(text("{a: 1, b: 3}")));
/// ```
pub fn canonical(workflow: &Workflow) -> (Bytes, [u8; 32]) {
    let sorted = sorted(workflow);
    let bytes = Bytes::from(sorted.as_ref().unwrap_or(workflow).encode_to_vec());
    let digest = Sha256::digest(&bytes).into();
    (bytes, digest)
}

/// A digest as people see it.
pub fn digest_hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Wherever JSON stands in the message, its keys are put in order. `None` only for what was never a message.
fn sorted(workflow: &Workflow) -> Option<Workflow> {
    let mut message = DynamicMessage::new(schema::workflow());
    message.transcode_from(workflow).ok()?;
    sort_message(&mut message);
    message.transcode_to().ok()
}

fn sort_message(message: &mut DynamicMessage) {
    if matches!(message.descriptor().full_name(), schema::TEMPLATE | schema::JSON_VALUE) {
        if let Some(Wire::String(json)) = message.get_field_by_name_mut("json") {
            sort_json(json);
        }
        return;
    }
    for (_, value) in message.fields_mut() {
        sort_value(value);
    }
}

fn sort_value(value: &mut Wire) {
    match value {
        Wire::Message(message) => sort_message(message),
        Wire::List(values) => values.iter_mut().for_each(sort_value),
        Wire::Map(entries) => entries.values_mut().for_each(sort_value),
        Wire::Bool(_)
        | Wire::I32(_)
        | Wire::I64(_)
        | Wire::U32(_)
        | Wire::U64(_)
        | Wire::F32(_)
        | Wire::F64(_)
        | Wire::String(_)
        | Wire::Bytes(_)
        | Wire::EnumNumber(_) => {}
    }
}

/// What is no JSON stays as it is: nothing that passed [`fn@crate::check`] has it.
fn sort_json(json: &mut String) {
    if let Ok(mut value) = serde_json::from_str::<serde_json::Value>(json) {
        value.sort_all_objects();
        *json = value.to_string();
    }
}
