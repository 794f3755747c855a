//! Messages of the API as JSON for people's programs.
//!
//! Unlike proto JSON: a payload is the value that it holds (not base64), a status is `running` (not `RUN_STATUS_RUNNING`), 64-bit numbers are
//! numbers, durations and definitions look as in files. `quorus api call` prints proto JSON.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Wire};
use quorus_proto::v1::{Payload, Template, Workflow};
use serde_json::{Map, Value};

/// Descriptors of the API.
#[expect(clippy::expect_used, reason = "the bytes are part of this program and were checked when it was built")]
pub static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(quorus_proto::DESCRIPTORS).expect("the descriptors of the API are valid"));

/// A message as JSON. Fields that are not set are left out.
pub fn value<M: Message + Name>(message: &M) -> Value {
    let Some(descriptor) = POOL.get_message_by_name(&M::full_name()) else { return Value::Null };
    let mut dynamic = DynamicMessage::new(descriptor);
    match dynamic.transcode_from(message) {
        Ok(()) => object(&dynamic),
        // Both sides come from the same descriptors.
        Err(_) => Value::Null,
    }
}

fn object(message: &DynamicMessage) -> Value {
    match message.descriptor().full_name() {
        "quorus.v1.Payload" => return message.transcode_to::<Payload>().map_or(Value::Null, |payload| self::payload(&payload, message)),
        "quorus.v1.Workflow" => {
            return message.transcode_to::<Workflow>().map_or(Value::Null, |workflow| crate::to_json_value(&workflow));
        }
        "quorus.v1.Template" => {
            let template = message.transcode_to::<Template>().unwrap_or_default();
            return serde_json::from_str(&template.json).unwrap_or(Value::Null);
        }
        "google.protobuf.Timestamp" => {
            return message.transcode_to::<prost_types::Timestamp>().map_or(Value::Null, |time| time.to_string().into());
        }
        "google.protobuf.Duration" => {
            let duration = message.transcode_to::<prost_types::Duration>().unwrap_or_default();
            return crate::format_duration(&duration).into();
        }
        _ => {}
    }
    let fields = message.fields().map(|(field, wire)| (field.name().to_owned(), field_value(&field, wire)));
    Value::Object(fields.collect())
}

/// The value in it. What is not JSON stays opaque, in base64.
fn payload(payload: &Payload, message: &DynamicMessage) -> Value {
    if matches!(payload.encoding.as_str(), "" | "json")
        && let Ok(value) = serde_json::from_slice(&payload.data)
    {
        return value;
    }
    serde_json::to_value(message).unwrap_or(Value::Null)
}

fn field_value(field: &FieldDescriptor, wire: &Wire) -> Value {
    match wire {
        Wire::List(items) => items.iter().map(|item| scalar(&field.kind(), item)).collect(),
        Wire::Map(entries) => {
            let kind = field.kind().as_message().and_then(|entry| entry.get_field_by_name("value")).map(|value| value.kind());
            let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            sorted.sort_by(|one, other| one.0.cmp(&other.0));
            let entries = sorted.into_iter().map(|(key, value)| (key, kind.as_ref().map_or(Value::Null, |kind| scalar(kind, value))));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        single => scalar(&field.kind(), single),
    }
}

fn scalar(kind: &Kind, wire: &Wire) -> Value {
    match wire {
        Wire::Bool(value) => (*value).into(),
        Wire::I32(value) => (*value).into(),
        Wire::I64(value) => (*value).into(),
        Wire::U32(value) => (*value).into(),
        Wire::U64(value) => (*value).into(),
        Wire::F32(value) => f64::from(*value).into(),
        Wire::F64(value) => (*value).into(),
        Wire::String(value) => value.as_str().into(),
        Wire::Bytes(value) => String::from_utf8_lossy(value).into(),
        Wire::EnumNumber(number) => kind.as_enum().map_or_else(|| (*number).into(), |of| enum_name(of, *number)),
        Wire::Message(message) => object(message),
        Wire::List(_) | Wire::Map(_) => Value::Null,
    }
}

/// `RUN_STATUS_RUNNING` of `RunStatus` is `running`: the zero value has the prefix that all share.
fn enum_name(of: &EnumDescriptor, number: i32) -> Value {
    let Some(name) = of.get_value(number) else { return number.into() };
    let zero = of.default_value();
    let prefix = zero.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
    let name = name.name();
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().into()
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{Run, RunStatus};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_reads_naturally() {
        let run = Run {
            run_id: "r1".to_owned(),
            status: RunStatus::Running as i32,
            sequence: 9_007_199_254_740_993,
            started_at: Some(prost_types::Timestamp { seconds: 1_764_014_401, nanos: 0 }),
            input: Some(Payload { data: "{\"n\": 1}".into(), encoding: String::new() }),
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        let expected = json!({
            "run_id": "r1",
            "status": "running",
            "started_at": "2025-11-24T20:00:01Z",
            "input": {"n": 1},
            "labels": {"a": "1", "b": "2"},
            "sequence": 9_007_199_254_740_993_u64,
        });
        assert_eq!(value(&run), expected);
    }

    #[test]
    fn an_opaque_payload_stays_opaque() {
        let payload = Payload { data: vec![0xff, 0x00].into(), encoding: "aes".to_owned() };
        assert_eq!(value(&payload), json!({"data": "/wA=", "encoding": "aes"}));
    }
}
