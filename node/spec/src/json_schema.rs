//! [`json_schema`]: what editors need to complete and check definitions while they are written.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::{comments, explain::takes, header::API_VERSION, schema};

/// What a duration looks like.
const DURATION_PATTERN: &str =
    r"^([0-9]+(\.[0-9]+)?d)? ?([0-9]+(\.[0-9]+)?h)? ?([0-9]+(\.[0-9]+)?m)? ?([0-9]+(\.[0-9]+)?s)? ?([0-9]+(\.[0-9]+)?ms)?$";
/// Oneofs of which something must be given.
const REQUIRED: [&str; 3] = ["kind", "when", "source"];

/// A JSON Schema (draft 2020-12) of every resource that people write, made from the descriptors and their comments. What it accepts can
/// still have mistakes that only the planner finds.
pub fn json_schema() -> Value {
    let mut definitions = BTreeMap::new();
    let resources = schema::resources();
    for resource in &resources {
        define(resource, &mut definitions);
    }
    let branches: Vec<Value> = resources
        .iter()
        .map(|resource| {
            json!({
                "if": {"properties": {"kind": {"const": resource.name()}}},
                "then": {"$ref": reference(resource)},
            })
        })
        .collect();
    let kinds: Vec<&str> = resources.iter().map(MessageDescriptor::name).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://quorus.dev/schema/quorus.v1.json",
        "title": "Quorus resources",
        "type": "object",
        "required": ["api_version", "kind", "metadata", "spec"],
        "properties": {"api_version": {"const": API_VERSION}, "kind": {"enum": kinds}},
        "allOf": branches,
        "$defs": definitions,
    })
}

fn reference(message: &MessageDescriptor) -> String {
    format!("#/$defs/{}", name(message))
}

fn name(message: &MessageDescriptor) -> &str {
    message.full_name().strip_prefix("quorus.v1.").unwrap_or(message.full_name())
}

/// Adds the schema of a message, and of all that it refers to.
fn define(message: &MessageDescriptor, definitions: &mut BTreeMap<String, Value>) {
    if definitions.contains_key(name(message)) {
        return;
    }
    // Keeps its place while the messages inside are defined: they may refer back.
    definitions.insert(name(message).to_owned(), Value::Null);
    let mut properties = Map::new();
    for field in schema::field_names(message).iter().filter_map(|name| message.get_field_by_name(name)) {
        let mut property = field_schema(&field, definitions);
        if let Some(property) = property.as_object_mut() {
            let text = comments::of_field(&field);
            let description = if text.is_empty() { takes(&field) } else { text.to_owned() };
            property.insert("description".to_owned(), description.into());
        }
        properties.insert(field.name().to_owned(), property);
    }
    let mut schema = json!({
        "type": "object",
        "description": comments::of_message(message),
        "properties": properties,
        "additionalProperties": false,
    });
    let choices = message.oneofs().filter(|oneof| REQUIRED.contains(&oneof.name())).map(|oneof| {
        let mut names: Vec<String> = oneof.fields().map(|field| field.name().to_owned()).collect();
        names.retain(|name| message.get_field_by_name(name).is_some_and(|field| schema::duration_twin(&field).is_none()));
        json!({"oneOf": names.iter().map(|name| json!({"required": [name]})).collect::<Vec<_>>()})
    });
    let choices: Vec<Value> = choices.collect();
    if let (Some(schema), false) = (schema.as_object_mut(), choices.is_empty()) {
        schema.insert("allOf".to_owned(), choices.into());
    }
    definitions.insert(name(message).to_owned(), schema);
}

fn field_schema(field: &FieldDescriptor, definitions: &mut BTreeMap<String, Value>) -> Value {
    if field.is_map() {
        let value = match field.kind() {
            Kind::Message(entry) => single(&entry.map_entry_value_field(), definitions),
            _ => json!({}),
        };
        return json!({"type": "object", "additionalProperties": value});
    }
    let one = single(field, definitions);
    if field.is_list() { json!({"type": "array", "items": one}) } else { one }
}

fn single(field: &FieldDescriptor, definitions: &mut BTreeMap<String, Value>) -> Value {
    let kind = field.kind();
    match &kind {
        Kind::Message(message) => match message.full_name() {
            schema::DURATION if schema::expression_twin(field).is_some() => {
                json!({"type": "string", "anyOf": [{"pattern": DURATION_PATTERN}, {"pattern": r"^\s*\$\{"}]})
            }
            schema::DURATION => json!({"type": "string", "pattern": DURATION_PATTERN}),
            schema::TEMPLATE => json!({}),
            schema::JSON_VALUE => json!({"type": ["object", "boolean"]}),
            schema::ERROR_MATCH => {
                define(message, definitions);
                json!({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}, {"$ref": reference(message)}]})
            }
            _ => {
                define(message, definitions);
                match schema::shorthand(message) {
                    Some(_) => json!({"anyOf": [{"type": "string"}, {"$ref": reference(message)}]}),
                    None => json!({"$ref": reference(message)}),
                }
            }
        },
        Kind::Enum(choice) => {
            let names: Vec<String> = choice.values().filter_map(|value| schema::short_name(choice, value.name())).collect();
            json!({"enum": names})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String if schema::is_numeric_text(field) => json!({"type": ["string", "integer"]}),
        Kind::String => json!({"type": "string"}),
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 if schema::is_size(field) => {
            json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ ?([KMG]iB|kB|MB|GB|B)$"}]})
        }
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => json!({"type": "integer", "minimum": 0}),
        _ => json!({"type": "integer"}),
    }
}
