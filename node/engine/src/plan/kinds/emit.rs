//! `emit`.

use serde_json::json;

use super::http::literal;
use crate::expr::Template;
use crate::plan::expressions::{At, Compiler};
use crate::{EmitDefinition, SignalTarget};

const SINKS_MAX: usize = 16;

impl Compiler<'_> {
    /// The request document of [`crate::BuiltIn::Emit`].
    pub(super) fn emit(&mut self, at: &At, emit: &EmitDefinition) -> Template {
        let path = format!("{}.emit", at.path);
        if emit.event_type.is_empty() {
            self.error(format!("{path}.type"), "missing-event-type", "the event has no type", "for example org.example.released");
        }
        if emit.sinks.is_empty() && emit.signal.is_none() {
            self.error(path.clone(), "missing-sink", "the event goes nowhere", "give it `sinks` or a `signal`");
        }
        if emit.sinks.len() > SINKS_MAX {
            self.error(format!("{path}.sinks"), "too-many-sinks", format!("{} sinks are more than {SINKS_MAX}", emit.sinks.len()), "");
        }
        let source = match emit.source.as_str() {
            "" => Template::Literal(json!(format!("/quorus/{}/{}", self.definition.namespace, self.definition.name))),
            source => self.text(at, ".emit.source", source),
        };
        let subject = if emit.subject.is_empty() { "${run.id}" } else { &emit.subject };
        let mut members = vec![
            ("type".to_owned(), self.text(at, ".emit.type", &emit.event_type)),
            ("source".to_owned(), source),
            ("subject".to_owned(), self.text(at, ".emit.subject", subject)),
        ];
        let mut sinks = Vec::with_capacity(emit.sinks.len());
        for (index, sink) in emit.sinks.iter().enumerate() {
            let below = format!(".emit.sinks[{index}]");
            sinks.push(Template::object(vec![
                ("http".to_owned(), self.url(at, &format!("{below}.http"), &sink.http)),
                ("headers".to_owned(), self.headers(at, &format!("{below}.headers"), &sink.headers)),
                literal("allow_private", json!(sink.allow_private)),
            ]));
        }
        members.push(("sinks".to_owned(), Template::array(sinks)));
        if let Some(data) = &emit.data {
            members.push(("data".to_owned(), self.template(at, ".emit.data", data)));
        }
        if let Some(signal) = &emit.signal {
            members.push(("signal".to_owned(), self.signal_target(at, signal)));
        }
        Template::object(members)
    }

    fn signal_target(&mut self, at: &At, signal: &SignalTarget) -> Template {
        let path = format!("{}.emit.signal", at.path);
        for (field, text) in [("run_id", &signal.run_id), ("name", &signal.name)] {
            if text.is_empty() {
                self.error(format!("{path}.{field}"), "missing-field", format!("`{field}` is missing"), "");
            }
        }
        match (signal.start, signal.workflow.is_empty()) {
            (true, true) => {
                let message = "nothing says which workflow is started";
                self.error(format!("{path}.workflow"), "missing-field", message, "name it in `workflow`");
            }
            (false, false) => {
                let message = "only a signal that starts a run has a `workflow`";
                self.error(format!("{path}.workflow"), "field-not-allowed", message, "add `start: true`, or remove it");
            }
            (true, false) | (false, true) => {}
        }
        if signal.input.is_some() && !signal.start {
            let message = "only a signal that starts a run has an `input`";
            self.error(format!("{path}.input"), "field-not-allowed", message, "the payload is `data` of the event");
        }
        let mut members = vec![
            ("run_id".to_owned(), self.text(at, ".emit.signal.run_id", &signal.run_id)),
            ("name".to_owned(), self.text(at, ".emit.signal.name", &signal.name)),
            literal("start", json!(signal.start)),
        ];
        if signal.start {
            members.push(("workflow".to_owned(), self.text(at, ".emit.signal.workflow", &signal.workflow)));
        }
        if let Some(input) = &signal.input {
            members.push(("input".to_owned(), self.template(at, ".emit.signal.input", input)));
        }
        Template::object(members)
    }
}
