//! `group`, `for_each` and `repeat`.

use serde_json::Value;

use crate::expr::{Reading, Template};
use crate::plan::expressions::{At, Compiler};
use crate::plan::reads::Reader;
use crate::plan::types::{PlannedExpression, PlannedForEach, PlannedGroup, PlannedRepeat, PlannedTemplate, Tolerance};
use crate::{ForEachDefinition, GroupDefinition, RepeatDefinition};

const PARALLEL: u32 = 10;
const PARALLEL_MAX: u32 = 1_000;
const ITERATIONS_MAX: u32 = 10_000;

impl Compiler<'_> {
    pub(super) fn group(&mut self, at: &At, vertex: usize, group: &GroupDefinition) -> PlannedGroup {
        self.has_steps(at, vertex, "group");
        let inside = At { reader: Reader::Inside(vertex), ..at.clone() };
        let output = group.output.as_ref().map(|output| PlannedTemplate(self.template(&inside, ".group.output", output)));
        PlannedGroup { output, guard: self.flat.vertices[vertex].guard }
    }

    pub(super) fn for_each(&mut self, at: &At, vertex: usize, each: &ForEachDefinition) -> Option<PlannedForEach> {
        let path = format!("{}.for_each", at.path);
        self.has_steps(at, vertex, "for_each");
        for (field, value) in [("max_parallel", each.max_parallel), ("compensate_parallel", each.compensate_parallel)] {
            if value > PARALLEL_MAX {
                self.error(format!("{path}.{field}"), "invalid-parallel", format!("{value} is more than {PARALLEL_MAX}"), "");
            }
        }
        if let Some(percent) = each.max_failures_percent {
            if each.max_failures > 0 {
                let message = "give either `max_failures` or `max_failures_percent`";
                self.error(format!("{path}.max_failures_percent"), "more-than-one", message, "");
            }
            if !(0.0..=100.0).contains(&percent) {
                let message = format!("{percent} is not a percentage");
                self.error(format!("{path}.max_failures_percent"), "invalid-percentage", message, "0 to 100");
            }
        }
        let inside =
            At { reader: Reader::Inside(vertex), reading: Reading { item: Some(vertex), index: Some(vertex), ..at.reading }, ..at.clone() };
        let collect = each.collect.as_ref().map(|collect| PlannedTemplate(self.template(&inside, ".for_each.collect", collect)));
        let Some(items) = &each.items else {
            self.error(format!("{path}.in"), "missing-items", "nothing says what to do it for", "for example in: \"${input.regions}\"");
            return None;
        };
        let template = self.template(at, ".for_each.in", items);
        if matches!(&template, Template::Literal(value) if !value.is_array())
            || matches!(&template, Template::Text(_) | Template::Object(_))
        {
            let what = match items {
                Value::String(_) => "a text",
                Value::Object(_) => "a mapping",
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => "no list",
            };
            let hint = "a list, or a single `${...}` whose value is one";
            self.error(format!("{path}.in"), "not-a-list", format!("`in` must be a list, this is {what}"), hint);
        }
        Some(PlannedForEach {
            items: PlannedTemplate(template),
            max_parallel: if each.max_parallel == 0 { PARALLEL } else { each.max_parallel },
            stagger: each.stagger,
            tolerance: each.max_failures_percent.map_or(Tolerance::Items(each.max_failures), Tolerance::Percent),
            on_item_failure: each.on_item_failure,
            collect,
            compensate_parallel: each.compensate_parallel.max(1),
        })
    }

    pub(super) fn repeat(&mut self, at: &At, vertex: usize, repeat: &RepeatDefinition) -> Option<PlannedRepeat> {
        let path = format!("{}.repeat", at.path);
        self.has_steps(at, vertex, "repeat");
        match repeat.max_iterations {
            0 => {
                let message = "`max_iterations` is missing: nothing is repeated without a bound";
                self.error(format!("{path}.max_iterations"), "missing-iterations", message, "for example max_iterations: 100");
            }
            many if many > ITERATIONS_MAX => {
                let message = format!("{many} iterations are more than {ITERATIONS_MAX}");
                self.error(format!("{path}.max_iterations"), "too-many-iterations", message, "");
            }
            _ => {}
        }
        let reading = Reading { index: Some(vertex), ..at.reading };
        let inside = At { reader: Reader::Inside(vertex), reading, ..at.clone() };
        let output = repeat.output.as_ref().map(|output| PlannedTemplate(self.template(&inside, ".repeat.output", output)));
        if repeat.until.is_empty() {
            let hint = "for example until: \"steps.check.output.done\"";
            self.error(format!("{path}.until"), "missing-condition", "nothing says when it is done", hint);
            return None;
        }
        let until = PlannedExpression(self.expression(&inside, ".repeat.until", &repeat.until)?);
        Some(PlannedRepeat { until, interval: repeat.interval, max_iterations: repeat.max_iterations, output })
    }

    fn has_steps(&mut self, at: &At, vertex: usize, kind: &str) {
        let is_empty = match self.flat.vertices[vertex].kind() {
            Some(crate::Kind::Group(group)) => group.steps.is_empty(),
            Some(crate::Kind::ForEach(each)) => each.steps.is_empty(),
            Some(crate::Kind::Repeat(repeat)) => repeat.steps.is_empty(),
            _ => false,
        };
        if is_empty {
            self.error(format!("{}.{kind}.steps", at.path), "no-steps", format!("a `{kind}` needs at least one step"), "");
        }
    }
}
