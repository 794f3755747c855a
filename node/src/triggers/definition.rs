//! A trigger's definition: checked, then compiled to what mapping needs.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Formula, FormulaTemplate};
use quorus_proto::v1::{
    AlertUnit, ConflictPolicy, EventFormat, EventRun, EventSignal, ReusePolicy, SecretSource, Template, Trigger, TriggerAuth, TriggerSpec,
};
use quorus_spec::Problem;
use serde_json::Value;

use crate::resource::{self, missing};

/// What a trigger says it is.
pub(crate) const KIND: &str = "Trigger";
/// What expressions of a trigger read.
const ROOTS: &[&str] = &["event"];

/// A compiled definition.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) format: EventFormat,
    pub(crate) per: AlertUnit,
    pub(crate) auth: TriggerAuth,
    pub(crate) filter: Option<Formula>,
    pub(crate) event_id: Option<FormulaTemplate>,
    /// What an event starts, or what is started for a signal.
    pub(crate) start: Option<Start>,
    pub(crate) signal: Option<Signal>,
}

/// A run to start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) run: EventRun,
    pub(crate) run_id: Option<FormulaTemplate>,
    pub(crate) input: Option<FormulaTemplate>,
    pub(crate) labels: Option<FormulaTemplate>,
}

/// A run to signal.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) run_id: FormulaTemplate,
    pub(crate) name: FormulaTemplate,
    pub(crate) payload: Option<FormulaTemplate>,
}

impl Definition {
    /// The workflow of runs that are started, if any are.
    pub(crate) fn workflow(&self) -> Option<&str> {
        self.start.as_ref().map(|start| start.run.workflow.as_str())
    }
}

/// The definition's canonical bytes and their SHA-256.
pub(crate) fn canonical(trigger: &Trigger) -> (Bytes, Bytes) {
    let mut trigger = trigger.clone();
    if let Some(spec) = &mut trigger.spec {
        let inner = spec
            .signal
            .iter_mut()
            .flat_map(|signal| signal.payload.iter_mut().chain(signal.start.iter_mut().flat_map(|start| &mut start.input)));
        spec.start.iter_mut().flat_map(|start| &mut start.input).chain(inner).for_each(resource::sort_template);
    }
    resource::encode(&trigger)
}

/// Reads a stored definition.
pub(crate) fn decode(bytes: Bytes) -> Result<(Trigger, Definition), String> {
    let trigger = Trigger::decode(bytes).map_err(|error| error.to_string())?;
    match compile(&trigger) {
        Ok(definition) => Ok((trigger, definition)),
        Err(problems) => Err(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")),
    }
}

/// Checks a definition and compiles it.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn compile(trigger: &Trigger) -> Result<Definition, Vec<Problem>> {
    let mut problems = resource::check_header(&trigger.api_version, &trigger.kind, KIND, trigger.metadata.as_ref());
    let Some(spec) = &trigger.spec else {
        problems.push(missing("spec", "add `spec: {auth: ..., start: {workflow: ...}}`"));
        return Err(problems);
    };
    let mut compiler = Compiler { problems };
    let (format, per) = compiler.format(spec);
    let auth = compiler.auth(spec.auth.as_ref());
    let filter = compiler.condition("spec.filter", &spec.filter);
    let event_id = compiler.text("spec.event_id", &spec.event_id);
    let (start, signal) = match (&spec.start, &spec.signal) {
        (Some(start), None) => (Some(compiler.start("spec.start", start)), None),
        (None, Some(signal)) => {
            let start = signal.start.as_ref().map(|start| compiler.start_of_signal(start));
            (start, compiler.signal(signal))
        }
        (Some(_), Some(_)) => {
            let hint = "to start a run for the signal if there is none, write `signal: {..., start: {workflow: NAME}}`";
            compiler.error(
                "spec.signal",
                "more-than-one",
                "an event starts a run or signals one: `start` and `signal` exclude each other",
                hint,
            );
            (None, None)
        }
        (None, None) => {
            compiler.problems.push(missing("spec.start", "add `start: {workflow: NAME}`, or `signal: {run_id: ..., name: ...}`"));
            (None, None)
        }
    };
    if compiler.problems.is_empty() {
        Ok(Definition { format, per, auth, filter, event_id, start, signal })
    } else {
        Err(compiler.problems)
    }
}

struct Compiler {
    problems: Vec<Problem>,
}

impl Compiler {
    fn error(&mut self, path: &str, code: &'static str, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::error(path, code, message).with_hint(hint));
    }

    fn format(&mut self, spec: &TriggerSpec) -> (EventFormat, AlertUnit) {
        let format = EventFormat::try_from(spec.format).unwrap_or_else(|_| {
            self.error("spec.format", "unknown-value", "is no format", "one of: `json`, `cloud_events`, `alertmanager`");
            EventFormat::Json
        });
        let per = AlertUnit::try_from(spec.per).unwrap_or_else(|_| {
            self.error("spec.per", "unknown-value", "is no unit", "one of: `alert`, `group`");
            AlertUnit::Alert
        });
        if per != AlertUnit::Unspecified && format != EventFormat::Alertmanager {
            self.error("spec.per", "unused-field", "`per` is only for `format: alertmanager`", "remove it");
        }
        (format, per)
    }

    fn auth(&mut self, auth: Option<&TriggerAuth>) -> TriggerAuth {
        const HINT: &str = "add `auth: {signature: [{env: NAME}]}`, `auth: {bearer: {env: NAME}}`, or `auth: {unsigned: true}` for a port that only friends reach";
        let Some(auth) = auth else {
            self.problems.push(missing("spec.auth", HINT));
            return TriggerAuth::default();
        };
        let ways = [!auth.signature.is_empty(), auth.bearer.is_some(), auth.unsigned].into_iter().filter(|given| *given).count();
        if ways != 1 {
            let message =
                if ways == 0 { "`spec.auth` is empty" } else { "`spec.auth` has more than one of `signature`, `bearer`, `unsigned`" };
            self.error("spec.auth", "bad-auth", message, HINT);
        }
        for (index, source) in auth.signature.iter().enumerate() {
            self.secret(&format!("spec.auth.signature[{index}]"), source);
        }
        if let Some(source) = &auth.bearer {
            self.secret("spec.auth.bearer", source);
        }
        auth.clone()
    }

    fn secret(&mut self, path: &str, source: &SecretSource) {
        use quorus_proto::v1::secret_source::Source;
        match &source.source {
            Some(Source::Env(name)) if name.is_empty() || name.contains(['=', '\0']) => {
                self.error(
                    path,
                    "bad-secret",
                    "the name of the environment variable is none",
                    "write for example `{env: QUORUS_HOOK_SECRET}`",
                );
            }
            Some(Source::File(path_of)) if !path_of.starts_with('/') => {
                self.error(
                    path,
                    "bad-secret",
                    "the path of a secret's file must be absolute",
                    "write for example `{file: /run/secrets/hook}`",
                );
            }
            Some(_) => {}
            None => self.problems.push(missing(path, "write `{env: NAME}` or `{file: PATH}`")),
        }
    }

    fn start(&mut self, path: &str, start: &EventRun) -> Start {
        let at = |field: &str| format!("{path}.{field}");
        if start.workflow.is_empty() {
            self.problems.push(missing(&at("workflow"), "name the workflow that an event starts"));
        }
        if ConflictPolicy::try_from(start.on_conflict).is_err() {
            self.error(&at("on_conflict"), "unknown-value", "is no policy", "see the reference");
        }
        if ReusePolicy::try_from(start.on_reuse).is_err() {
            self.error(&at("on_reuse"), "unknown-value", "is no policy", "see the reference");
        }
        self.problems.extend(resource::check_labels(&at("labels"), start.labels.keys()));
        let labels: serde_json::Map<String, Value> = start.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        Start {
            run: start.clone(),
            run_id: self.text(&at("run_id"), &start.run_id),
            input: self.any_value(&at("input"), start.input.as_ref()),
            labels: if labels.is_empty() { None } else { self.template(&at("labels"), &Value::Object(labels)) },
        }
    }

    /// The run has the signal's id, and one that goes on is the one that is meant.
    fn start_of_signal(&mut self, start: &EventRun) -> Start {
        const PATH: &str = "spec.signal.start";
        if !start.run_id.is_empty() {
            self.error(
                &format!("{PATH}.run_id"),
                "unused-field",
                "the run has the id that the signal goes to",
                "remove it, or change `signal.run_id`",
            );
        }
        if start.on_conflict != 0 {
            self.error(&format!("{PATH}.on_conflict"), "unused-field", "a run that is going on is signalled", "remove it");
        }
        self.start(PATH, start)
    }

    fn signal(&mut self, signal: &EventSignal) -> Option<Signal> {
        for (field, text) in [("run_id", &signal.run_id), ("name", &signal.name)] {
            if text.is_empty() {
                self.problems.push(missing(
                    &format!("spec.signal.{field}"),
                    "write for example `signal: {run_id: \"order-${event.body.order}\", name: paid}`",
                ));
            }
        }
        let run_id = self.text("spec.signal.run_id", &signal.run_id);
        let name = self.text("spec.signal.name", &signal.name);
        let payload = self.any_value("spec.signal.payload", signal.payload.as_ref());
        Some(Signal { run_id: run_id?, name: name?, payload })
    }

    fn any_value(&mut self, path: &str, template: Option<&Template>) -> Option<FormulaTemplate> {
        match resource::template_value(path, template?) {
            Ok(value) => self.template(path, &value),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn condition(&mut self, path: &str, source: &str) -> Option<Formula> {
        if source.is_empty() {
            return None;
        }
        Formula::compile(source, ROOTS).map_err(|problems| self.at(path, problems)).ok()
    }

    fn text(&mut self, path: &str, text: &str) -> Option<FormulaTemplate> {
        if text.is_empty() { None } else { self.template(path, &Value::String(text.to_owned())) }
    }

    fn template(&mut self, path: &str, value: &Value) -> Option<FormulaTemplate> {
        FormulaTemplate::compile(value, ROOTS).map_err(|problems| self.at(path, problems)).ok()
    }

    fn at(&mut self, path: &str, problems: Vec<Problem>) {
        self.problems.extend(problems.into_iter().map(|problem| resource::at(path, problem)));
    }
}
