//! The types that people write in a form of their own: durations, expressions in place of durations, and templates.

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value as Wire};
use serde_json::{Map, Number};

use crate::{
    duration::parse_duration,
    expression,
    finding::Finding,
    node::{Layout, Literal, Node, Scalar, Value},
    schema,
    size::parse_size,
    walk::{Walk, join, place, text_of},
};

impl Walk {
    pub(super) fn duration(&mut self, message: &MessageDescriptor, node: &Node, path: &str) -> Option<DynamicMessage> {
        let Some(scalar) = text_of(node) else {
            let hint = match &node.value {
                Value::Scalar(Scalar { kind: Literal::Int(_) | Literal::Float(_), text, .. }) => {
                    format!("write `{text}s` for seconds, `{text}m` for minutes")
                }
                _ => "write for example `30s`, `5m` or `1h30m`".into(),
            };
            let message = format!("{} must be a duration, found {}", place(path), node.describe());
            self.findings.push(Finding::error("bad-duration", path, node.span, message).label("expected a duration").hint(hint));
            return None;
        };
        if scalar.text.contains("${") {
            let message = format!("{} takes a fixed duration, not an expression", place(path));
            self.findings.push(Finding::error("bad-duration", path, node.span, message).hint("write for example `30s`, `5m` or `1h30m`"));
            return None;
        }
        match parse_duration(&scalar.text) {
            Ok(duration) => {
                let mut value = DynamicMessage::new(message.clone());
                value.try_set_field_by_name("seconds", Wire::I64(duration.seconds)).ok()?;
                value.try_set_field_by_name("nanos", Wire::I32(duration.nanos)).ok()?;
                Some(value)
            }
            Err(error) => {
                let message = format!("{} is not a duration: {error}", place(path));
                self.findings.push(Finding::error("bad-duration", path, node.span, message).hint(error.hint));
                None
            }
        }
    }

    /// `for: "${...}"` is the field `for_expression`. `None` if `field` has no such twin or `node` is no template.
    pub(super) fn expression_for_duration(
        &mut self,
        field: &FieldDescriptor,
        node: &Node,
        path: &str,
    ) -> Option<(FieldDescriptor, Option<Wire>)> {
        let twin = schema::expression_twin(field)?;
        let scalar = text_of(node).filter(|scalar| scalar.text.contains("${"))?;
        let Some(source) = expression::whole(&scalar.text) else {
            let message = format!("{} mixes text and an expression", place(path));
            let hint = "write one expression whose value is a duration such as \"90s\": `\"${...}\"`";
            self.findings.push(Finding::error("bad-duration", path, node.span, message).hint(hint));
            return Some((twin, None));
        };
        // Problems that the engine finds count from the start of the expression.
        let inside = scalar.text.find(source).unwrap_or(0);
        let layout = match scalar.layout {
            Layout::Verbatim(start) => Layout::Verbatim(start + inside),
            _ => Layout::Altered,
        };
        let inner = Scalar { text: source.to_owned(), kind: Literal::Text, layout };
        let twin_path = format!("{}{}", path.strip_suffix(field.name()).unwrap_or(path), twin.name());
        for path in [path, &twin_path] {
            self.map.insert(path, self.map.key(path), &Node { span: node.span, value: Value::Scalar(inner.clone()) });
        }
        Some((twin, Some(Wire::String(source.to_owned()))))
    }

    /// `200` where a text is expected that often looks like a number, alone or in a list.
    pub(super) fn number_as_text(&mut self, field: &FieldDescriptor, node: &Node) -> Option<Node> {
        if !schema::is_numeric_text(field) {
            return None;
        }
        let as_text = |node: &Node| match &node.value {
            Value::Scalar(scalar @ Scalar { kind: Literal::Int(_), .. }) => {
                Node { span: node.span, value: Value::Scalar(Scalar { kind: Literal::Text, ..scalar.clone() }) }
            }
            _ => node.clone(),
        };
        let value = match &node.value {
            Value::List(items) => Value::List(items.iter().map(as_text).collect()),
            _ => as_text(node).value,
        };
        Some(Node { span: node.span, value })
    }

    /// `2MiB` where a number of bytes is expected. A text that is no size is left to be refused as what it is.
    pub(super) fn size(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Node> {
        let scalar = text_of(node).filter(|_| schema::is_size(field))?;
        match parse_size(&scalar.text) {
            Some(bytes) => {
                let value = Value::Scalar(Scalar { kind: Literal::Int(bytes.into()), ..scalar.clone() });
                Some(Node { span: node.span, value })
            }
            None => {
                let message = format!("{} is not a size: `{}`", place(path), scalar.text);
                self.findings.push(Finding::error("bad-size", path, node.span, message).hint("write for example `512KiB` or `1MiB`"));
                Some(Node { span: node.span, value: Value::Broken })
            }
        }
    }

    /// `true` for any error, a list for these types. `None` if it is written as the message.
    pub(super) fn error_match(&mut self, message: &MessageDescriptor, node: &Node, path: &str) -> Option<Option<DynamicMessage>> {
        let mut errors = DynamicMessage::new(message.clone());
        match &node.value {
            Value::Scalar(Scalar { kind: Literal::Bool(any), .. }) => {
                errors.try_set_field_by_name("any", Wire::Bool(*any)).ok()?;
            }
            Value::List(_) => {
                let field = message.get_field_by_name("types")?;
                let inner = join(path, field.name());
                self.map.insert(&inner, None, node);
                let types = self.list_value(&field, node, &inner)?;
                errors.set_field(&field, types);
            }
            Value::Map(_) | Value::Broken => return None,
            Value::Scalar(_) => {
                let hint = "write `true` for any error, or a list of types: `[NotFound]`".to_owned();
                self.wrong_type("`true` or a list of error types", node, path, hint);
                return Some(None);
            }
        }
        Some(Some(errors))
    }

    pub(super) fn template(&mut self, message: &MessageDescriptor, node: &Node, path: &str) -> Option<DynamicMessage> {
        let value = self.json(node, path)?;
        let mut template = DynamicMessage::new(message.clone());
        template.try_set_field_by_name("json", Wire::String(value.to_string())).ok()?;
        Some(template)
    }

    /// Any value. Each part is put on the map, since expressions stand deep inside.
    fn json(&mut self, node: &Node, path: &str) -> Option<serde_json::Value> {
        match &node.value {
            Value::Broken => None,
            Value::Scalar(scalar) => self.json_literal(node, scalar, path),
            Value::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.map.insert(&path, None, item);
                    values.push(self.json(item, &path).unwrap_or_default());
                }
                Some(values.into())
            }
            Value::Map(entries) => {
                let mut map = Map::new();
                for entry in self.unique(entries, path) {
                    let path = join(path, &entry.key.text);
                    self.map.insert(&path, Some(entry.key.span), &entry.value);
                    let value = self.json(&entry.value, &path).unwrap_or_default();
                    map.insert(entry.key.text.clone(), value);
                }
                Some(map.into())
            }
        }
    }

    fn json_literal(&mut self, node: &Node, scalar: &Scalar, path: &str) -> Option<serde_json::Value> {
        let number = match scalar.kind {
            Literal::Null => return Some(serde_json::Value::Null),
            Literal::Bool(value) => return Some(value.into()),
            Literal::Text => return Some(scalar.text.clone().into()),
            Literal::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => Some(Number::from(value)),
                (_, Ok(value)) => Some(Number::from(value)),
                _ => {
                    let message = format!("{} needs more than 64 bits and loses digits", place(path));
                    self.findings
                        .push(Finding::error("number-precision", path, node.span, message).hint("quote it to keep every digit").warning());
                    Number::from_f64(value as f64)
                }
            },
            Literal::Float(value) => Number::from_f64(value),
        };
        if number.is_none() {
            let message = format!("{} is `{}`, which JSON has no number for", place(path), scalar.text);
            self.findings.push(Finding::error("bad-number", path, node.span, message).hint("quote it, or leave it out"));
        }
        number.map(Into::into)
    }
}
