//! Follows a path through a JSON Schema, as far as the schema says what is there.

use serde_json::Value;

use super::path::Segment;

/// References are not followed further; a schema may refer to itself.
const REFERENCES_MAX: usize = 16;

/// What a schema says of a path.
#[derive(Debug, PartialEq)]
pub(super) enum Followed<'s> {
    /// It is described by this schema.
    Schema(&'s Value),
    /// It may be there or not: nothing is said.
    Unknown,
    /// It can't be there, or (`closed` is false) it is not mentioned where other things are.
    Missing {
        /// The number of segments that lead to something.
        known: usize,
        /// True if the schema rules it out.
        closed: bool,
    },
}

/// Follows `segments` from the document that `schema` describes.
pub(super) fn follow<'s>(schema: &'s Value, segments: &[Segment]) -> Followed<'s> {
    let mut current = schema;
    for (known, segment) in segments.iter().enumerate() {
        let Some(resolved) = resolve(schema, current) else { return Followed::Unknown };
        let next = match segment {
            Segment::Key(key) => member(resolved, key),
            Segment::Index(index) => element(resolved, *index),
        };
        current = match next {
            Next::Schema(next) => next,
            Next::Unknown => return Followed::Unknown,
            Next::Missing { closed } => return Followed::Missing { known, closed },
        };
    }
    resolve(schema, current).map_or(Followed::Unknown, Followed::Schema)
}

/// True if a value that this schema describes is an integer for sure.
pub(super) fn is_integer(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "integer")
}

enum Next<'s> {
    Schema(&'s Value),
    Unknown,
    Missing { closed: bool },
}

fn member<'s>(schema: &'s Value, key: &str) -> Next<'s> {
    if !may_be(schema, "object") {
        return Next::Missing { closed: true };
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    if let Some(property) = properties.and_then(|properties| properties.get(key)) {
        return Next::Schema(property);
    }
    // These can add members that are not in `properties`.
    let others = ["allOf", "anyOf", "oneOf", "if", "not", "patternProperties", "dependentSchemas", "unevaluatedProperties"];
    if others.iter().any(|name| schema.get(name).is_some()) {
        return Next::Unknown;
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => Next::Missing { closed: true },
        Some(additional @ Value::Object(_)) => Next::Schema(additional),
        _ if properties.is_some() => Next::Missing { closed: false },
        _ => Next::Unknown,
    }
}

fn element(schema: &Value, index: usize) -> Next<'_> {
    if !may_be(schema, "array") {
        return Next::Missing { closed: true };
    }
    if let Some(prefix) = schema.get("prefixItems").and_then(|items| items.get(index)) {
        return Next::Schema(prefix);
    }
    match schema.get("items") {
        Some(Value::Bool(false)) => Next::Missing { closed: true },
        Some(items @ Value::Object(_)) => Next::Schema(items),
        _ => Next::Unknown,
    }
}

/// False only if `type` says something else.
fn may_be(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(kinds)) => kinds.iter().any(|known| known == kind),
        _ => true,
    }
}

/// The schema that a chain of local references ends at; `None` if it leads elsewhere, or the schema says nothing (`true`).
fn resolve<'s>(root: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    let mut current = schema;
    for _ in 0..REFERENCES_MAX {
        let members = current.as_object()?;
        match members.get("$ref").and_then(Value::as_str) {
            None if members.contains_key("$dynamicRef") => return None,
            None => return Some(current),
            Some(reference) => current = root.pointer(reference.strip_prefix('#')?)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(path: &str) -> Vec<Segment> {
        path.split('.').map(|key| key.parse().map_or_else(|_| Segment::Key(key.to_owned()), Segment::Index)).collect()
    }

    #[test]
    fn a_schema_says_what_can_be_there() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "closed": {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false},
                "list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
                "either": {"anyOf": [{"properties": {"x": {}}}]},
                "map": {"additionalProperties": {"type": "integer"}},
                "any": true,
                "loop": {"$ref": "#/properties/loop"},
            },
            "$defs": {"item": {"properties": {"id": {"type": "integer"}}}},
        });
        let found = |path: &str| follow(&schema, &keys(path));
        assert!(matches!(found("closed.a"), Followed::Schema(schema) if is_integer(schema)));
        assert!(matches!(found("list.0.id"), Followed::Schema(schema) if is_integer(schema)));
        assert!(matches!(found("map.whatever"), Followed::Schema(schema) if is_integer(schema)));
        assert_eq!(found("closed.b"), Followed::Missing { known: 1, closed: true });
        assert_eq!(found("name.first"), Followed::Missing { known: 1, closed: true });
        assert_eq!(found("name.0"), Followed::Missing { known: 1, closed: true });
        assert_eq!(found("nmae"), Followed::Missing { known: 0, closed: false });
        assert_eq!(found("list.0.name"), Followed::Missing { known: 2, closed: false });
        for unknown in ["either.x", "any", "any.x", "loop.x"] {
            assert_eq!(found(unknown), Followed::Unknown, "{unknown}");
        }
    }
}
