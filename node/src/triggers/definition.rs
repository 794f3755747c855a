//! A trigger's definition: checked, then compiled to what mapping needs.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Formula, FormulaTemplate};
use quorus_proto::v1::{AlertUnit, ConflictPolicy, EventFormat, EventRun, ReusePolicy, SecretSource, Trigger, TriggerAuth, TriggerSpec};
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
    pub(crate) start: EventRun,
    pub(crate) run_id: Option<FormulaTemplate>,
    pub(crate) input: Option<FormulaTemplate>,
    pub(crate) labels: Option<FormulaTemplate>,
}

/// The definition's canonical bytes and their SHA-256.
pub(crate) fn canonical(trigger: &Trigger) -> (Bytes, Bytes) {
    let mut trigger = trigger.clone();
    if let Some(input) = trigger.spec.as_mut().and_then(|spec| spec.start.as_mut()).and_then(|start| start.input.as_mut()) {
        resource::sort_template(input);
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
    let start = spec.start.clone().unwrap_or_default();
    compiler.start(spec.start.as_ref());
    let run_id = compiler.text("spec.start.run_id", &start.run_id);
    let input = start.input.as_ref().and_then(|template| match resource::template_value("spec.start.input", template) {
        Ok(value) => compiler.template("spec.start.input", &value),
        Err(problem) => {
            compiler.problems.push(problem);
            None
        }
    });
    let labels: serde_json::Map<String, Value> = start.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let labels = if labels.is_empty() { None } else { compiler.template("spec.start.labels", &Value::Object(labels)) };
    if compiler.problems.is_empty() {
        Ok(Definition { format, per, auth, filter, event_id, start, run_id, input, labels })
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

    fn start(&mut self, start: Option<&EventRun>) {
        let Some(start) = start else {
            self.problems.push(missing("spec.start", "add `start: {workflow: NAME}`"));
            return;
        };
        if start.workflow.is_empty() {
            self.problems.push(missing("spec.start.workflow", "name the workflow that an event starts"));
        }
        if ConflictPolicy::try_from(start.on_conflict).is_err() {
            self.error("spec.start.on_conflict", "unknown-value", "is no policy", "see the reference");
        }
        if ReusePolicy::try_from(start.on_reuse).is_err() {
            self.error("spec.start.on_reuse", "unknown-value", "is no policy", "see the reference");
        }
        self.problems.extend(resource::check_labels("spec.start.labels", start.labels.keys()));
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
