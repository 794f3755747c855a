//! The way back: a message in the form that people write.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value as Wire};
use quorus_proto::v1::Workflow;
use serde_json::{Map, Number, Value};

use crate::{duration::format_duration, expression, schema};

mod yaml;

/// A definition in the form of a text: durations as `1m30s`, needs as names, templates as values. What is not set is left out.
///
/// A template that is no JSON, which only a program can make, becomes a text.
pub fn to_json_value(workflow: &Workflow) -> Value {
    let mut message = DynamicMessage::new(schema::workflow());
    match message.transcode_from(workflow) {
        Ok(()) => Value::Object(fields(&message)),
        // Both sides come from the same descriptors, and a message that was decoded once can be decoded again.
        Err(_) => Value::Object(Map::new()),
    }
}

/// The same as YAML, which reads back as the same message.
///
/// ```
/// let text = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: x}\nspec: {steps: [{id: a, wait: {for: 90s}}]}\n";
/// let workflow = quorus_spec::read(text, "x").workflow.unwrap();
/// let printed = quorus_spec::to_yaml(&workflow);
/// assert!(printed.contains("for: 1m30s"));
/// assert_eq!(quorus_spec::read(&printed, "x").workflow.unwrap(), workflow);
/// ```
pub fn to_yaml(workflow: &Workflow) -> String {
    yaml::print(&to_json_value(workflow))
}

fn fields(message: &DynamicMessage) -> Map<String, Value> {
    let mut set: Vec<(FieldDescriptor, &Wire)> = message.fields().collect();
    set.sort_by_key(|(field, _)| rank(field));
    let mut map = Map::new();
    for (field, value) in set {
        let (name, value) = expression_as_duration(&field, value).unwrap_or_else(|| (field.name().to_owned(), print(&field.kind(), value)));
        map.insert(name, value);
    }
    map
}

/// The order in which people write fields: what it is and what it needs, what it does, the rest by number.
fn rank(field: &FieldDescriptor) -> (u32, u32) {
    let group = match field.name() {
        "id" | "name" | "description" | "needs" | "if" => 0,
        _ if field.containing_oneof().is_some() => 1,
        _ => 2,
    };
    let number = field.number();
    // Metadata and the document itself are in a good order already.
    if field.parent_message().oneofs().len() == 0 { (0, number) } else { (group, number) }
}

/// `for_expression` is printed as `for: "${...}"`, unless it would not be read back as that.
fn expression_as_duration(field: &FieldDescriptor, value: &Wire) -> Option<(String, Value)> {
    let duration = schema::duration_twin(field)?;
    let source = value.as_str()?;
    let text = format!("${{{source}}}");
    (expression::whole(&text) == Some(source)).then(|| (duration.name().to_owned(), text.into()))
}

fn print(kind: &Kind, value: &Wire) -> Value {
    match value {
        Wire::Bool(value) => (*value).into(),
        Wire::I32(value) => (*value).into(),
        Wire::I64(value) => (*value).into(),
        Wire::U32(value) => (*value).into(),
        Wire::U64(value) => (*value).into(),
        Wire::F32(value) => Number::from_f64(f64::from(*value)).map_or(Value::Null, Into::into),
        Wire::F64(value) => Number::from_f64(*value).map_or(Value::Null, Into::into),
        Wire::String(value) => value.clone().into(),
        Wire::Bytes(value) => value.to_vec().into(),
        Wire::EnumNumber(number) => enum_name(kind, *number),
        Wire::Message(message) => print_message(message),
        Wire::List(values) => values.iter().map(|value| print(kind, value)).collect(),
        Wire::Map(entries) => {
            let value_kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let mut entries: Vec<(String, &Wire)> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.into_iter().map(|(key, value)| (key, print(value_kind.as_ref().unwrap_or(kind), value))).collect()
        }
    }
}

fn print_message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        schema::DURATION => {
            if let Ok(duration) = message.transcode_to::<prost_types::Duration>() {
                return format_duration(&duration).into();
            }
        }
        schema::ERROR_MATCH => {
            let any = message.get_field_by_name("any").and_then(|any| any.as_bool()).unwrap_or_default();
            let types = message.get_field_by_name("types").and_then(|types| types.as_list().map(<[Wire]>::to_vec)).unwrap_or_default();
            match (any, types.is_empty()) {
                // An empty list reads back as the empty message.
                (false, _) => return types.iter().map(|name| print(&Kind::String, name)).collect(),
                (true, true) => return true.into(),
                (true, false) => {}
            }
        }
        schema::TEMPLATE | schema::JSON_VALUE => {
            let json = message.get_field_by_name("json");
            let text = json.as_ref().and_then(|json| json.as_str()).unwrap_or_default();
            return serde_json::from_str(text).unwrap_or_else(|_| text.into());
        }
        _ => {}
    }
    let fields = fields(message);
    match schema::shorthand(&descriptor) {
        Some(short) if fields.len() == 1 && fields.contains_key(short.name()) => fields[short.name()].clone(),
        _ => Value::Object(fields),
    }
}

fn enum_name(kind: &Kind, number: i32) -> Value {
    let of = kind.as_enum();
    let value = of.and_then(|of| of.get_value(number));
    let short = of.zip(value).and_then(|(of, value)| schema::short_name(of, value.name()));
    short.map_or_else(|| number.into(), Into::into)
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
