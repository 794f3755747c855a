//! What a schema marks as `writeOnly` is taken by a run, and never shown again.

use serde_json::Value;

/// What stands in the place of a value that is not shown.
const REDACTED: &str = "[redacted]";
/// References are not followed further; a schema may refer to itself.
const DEPTH_MAX: usize = 64;

/// True if a schema marks anything as `writeOnly`, so that most values need not be looked at.
pub fn has_write_only(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(key, member)| (key == "writeOnly" && *member == true) || has_write_only(member)),
        Value::Array(elements) => elements.iter().any(has_write_only),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Replaces every part of `value` that `schema` marks as `writeOnly`.
pub fn redact(schema: &Value, value: &mut Value) {
    visit(schema, schema, value, 0);
}

fn visit(root: &Value, schema: &Value, value: &mut Value, depth: usize) {
    let Some(members) = schema.as_object().filter(|_| depth < DEPTH_MAX) else { return };
    if members.get("writeOnly").is_some_and(|mark| *mark == true) {
        *value = REDACTED.into();
        return;
    }
    let reference = members.get("$ref").and_then(Value::as_str).and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    if let Some(target) = reference {
        visit(root, target, value, depth + 1);
    }
    // Which branch of a choice fits is not asked: what any of them hides is hidden.
    for name in ["allOf", "anyOf", "oneOf"] {
        for branch in members.get(name).and_then(Value::as_array).into_iter().flatten() {
            visit(root, branch, value, depth + 1);
        }
    }
    for name in ["if", "then", "else"] {
        if let Some(branch) = members.get(name) {
            visit(root, branch, value, depth + 1);
        }
    }
    match value {
        Value::Object(fields) => {
            let properties = members.get("properties").and_then(Value::as_object);
            for (key, field) in fields {
                let schema = properties.and_then(|properties| properties.get(key)).or_else(|| members.get("additionalProperties"));
                if let Some(schema) = schema {
                    visit(root, schema, field, depth + 1);
                }
            }
        }
        Value::Array(elements) => {
            let prefix = members.get("prefixItems").and_then(Value::as_array);
            for (index, element) in elements.iter_mut().enumerate() {
                if let Some(schema) = prefix.and_then(|prefix| prefix.get(index)).or_else(|| members.get("items")) {
                    visit(root, schema, element, depth + 1);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_only_written_is_not_read() {
        let schema = json!({
            "properties": {
                "user": {"type": "string"},
                "password": {"type": "string", "writeOnly": true},
                "keys": {"type": "array", "items": {"$ref": "#/$defs/key"}},
                "either": {"anyOf": [{"properties": {"pin": {"writeOnly": true}}}, {"properties": {"other": {}}}]},
                "again": {"$ref": "#"},
            },
            "$defs": {"key": {"properties": {"private": {"writeOnly": true}}}},
        });
        let mut value = json!({
            "user": "ann", "password": "x", "keys": [{"id": 1, "private": {"n": 2}}], "either": {"pin": 7, "other": 8},
            "again": {"password": "y"},
        });
        redact(&schema, &mut value);
        let hidden = "[redacted]";
        let expected = json!({
            "user": "ann", "password": hidden, "keys": [{"id": 1, "private": hidden}], "either": {"pin": hidden, "other": 8},
            "again": {"password": hidden},
        });
        assert_eq!(value, expected);
        assert!(has_write_only(&schema) && !has_write_only(&json!({"properties": {"writeOnly": {"type": "string"}}})));
    }
}
