//! From an event to the start of a run, or to a signal. Pure, but for the name of a run that no event id gives one.

use std::{collections::BTreeMap, sync::Arc};

use quorus_engine::FormulaTemplate;
use quorus_proto::v1::{Payload, Principal, SignalRunRequest, StartRunRequest};
use serde_json::Value;

use super::{
    definition::{Definition, Start},
    event::Event,
};
use crate::resource::short_hash;

/// The label of runs that a trigger started.
const LABEL: &str = "quorus.trigger";
/// Longer event ids are shortened by their hash anyway; this keeps messages readable.
const EVENT_ID_CHARS_MAX: usize = 500;

/// What a trigger makes of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mapped {
    /// By what it is known if it comes again.
    pub(crate) event_id: Option<String>,
    /// What it starts; with a signal only if no run of that id is going on.
    pub(crate) start: Option<StartRunRequest>,
    /// What it signals.
    pub(crate) signal: Option<SignalRunRequest>,
}

impl Mapped {
    /// False if the filter says no.
    pub(crate) fn passes(&self) -> bool {
        self.start.is_some() || self.signal.is_some()
    }
}

/// Whose trigger it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// In whose name runs are started.
    pub(crate) principal: Option<&'a Principal>,
}

/// Maps an event.
///
/// # Errors
/// Which expression has no value, and why.
pub(crate) fn map(owner: &Owner<'_>, definition: &Definition, event: &Event) -> Result<Mapped, String> {
    let documents = [Arc::new(event.document.clone())];
    let told = |what: &str, error: String| format!("{what}: {error}");
    let event_id = match &definition.event_id {
        Some(template) => Some(text("event_id", template, &documents)?),
        None => event.id.clone(),
    };
    let event_id = event_id.map(|id| id.chars().take(EVENT_ID_CHARS_MAX).collect::<String>()).filter(|id| !id.is_empty());
    if let Some(filter) = &definition.filter
        && !filter.holds(&documents).map_err(|error| told("filter", error.to_string()))?
    {
        return Ok(Mapped { event_id, start: None, signal: None });
    }
    // Without an id there is nothing by which it could be known again.
    let known_by = event_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let hash = short_hash(&[owner.namespace, owner.name, &known_by]);
    let known_as = format!("trigger:{}:{hash}", owner.name);
    let signal = match &definition.signal {
        None => None,
        Some(signal) => Some(SignalRunRequest {
            namespace: owner.namespace.to_owned(),
            run_id: text("signal.run_id", &signal.run_id, &documents)?,
            name: text("signal.name", &signal.name, &documents)?,
            signal_id: known_as.clone(),
            payload: Some(payload("signal.payload", signal.payload.as_ref(), &documents, event)?),
            principal: owner.principal.cloned(),
        }),
    };
    let start = match &definition.start {
        None => None,
        Some(start) => {
            let run_id = match (&signal, &start.run_id) {
                (Some(signal), _) => signal.run_id.clone(),
                (None, Some(template)) => text("start.run_id", template, &documents)?,
                (None, None) => format!("{}-{hash}", owner.name),
            };
            Some(StartRunRequest { run_id, request_id: known_as, ..start_of(owner, start, &documents, event)? })
        }
    };
    Ok(Mapped { event_id, start, signal })
}

/// Everything of a start but its ids.
fn start_of(owner: &Owner<'_>, start: &Start, documents: &[Arc<Value>], event: &Event) -> Result<StartRunRequest, String> {
    let mut labels = match &start.labels {
        Some(template) => labels(template.render(documents).map_err(|error| format!("start.labels: {error}"))?),
        None => BTreeMap::new(),
    };
    labels.insert(LABEL.to_owned(), owner.name.to_owned());
    Ok(StartRunRequest {
        namespace: owner.namespace.to_owned(),
        workflow: start.run.workflow.clone(),
        workflow_version: start.run.workflow_version,
        input: Some(payload("start.input", start.input.as_ref(), documents, event)?),
        labels,
        on_conflict: start.run.on_conflict,
        on_reuse: start.run.on_reuse,
        principal: owner.principal.cloned(),
        ..StartRunRequest::default()
    })
}

/// What an expression makes of the event, or what the event carries.
fn payload(what: &str, template: Option<&FormulaTemplate>, documents: &[Arc<Value>], event: &Event) -> Result<Payload, String> {
    let value = match template {
        Some(template) => template.render(documents).map_err(|error| format!("{what}: {error}"))?,
        None => event.input.clone(),
    };
    Ok(Payload { data: value.to_string().into(), encoding: String::new() })
}

/// A value as the text of an id.
fn text(what: &str, template: &FormulaTemplate, documents: &[Arc<Value>]) -> Result<String, String> {
    match template.render(documents).map_err(|error| format!("{what}: {error}"))? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("{what}: the value is neither a text nor a number"))
        }
    }
}

fn labels(value: Value) -> BTreeMap<String, String> {
    let Value::Object(members) = value else { return BTreeMap::new() };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    members.into_iter().map(|(key, value)| (key, text(value))).collect()
}

#[cfg(test)]
mod tests {
    use quorus_proto::v1::{AlertUnit, EventFormat, Trigger};
    use serde_json::json;

    use super::*;
    use crate::triggers::{
        definition,
        event::{Post, events},
    };

    const ALERTS: &str = "api_version: quorus/v1
kind: Trigger
metadata: {name: alerts}
spec:
  format: alertmanager
  auth: {unsigned: true}
  filter: event.alert.status == 'firing'
  start:
    workflow: incident
    run_id: \"incident-${event.alert.fingerprint}\"
    input: {alert: \"${event.alert.labels.alertname}\", severity: \"${has(event.alert.labels.severity) ? event.alert.labels.severity : 'page'}\"}
    labels: {alert: \"${event.alert.labels.alertname}\"}
";

    fn compiled(yaml: &str) -> Definition {
        let trigger: Trigger = quorus_spec::read_resource(yaml, "t.yaml", definition::KIND).unwrap();
        definition::compile(&trigger).unwrap()
    }

    fn mapped(definition: &Definition, event: &Event) -> Result<Mapped, String> {
        let principal = Principal { subject: "ada".into(), ..Principal::default() };
        map(&Owner { namespace: "default", name: "alerts", principal: Some(&principal) }, definition, event)
    }

    fn alert(status: &str) -> Event {
        let body = json!({"alerts": [{"status": status, "labels": {"alertname": "Down"}, "startsAt": "t", "fingerprint": "f1"}]});
        events(EventFormat::Alertmanager, AlertUnit::Alert, &Post::new([], body.to_string())).unwrap().remove(0)
    }

    #[test]
    fn an_alert_becomes_a_run_of_its_own_name() {
        let definition = compiled(ALERTS);
        let start = mapped(&definition, &alert("firing")).unwrap().start.unwrap();
        assert_eq!((start.run_id.as_str(), start.workflow.as_str()), ("incident-f1", "incident"));
        assert_eq!(start.input.unwrap().data.as_ref(), br#"{"alert":"Down","severity":"page"}"#);
        assert_eq!(start.labels.into_iter().collect::<Vec<_>>(), [("alert".into(), "Down".into()), (LABEL.into(), "alerts".to_owned())]);
        assert_eq!(start.principal.unwrap().subject, "ada");
        assert_eq!(mapped(&definition, &alert("resolved")).unwrap().start, None);
    }

    #[test]
    fn the_same_event_is_the_same_request() {
        let definition = compiled(&ALERTS.replace("    run_id: \"incident-${event.alert.fingerprint}\"\n", ""));
        let start = |status| mapped(&definition, &alert(status)).unwrap().start.unwrap();
        assert_eq!(start("firing"), start("firing"));
        assert!(start("firing").run_id.starts_with("alerts-"));
    }

    #[test]
    fn an_event_without_an_id_is_always_new() {
        let definition = compiled(
            "api_version: quorus/v1\nkind: Trigger\nmetadata: {name: alerts}\nspec: {auth: {unsigned: true}, start: {workflow: w}}\n",
        );
        let event = events(EventFormat::Json, AlertUnit::Alert, &Post::new([], "{}")).unwrap().remove(0);
        let id = || mapped(&definition, &event).unwrap().start.unwrap().request_id;
        assert_ne!(id(), id());
    }

    #[test]
    fn an_event_becomes_a_signal_with_an_id_of_its_own() {
        let signal = "  signal: {run_id: \"order-${event.body.order}\", name: paid, payload: {by: \"${event.body.by}\"}START}\n";
        let yaml = |start: &str| {
            let head = "api_version: quorus/v1\nkind: Trigger\nmetadata: {name: alerts}\nspec:\n  auth: {unsigned: true}\n  event_id: \"${event.body.id}\"\n";
            format!("{head}{}", signal.replace("START", start))
        };
        let event = |id: u32| {
            let body = json!({"id": id, "order": 7, "by": "ann"}).to_string();
            events(EventFormat::Json, AlertUnit::Alert, &Post::new([], body)).unwrap().remove(0)
        };
        let only = mapped(&compiled(&yaml("")), &event(1)).unwrap();
        let sent = only.signal.clone().unwrap();
        assert_eq!(
            (sent.run_id.as_str(), sent.name.as_str(), sent.payload.unwrap().data.as_ref()),
            ("order-7", "paid", &br#"{"by":"ann"}"#[..])
        );
        assert_eq!(only.start, None);
        assert_eq!(mapped(&compiled(&yaml("")), &event(1)).unwrap(), only, "the same event is the same signal");
        assert_ne!(mapped(&compiled(&yaml("")), &event(2)).unwrap().signal.unwrap().signal_id, sent.signal_id);
        let with_start = mapped(&compiled(&yaml(", start: {workflow: order}")), &event(1)).unwrap();
        assert_eq!(with_start.start.map(|start| (start.run_id, start.workflow)), Some(("order-7".to_owned(), "order".to_owned())));
        assert!(with_start.signal.is_some());
    }

    #[test]
    fn what_a_trigger_does_is_said_once() {
        let refused = |rest: &str| {
            let yaml =
                format!("api_version: quorus/v1\nkind: Trigger\nmetadata: {{name: alerts}}\nspec: {{auth: {{unsigned: true}}{rest}}}\n");
            let trigger: Trigger = quorus_spec::read_resource(&yaml, "t.yaml", definition::KIND).unwrap();
            let problems = definition::compile(&trigger).unwrap_err();
            problems.into_iter().map(|problem| format!("{} {}", problem.path, problem.code)).collect::<Vec<_>>()
        };
        assert_eq!(refused(""), ["spec.start missing-field"]);
        assert_eq!(refused(", start: {workflow: w}, signal: {run_id: r, name: go}"), ["spec.signal more-than-one"]);
        assert_eq!(refused(", signal: {run_id: r}"), ["spec.signal.name missing-field"]);
        assert_eq!(
            refused(", signal: {run_id: r, name: go, start: {workflow: w, run_id: other, on_conflict: reject}}"),
            ["spec.signal.start.run_id unused-field", "spec.signal.start.on_conflict unused-field"]
        );
    }

    #[test]
    fn an_expression_without_a_value_is_named() {
        let definition = compiled(&ALERTS.replace("event.alert.fingerprint", "event.alert.finger"));
        assert!(mapped(&definition, &alert("firing")).unwrap_err().starts_with("start.run_id: `event.alert.finger`"));
    }
}
