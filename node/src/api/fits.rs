//! Values that a workflow declares a schema for: the input of a run, and the payloads of its signals.

use quorus_proto::v1;
use tonic::Status;

use super::errors;

/// Refuses a value that does not fit its schema, with every violation. `field` is its name in the request, `declared` where the workflow says so.
pub(super) fn fits(field: &str, declared: &str, schema: &serde_json::Value, value: Option<&v1::Payload>) -> Result<(), Status> {
    let empty = v1::Payload::default();
    let value = value.unwrap_or(&empty);
    if !matches!(value.encoding.as_str(), "" | "json") {
        let what = format!("has the encoding `{}`, but the workflow has {declared}, which only json can fit", value.encoding);
        return Err(errors::invalid(vec![(field.to_owned(), what)]));
    }
    let value = match value.data.is_empty() {
        true => serde_json::Value::Null,
        false => serde_json::from_slice(&value.data)
            .map_err(|error| errors::invalid(vec![(field.to_owned(), format!("is not JSON: {error}"))]))?,
    };
    // It compiled when it was applied.
    let schema = quorus_spec::Schema::compile(schema).map_err(|why| errors::internal(&std::io::Error::other(why)))?;
    let violations: Vec<_> =
        schema.violations(&value).into_iter().map(|violation| (format!("{field}{}", violation.path), violation.message)).collect();
    if violations.is_empty() { Ok(()) } else { Err(errors::invalid(violations)) }
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::Payload;
    use serde_json::json;
    use tonic_types::StatusExt as _;

    use super::fits;

    #[test]
    fn an_input_that_does_not_fit_is_refused_with_every_violation() {
        let schema = json!({"type": "object", "required": ["version"], "properties": {"regions": {"items": {"type": "string"}}}});
        let input = |data: &'static [u8]| Payload { data: data.into(), encoding: String::new() };
        assert!(fits("input", "a schema", &schema, Some(&input(br#"{"version": 1, "regions": ["a"]}"#))).is_ok());
        let status = fits("input", "a schema", &schema, Some(&input(br#"{"regions": ["a", 2]}"#))).unwrap_err();
        let mut fields: Vec<String> =
            status.get_details_bad_request().unwrap().field_violations.into_iter().map(|violation| violation.field).collect();
        fields.sort();
        assert_eq!(fields, ["input", "input.regions[1]"]);
        assert!(fits("input", "a schema", &schema, None).is_err(), "nothing is null, which is no object");
        assert!(fits("input", "a schema", &schema, Some(&Payload { data: "x".into(), encoding: "aes".into() })).is_err());
    }
}
