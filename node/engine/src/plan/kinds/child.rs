//! `workflow`.

use serde_json::Value;

use crate::ChildDefinition;
use crate::expr::Reading;
use crate::plan::check_names::name;
use crate::plan::expressions::{At, Compiler};
use crate::plan::types::{ChildVersion, PlannedChild, PlannedTemplate};

impl Compiler<'_> {
    pub(super) fn child(&mut self, at: &At, child: &ChildDefinition, with: Option<&Value>) -> PlannedChild {
        let path = format!("{}.workflow", at.path);
        name(&format!("{path}.name"), "the workflow's name", &child.name, "invalid-name", &mut self.problems);
        let version = match child.version.as_str() {
            "" => ChildVersion::Pinned,
            "latest" => ChildVersion::Latest,
            number => match number.parse() {
                Ok(number) if number > 0 => ChildVersion::Number(number),
                _ => {
                    let message = format!("`{}` is not a version", child.version.escape_debug());
                    self.error(format!("{path}.version"), "invalid-version", message, "a number from 1, or `latest`");
                    ChildVersion::Pinned
                }
            },
        };
        let input = with.map(|with| PlannedTemplate(self.template(at, ".with", with)));
        // The child has ended well when this is evaluated, so its output needs no guard.
        let after = At { reading: Reading { this: &["output"], ..at.reading }, ..at.clone() };
        let guarded = std::mem::replace(&mut self.output_guarded, true);
        let output = child.output.as_ref().map(|output| PlannedTemplate(self.template(&after, ".workflow.output", output)));
        self.output_guarded = guarded;
        PlannedChild {
            name: child.name.clone(),
            version,
            input,
            on_parent_close: child.on_parent_close,
            compensate_child: child.compensate_child,
            output,
        }
    }
}
