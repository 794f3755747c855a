//! `wait` and `fail`.

use serde_json::Value;

use crate::expr::{Template, parse_timestamp};
use crate::plan::expressions::{At, Compiler};
use crate::plan::types::{PlannedExpression, PlannedFail, PlannedTemplate, PlannedWait};
use crate::{FailDefinition, Wait};

const FAILURE_TYPE: &str = "Failed";

impl Compiler<'_> {
    pub(super) fn wait(&mut self, at: &At, wait: &Wait) -> Option<PlannedWait> {
        match wait {
            Wait::Missing => {
                let message = "the wait says neither how long nor until when";
                self.error(format!("{}.wait", at.path), "missing-wait", message, "give it exactly one of `for` and `until`");
                None
            }
            Wait::For(duration) => Some(PlannedWait::For(*duration)),
            Wait::ForExpression(source) => Some(PlannedWait::ForExpression(PlannedExpression(self.expression(at, ".wait.for", source)?))),
            Wait::Until(text) => {
                let template = self.text(at, ".wait.until", text);
                if matches!(template, Template::Literal(Value::String(_))) && parse_timestamp(text).is_none() {
                    let message = format!("`{}` is not an RFC 3339 time", text.escape_debug());
                    self.error(format!("{}.wait.until", at.path), "invalid-time", message, "for example 2026-01-31T18:00:00Z");
                }
                Some(PlannedWait::Until(PlannedTemplate(template)))
            }
        }
    }

    pub(super) fn fail(&mut self, at: &At, fail: &FailDefinition) -> PlannedFail {
        let written = if fail.failure_type.is_empty() { FAILURE_TYPE } else { &fail.failure_type };
        if written.starts_with("Quorus") {
            let message = "types that start with `Quorus` are reserved";
            self.error(format!("{}.fail.type", at.path), "reserved-type", message, "choose a name of your own, for example `NotReady`");
        }
        PlannedFail {
            failure_type: PlannedTemplate(self.text(at, ".fail.type", written)),
            message: PlannedTemplate(self.text(at, ".fail.message", &fail.message)),
        }
    }
}
