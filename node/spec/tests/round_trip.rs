//! What is printed reads back as the same message, whatever it holds: messages are made from the descriptors, so every field takes part.

#![allow(clippy::unwrap_used)]

use proptest::{prelude::*, strategy::ValueTree as _};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value as Wire};
use quorus_proto::v1::{Workflow, WorkflowSpec};
use quorus_spec::{canonical, read, to_json_value, to_yaml};
use serde_json::Value;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "\\PC{0,20}",
        "[ -~\n\t]{0,40}",
        any::<String>(),
        Just("yes".to_owned()),
        Just("null".to_owned()),
        Just("12".to_owned()),
        Just("<<".to_owned()),
        Just("- a".to_owned()),
        Just("a: b # c".to_owned()),
        Just("line one\nline two\n".to_owned()),
        Just("x\n\ny".to_owned()),
        Just("\u{85}\u{2028}\u{feff}\u{7f}\u{0}".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no such number", |value| value.is_finite()).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// What choices are made of: a list of numbers, used one after another, and texts and values to pick from.
#[derive(Clone, Debug)]
struct Choices {
    numbers: Vec<u64>,
    texts: Vec<String>,
    values: Vec<Value>,
    next: usize,
}

fn choices() -> impl Strategy<Value = Choices> {
    let numbers = proptest::collection::vec(any::<u64>(), 64..400);
    let values = proptest::collection::vec(value(), 1..6);
    (numbers, proptest::collection::vec(text(), 4..20), values).prop_map(|(numbers, texts, values)| Choices {
        numbers,
        texts,
        values,
        next: 0,
    })
}

impl Choices {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.numbers[self.next % self.numbers.len()].rotate_left(u32::try_from(self.next / self.numbers.len() % 64).unwrap())
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    fn text(&mut self) -> String {
        let pick = self.below(self.texts.len() as u64);
        self.texts[usize::try_from(pick).unwrap()].clone()
    }

    /// A message of which each field is set with a probability that falls with the depth.
    fn message(&mut self, descriptor: &MessageDescriptor, depth: u64) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Duration" => {
                let nanos = [0, 250_000_000, i32::try_from(self.below(1_000_000_000)).unwrap()];
                let nanos = nanos[usize::try_from(self.below(3)).unwrap()];
                message.set_field_by_name("seconds", Wire::I64(i64::try_from(self.below(100_000_000)).unwrap()));
                message.set_field_by_name("nanos", Wire::I32(nanos));
                return message;
            }
            "quorus.v1.Template" | "quorus.v1.JsonValue" => {
                let pick = usize::try_from(self.below(self.values.len() as u64)).unwrap();
                message.set_field_by_name("json", Wire::String(self.values[pick].to_string()));
                return message;
            }
            _ => {}
        }
        let picks: Vec<u64> = descriptor.oneofs().map(|oneof| self.below(1 + oneof.fields().len() as u64)).collect();
        for field in descriptor.fields() {
            let wanted = match field.containing_oneof().filter(|oneof| oneof.fields().len() > 1) {
                // One member of a oneof, or none.
                Some(oneof) => {
                    let oneof_index = descriptor.oneofs().position(|other| other.name() == oneof.name()).unwrap();
                    oneof.fields().position(|other| other.name() == field.name()).unwrap() as u64 + 1 == picks[oneof_index]
                }
                None => self.below(2 + depth / 2) == 0,
            };
            if wanted && let Some(value) = self.field(&field, depth) {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: u64) -> Option<Wire> {
        let kind = field.kind();
        if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
            let value = entry.map_entry_value_field().kind();
            let entries: Vec<_> =
                (0..self.below(3)).filter_map(|_| Some((MapKey::String(self.text()), self.one(&value, depth)?))).collect();
            return Some(Wire::Map(entries.into_iter().collect()));
        }
        if field.is_list() {
            return Some(Wire::List((0..self.below(3)).filter_map(|_| self.one(&kind, depth)).collect()));
        }
        self.one(&kind, depth)
    }

    fn one(&mut self, kind: &Kind, depth: u64) -> Option<Wire> {
        Some(match kind {
            Kind::Bool => Wire::Bool(self.below(2) == 0),
            Kind::String => Wire::String(self.text()),
            Kind::Double => Wire::F64(f64::from(u32::try_from(self.below(1 << 32)).unwrap()) / 8.0),
            Kind::Int32 => Wire::I32(i32::from_le_bytes(self.number().to_le_bytes()[..4].try_into().unwrap())),
            Kind::Uint32 => Wire::U32(u32::try_from(self.below(1 << 32)).unwrap()),
            Kind::Uint64 => Wire::U64(self.number()),
            Kind::Enum(of) => {
                // The value that stands for "not set" is not written.
                let numbers: Vec<i32> = of.values().map(|value| value.number()).filter(|number| *number != 0).collect();
                Wire::EnumNumber(numbers[usize::try_from(self.below(numbers.len() as u64)).unwrap()])
            }
            Kind::Message(_) if depth > 7 => return None,
            Kind::Message(message) => Wire::Message(self.message(message, depth + 1)),
            other => panic!("no field of a definition is a {other:?}"),
        })
    }
}

fn workflow(mut choices: Choices) -> Workflow {
    let pool = DescriptorPool::decode(quorus_proto::DESCRIPTORS).unwrap();
    let mut workflow: Workflow = choices.message(&pool.get_message_by_name("quorus.v1.Workflow").unwrap(), 0).transcode_to().unwrap();
    workflow.api_version = "quorus/v1".into();
    workflow.kind = "Workflow".into();
    workflow.metadata.get_or_insert_default().name.push('x');
    let spec: WorkflowSpec = choices.message(&pool.get_message_by_name("quorus.v1.WorkflowSpec").unwrap(), 0).transcode_to().unwrap();
    workflow.spec = Some(spec);
    workflow
}

/// YAML's readers refuse characters that can't be seen, which JSON allows; a careful writer escapes them.
fn escaped(json: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    json.chars().map(|c| if hidden(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

proptest! {
    // A failing case is printed whole, and belongs into a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn yaml_reads_back_as_the_same_message(choices in choices()) {
        let workflow = workflow(choices);
        let printed = to_yaml(&workflow);
        let read = read(&printed, "printed");
        prop_assert_eq!(read.workflow.as_ref(), Some(&workflow), "{}\n{:#?}", printed, read.diagnostics);
    }

    #[test]
    fn json_reads_back_as_the_same_message(choices in choices()) {
        let workflow = workflow(choices);
        let printed = to_json_value(&workflow);
        for printed in [escaped(&printed.to_string()), escaped(&serde_json::to_string_pretty(&printed).unwrap())] {
            let read = read(&printed, "printed");
            prop_assert_eq!(read.workflow.as_ref(), Some(&workflow), "{}\n{:#?}", printed, read.diagnostics);
        }
    }

    #[test]
    fn the_digest_does_not_depend_on_how_it_was_printed(choices in choices()) {
        let workflow = workflow(choices);
        let (bytes, digest) = canonical(&workflow);
        let again = read(&to_yaml(&workflow), "printed").workflow.unwrap();
        prop_assert_eq!(canonical(&again), (bytes, digest));
    }

    #[test]
    fn whatever_a_program_sends_is_checked(choices in choices()) {
        let (plan, problems) = quorus_spec::check(&workflow(choices));
        prop_assert_eq!(plan.is_some(), problems.iter().all(|problem| problem.warning), "{:#?}", problems);
    }

    #[test]
    fn canonical_bytes_decode_to_what_means_the_same(choices in choices()) {
        let (bytes, digest) = canonical(&workflow(choices));
        let decoded = <Workflow as prost::Message>::decode(bytes.clone()).unwrap();
        prop_assert_eq!(canonical(&decoded), (bytes, digest));
    }
}

#[test]
fn every_field_takes_part() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let choices = choices().new_tree(&mut runner).unwrap().current();
        let text = to_yaml(&workflow(choices));
        seen.extend(text.split(|c: char| !c.is_ascii_lowercase() && c != '_').map(str::to_owned));
    }
    for name in ["fail_if", "no_data", "max_failures_percent", "on_parent_close", "move_when_remaining", "breach_for", "exclude_starter"] {
        assert!(seen.contains(name), "{name} was never printed");
    }
}
