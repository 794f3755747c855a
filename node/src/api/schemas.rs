//! What a workflow's schemas say about values: inputs and payloads of signals must fit, and what is `writeOnly` is not shown.
//!
//! An expression can copy a `writeOnly` input into a step; then it is the step's, and shown as such. What must not be seen is a secret.

use quorus_engine::{Event, EventKind, Payload, Plan};
use quorus_proto::v1;
use serde_json::Value;
use tonic::Status;

use super::{ApiContext, errors, to_proto};
use crate::{leader::PlanCache, store::ShardStore};

/// Refuses an input that does not fit the workflow's schema, with every violation.
pub(super) fn check_input(plan: &Plan, input: Option<&v1::Payload>) -> Result<(), Status> {
    let Some(schema) = &plan.input_schema else { return Ok(()) };
    let (data, encoding) = input.map(|input| (input.data.as_ref(), input.encoding.as_str())).unwrap_or_default();
    fits("input", schema, data, encoding)
}

/// Refuses a signal that the workflow declares with a schema that its payload does not fit.
pub(super) fn check_signal(plan: &Plan, name: &str, payload: Option<&Payload>) -> Result<(), Status> {
    let Some(schema) = plan.signals.get(name) else { return Ok(()) };
    let (data, encoding) = payload.map(|payload| (payload.data.as_ref(), payload.encoding.as_str())).unwrap_or_default();
    fits("payload", schema, data, encoding)
}

/// The same for a run that is there; the leader calls it, so its own replica knows every run that was acknowledged.
pub(super) fn check_signal_of_run(
    context: &ApiContext,
    store: &ShardStore,
    (namespace, run_id): (&str, &str),
    (name, payload): (&str, Option<&Payload>),
) -> Result<(), Status> {
    let Some(uid) = store.current_uid(namespace, run_id).map_err(|error| errors::internal(&error))? else { return Ok(()) };
    let Some(run) = store.load_run(uid).map_err(|error| errors::internal(&error))? else { return Ok(()) };
    let plan = context.plans.get(store, run.digest()).map_err(|error| errors::internal(&error))?;
    check_signal(&plan, name, payload)
}

fn fits(field: &str, schema: &Value, data: &[u8], encoding: &str) -> Result<(), Status> {
    if !matches!(encoding, "" | "json") {
        let what = format!("has the encoding `{encoding}`, but there is a schema for it, which only json can fit");
        return Err(errors::invalid(vec![(field.to_owned(), what)]));
    }
    let parsed = if data.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(data) };
    let value = parsed.map_err(|error| errors::invalid(vec![(field.to_owned(), format!("is not JSON: {error}"))]))?;
    // It compiled when it was applied.
    let schema = quorus_spec::Schema::compile(schema).map_err(|why| errors::internal(&std::io::Error::other(why)))?;
    let violations = schema.violations(&value).into_iter();
    let violations: Vec<_> = violations.map(|violation| (format!("{field}{}", violation.path), violation.message)).collect();
    if violations.is_empty() { Ok(()) } else { Err(errors::invalid(violations)) }
}

/// An input as clients read it.
pub(super) fn shown_input(plan: &Plan, input: &Payload) -> v1::Payload {
    let Some(schema) = plan.input_schema.as_ref().filter(|schema| quorus_spec::has_write_only(schema)) else {
        return to_proto::payload(input);
    };
    match serde_json::from_slice::<Value>(&input.data) {
        Ok(mut value) => {
            quorus_spec::redact(schema, &mut value);
            to_proto::payload(&Payload::json(&value))
        }
        Err(_) => v1::Payload::default(),
    }
}

/// Hides what is `writeOnly` in recorded facts. `wire` are the same events as `events`.
pub(super) fn hide(plans: &PlanCache, store: &ShardStore, events: &[(u64, Event)], wire: &mut [v1::HistoryEvent]) {
    for ((_, event), wire) in events.iter().zip(wire) {
        if let EventKind::RunStarted(info) = &event.kind {
            // Without the plan nobody knows what may be shown.
            wire.payload = plans.get(store, &info.digest).ok().map(|plan| shown_input(&plan, &info.input));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tonic_types::StatusExt as _;

    use super::*;

    fn plan(input_schema: Value) -> Plan {
        let step = quorus_engine::StepDefinition {
            id: "a".into(),
            kind: Some(quorus_engine::Kind::Set(json!(1))),
            ..quorus_engine::StepDefinition::default()
        };
        let definition = quorus_engine::Definition {
            name: "w".into(),
            input_schema: Some(input_schema),
            signals: [("go".to_owned(), json!({"type": "object"}))].into(),
            steps: vec![step],
            ..quorus_engine::Definition::default()
        };
        quorus_engine::plan(&definition).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_every_violation() {
        let plan = plan(json!({"type": "object", "required": ["version"], "properties": {"regions": {"items": {"type": "string"}}}}));
        let input = |data: &'static [u8]| v1::Payload { data: data.into(), encoding: String::new() };
        assert!(check_input(&plan, Some(&input(br#"{"version": 1, "regions": ["a"]}"#))).is_ok());
        let status = check_input(&plan, Some(&input(br#"{"regions": ["a", 2]}"#))).unwrap_err();
        let violations = status.get_details_bad_request().unwrap().field_violations;
        let mut fields: Vec<String> = violations.into_iter().map(|violation| violation.field).collect();
        fields.sort();
        assert_eq!(fields, ["input", "input.regions[1]"]);
        assert!(check_input(&plan, None).is_err(), "nothing is null, which is no object");
        assert!(check_input(&plan, Some(&v1::Payload { data: "x".into(), encoding: "aes".into() })).is_err());
        assert!(check_signal(&plan, "go", Some(&Payload::json(&json!({})))).is_ok());
        assert!(check_signal(&plan, "go", Some(&Payload::json(&json!([])))).is_err());
        assert!(check_signal(&plan, "go", None).is_err());
    }

    #[test]
    fn what_is_only_written_is_not_shown() {
        let plan = plan(json!({"properties": {"password": {"writeOnly": true}}}));
        let shown = shown_input(&plan, &Payload::json(&json!({"user": "ann", "password": "geheim"})));
        assert_eq!(serde_json::from_slice::<Value>(&shown.data).unwrap(), json!({"user": "ann", "password": "[redacted]"}));
        let opaque = Payload { data: "geheim".into(), encoding: "aes".into() };
        assert!(shown_input(&plan, &opaque).data.is_empty());
    }
}
