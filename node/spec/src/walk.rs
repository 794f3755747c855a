//! [`Node`]s to a message, led by its descriptor; every mistake is noted and the walk goes on.
//!
//! What is wrong is left out of the message or, where the intention is plain, repaired: a misspelt field is read as the one that was
//! probably meant, a number where a text belongs as its text. So one mistake does not hide others, or cause them.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value as Wire};

use crate::{
    finding::Finding,
    node::{Entry, Literal, Node, Scalar, Value, unique},
    schema,
    source_map::SourceMap,
    span::Span,
};

mod literal;
mod special;

/// A walk over one document.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) map: SourceMap,
    pub(crate) findings: Vec<Finding>,
    /// Paths of messages of which a part was left out: what seems to be missing there may only be wrong.
    pub(crate) incomplete: BTreeSet<String>,
}

impl Walk {
    /// The message that `node` describes; `None` if it is nothing like one.
    pub(crate) fn message(&mut self, descriptor: &MessageDescriptor, node: &Node, path: &str) -> Option<DynamicMessage> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Broken => return None,
            _ => {
                let fields = listed(&schema::field_names(descriptor));
                let hint = match node.is_null() {
                    true => format!("remove it, or give it one or more of: {fields}"),
                    false => format!("it takes: {fields}"),
                };
                self.wrong_type("a mapping", node, path, hint);
                return None;
            }
        };
        let entries = self.unique(entries, path);
        let present: Vec<&str> = entries.iter().map(|entry| entry.key.text.as_str()).collect();
        let mut message = DynamicMessage::new(descriptor.clone());
        // By name of the oneof: which of its fields was given first.
        let mut chosen: BTreeMap<String, (String, Span)> = BTreeMap::new();
        for entry in entries {
            let Some(field) = self.field(descriptor, entry, path, &present) else { continue };
            let value = self.field_value(&field, entry, &join(path, field.name()));
            if let Some(oneof) = field.containing_oneof() {
                if let Some((first, span)) = chosen.get(oneof.name()) {
                    let message = format!("{} has both `{first}` and `{}`", place(path), field.name());
                    let names: Vec<String> = oneof.fields().map(|field| field.name().to_owned()).collect();
                    self.findings.push(
                        Finding::error("more-than-one", &join(path, field.name()), entry.key.span, message)
                            .hint(format!("keep one of: {}", listed(&names)))
                            .related(*span, "the first"),
                    );
                    continue;
                }
                chosen.insert(oneof.name().to_owned(), (field.name().to_owned(), entry.key.span));
            }
            match value {
                Some((field, value)) => message.set_field(&field, value),
                None if field.containing_oneof().is_some() => {
                    self.incomplete.insert(path.to_owned());
                }
                None => {}
            }
        }
        Some(message)
    }

    /// The field that a key names, or probably means.
    fn field(&mut self, of: &MessageDescriptor, entry: &Entry, path: &str, present: &[&str]) -> Option<FieldDescriptor> {
        let key = entry.key.text.as_str();
        if let Some(field) = of.get_field_by_name(key) {
            return Some(field);
        }
        let names = schema::field_names(of);
        let suggestion = schema::suggestion(key, names.iter().map(String::as_str));
        let message = format!("unknown field `{key}` in {}", place(path));
        let finding = Finding::error("unknown-field", &join(path, key), entry.key.span, message);
        let hint = format!("it takes: {}", listed(&names));
        self.findings.push(match suggestion {
            Some(name) => finding.label(format!("did you mean `{name}`?")).hint(hint),
            None => finding.hint(hint),
        });
        let meant = suggestion.filter(|name| !present.contains(name)).and_then(|name| of.get_field_by_name(name));
        if meant.is_none() {
            self.incomplete.insert(path.to_owned());
        }
        meant
    }

    /// The value of a field, and the field that takes it: an expression in place of a duration has one of its own.
    fn field_value(&mut self, field: &FieldDescriptor, entry: &Entry, path: &str) -> Option<(FieldDescriptor, Wire)> {
        let node = &entry.value;
        self.map.insert(path, Some(entry.key.span), node);
        if let Some((twin, value)) = self.expression_for_duration(field, node, path) {
            return value.map(|value| (twin, value));
        }
        let rewritten;
        let node = match self.number_as_text(field, node).or_else(|| self.size(field, node, path)) {
            Some(other) => {
                rewritten = other;
                &rewritten
            }
            None => node,
        };
        let value = if field.is_map() {
            self.map_value(field, node, path)
        } else if field.is_list() {
            self.list_value(field, node, path)
        } else {
            self.single(&field.kind(), node, path)
        };
        value.map(|value| (field.clone(), value))
    }

    fn list_value(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Wire> {
        let kind = field.kind();
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Broken => return None,
            value => {
                let hint = match value {
                    Value::Scalar(scalar) if !node.is_null() => format!("write `{}: [{}]`", field.name(), scalar.text),
                    Value::Map(_) => "put `- ` before each item".into(),
                    _ => "remove it, or write `[]`".into(),
                };
                self.wrong_type("a list", node, path, hint);
                return (!node.is_null()).then(|| Wire::List(self.single(&kind, node, &format!("{path}[0]")).into_iter().collect()));
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.map.insert(&path, None, item);
            // A placeholder keeps the indices of what follows, so that paths still fit the text.
            values.push(self.single(&kind, item, &path).unwrap_or_else(|| Wire::default_value(&kind)));
        }
        Some(Wire::List(values))
    }

    fn map_value(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Wire> {
        let kind = field.kind();
        let entry_type = kind.as_message()?;
        let (key_kind, value_kind) = (entry_type.map_entry_key_field().kind(), entry_type.map_entry_value_field().kind());
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Broken => return None,
            _ => {
                self.wrong_type("a mapping", node, path, format!("write `{}: {{name: value}}`", field.name()));
                return None;
            }
        };
        let mut map = std::collections::HashMap::new();
        for entry in self.unique(entries, path) {
            let path = join(path, &entry.key.text);
            self.map.insert(&path, Some(entry.key.span), &entry.value);
            if !matches!(key_kind, Kind::String) {
                self.findings.push(Finding::error("bad-key", &path, entry.key.span, "maps whose keys are not texts can't be written here"));
                continue;
            }
            if let Some(value) = self.single(&value_kind, &entry.value, &path) {
                map.insert(MapKey::String(entry.key.text.clone()), value);
            }
        }
        Some(Wire::Map(map))
    }

    /// A value that is no list and no map.
    fn single(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Wire> {
        match (kind, &node.value) {
            (_, Value::Broken) => None,
            (Kind::Message(message), _) => self.single_message(message, node, path).map(Wire::Message),
            (_, Value::Scalar(scalar)) => self.literal(kind, node, scalar, path),
            _ => {
                self.wrong_type(literal::expected(kind), node, path, String::new());
                None
            }
        }
    }

    fn single_message(&mut self, message: &MessageDescriptor, node: &Node, path: &str) -> Option<DynamicMessage> {
        match message.full_name() {
            schema::DURATION => return self.duration(message, node, path),
            schema::TEMPLATE | schema::JSON_VALUE => return self.template(message, node, path),
            schema::ERROR_MATCH => {
                if let Some(errors) = self.error_match(message, node, path) {
                    return errors;
                }
            }
            _ => {}
        }
        if let (Some(field), Value::Scalar(scalar)) = (schema::shorthand(message), &node.value)
            && scalar.kind != Literal::Null
        {
            let inner = join(path, field.name());
            self.map.insert(&inner, None, node);
            let value = self.literal(&field.kind(), node, scalar, &inner)?;
            let mut short = DynamicMessage::new(message.clone());
            short.set_field(&field, value);
            return Some(short);
        }
        self.message(message, node, path)
    }

    /// The first entry of each key; notes the others.
    pub(crate) fn unique<'n>(&mut self, entries: &'n [Entry], path: &str) -> Vec<&'n Entry> {
        let (firsts, repeats) = unique(entries);
        for (entry, first) in repeats {
            let message = format!("`{}` is given twice in {}", entry.key.text, place(path));
            self.findings.push(
                Finding::error("duplicate-key", &join(path, &entry.key.text), entry.key.span, message).related(first, "first given here"),
            );
        }
        firsts
    }

    fn wrong_type(&mut self, expected: &str, node: &Node, path: &str, hint: String) {
        let message = format!("{} must be {expected}, found {}", place(path), node.describe());
        self.findings.push(Finding::error("wrong-type", path, node.span, message).label(format!("expected {expected}")).hint(hint));
    }
}

/// A path for people.
pub(crate) fn place(path: &str) -> String {
    if path.is_empty() { "the workflow".into() } else { format!("`{path}`") }
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

pub(crate) fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The text of a scalar that is one, for the special forms.
fn text_of(node: &Node) -> Option<&Scalar> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind == Literal::Text => Some(scalar),
        _ => None,
    }
}
