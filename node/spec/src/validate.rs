//! Values against the schemas of a definition: inputs of runs, payloads of signals.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Who has more mistakes than this in one value doesn't read them.
const VIOLATIONS_MAX: usize = 20;

/// A compiled JSON Schema (draft 2020-12 unless it says otherwise). References lead nowhere but into the schema itself.
#[derive(Debug)]
pub struct Schema(Validator);

/// A part of a value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where it is, as expressions write it: `.regions[0]`; empty for the value as a whole.
    pub path: String,
    /// What is wrong, without the value itself.
    pub message: String,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Says why it is no schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err("a schema is a mapping".to_owned());
        }
        // Patterns that take no more than linear time.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        options.build(schema).map(Self).map_err(|error| format!("{}{}", at(error.instance_path().as_str()), error.masked_with("it")))
    }

    /// Everything in `value` that does not fit, the first of too many.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.0.iter_errors(value).take(VIOLATIONS_MAX);
        errors
            .map(|error| Violation { path: dotted(error.instance_path().as_str()), message: error.masked_with("it").to_string() })
            .collect()
    }
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("at `{}`: ", dotted(pointer).trim_start_matches('.')) }
}

/// `/regions/0/name` as `.regions[0].name`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        match part.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) => path.push_str(&format!(".{part}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_violation_has_its_path_and_no_value() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "required": ["version"],
            "properties": {"regions": {"type": "array", "items": {"type": "string"}}, "n": {"minimum": 3}},
            "additionalProperties": false,
        }));
        let found = schema.unwrap().violations(&json!({"regions": ["a", 77], "n": 1, "vresion": "geheim"}));
        let paths: Vec<&str> = found.iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(paths.contains(&".regions[1]") && paths.contains(&".n") && paths.contains(&""), "{found:?}");
        assert!(found.iter().all(|violation| !violation.message.contains("geheim") && !violation.message.contains("77")), "{found:?}");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(Schema::compile(&json!({"type": "strnig"})).is_err());
        assert!(Schema::compile(&json!([1])).is_err());
        assert!(Schema::compile(&json!({"$ref": "https://example.org/schema"})).is_err());
        assert!(Schema::compile(&json!(true)).is_ok());
    }
}
