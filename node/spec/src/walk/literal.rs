//! Texts, numbers, booleans and enums.

use prost_reflect::{EnumDescriptor, Kind, Value as Wire};

use crate::{
    finding::Finding,
    node::{Literal, Node, Scalar},
    schema,
    walk::{Walk, listed, place},
};

impl Walk {
    pub(super) fn literal(&mut self, kind: &Kind, node: &Node, scalar: &Scalar, path: &str) -> Option<Wire> {
        match (kind, scalar.kind) {
            (Kind::Enum(of), _) => self.enum_value(of, node, scalar, path),
            (Kind::String, Literal::Text) => Some(Wire::String(scalar.text.clone())),
            (Kind::String, Literal::Null) => {
                self.wrong_type(expected(kind), node, path, "remove it, or write `\"\"` for an empty text".into());
                None
            }
            (Kind::String, _) => {
                self.wrong_type(expected(kind), node, path, format!("quote it: `\"{}\"`", scalar.text));
                // The intention is plain, and without the value other things would look wrong.
                Some(Wire::String(scalar.text.clone()))
            }
            (Kind::Bool, Literal::Bool(value)) => Some(Wire::Bool(value)),
            (Kind::Bool, _) => {
                let hint = match scalar.text.to_lowercase().as_str() {
                    "yes" | "y" | "on" | "true" => "write `true`, without quotes",
                    "no" | "n" | "off" | "false" => "write `false`, without quotes",
                    _ => "write `true` or `false`",
                };
                self.wrong_type(expected(kind), node, path, hint.into());
                None
            }
            (Kind::Double, Literal::Int(value)) => Some(Wire::F64(value as f64)),
            (Kind::Double, Literal::Float(value)) if value.is_finite() => Some(Wire::F64(value)),
            (Kind::Float, Literal::Int(value)) => Some(Wire::F32(value as f32)),
            (Kind::Float, Literal::Float(value)) if value.is_finite() => Some(Wire::F32(value as f32)),
            (_, Literal::Int(value)) if integer_range(kind).is_some() => {
                let converted = integer(kind, value);
                if converted.is_none() {
                    let (low, high) = integer_range(kind).unwrap_or_default();
                    let message = format!("{} is out of range", place(path));
                    self.findings.push(Finding::error("bad-number", path, node.span, message).label(format!("{low} to {high}")));
                }
                converted
            }
            _ => {
                let unquoted = matches!(crate::scalar::resolve(&scalar.text), Literal::Int(_) | Literal::Float(_));
                let hint = if scalar.kind == Literal::Text && unquoted { "write it without quotes" } else { "" };
                self.wrong_type(expected(kind), node, path, hint.into());
                None
            }
        }
    }

    fn enum_value(&mut self, of: &EnumDescriptor, node: &Node, scalar: &Scalar, path: &str) -> Option<Wire> {
        let names: Vec<(String, i32)> =
            of.values().filter_map(|value| schema::short_name(of, value.name()).map(|short| (short, value.number()))).collect();
        // Programs that print proto JSON write the long name.
        let long = || of.get_value_by_name(&scalar.text).filter(|value| schema::short_name(of, value.name()).is_some());
        if scalar.kind == Literal::Text {
            let short = names.iter().find(|(name, _)| *name == scalar.text).map(|(_, number)| *number);
            if let Some(number) = short.or_else(|| long().map(|value| value.number())) {
                return Some(Wire::EnumNumber(number));
            }
        }
        let short_names: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
        let message = format!("{} can't be {}", place(path), node.describe());
        let mut finding = Finding::error("unknown-value", path, node.span, message).hint(format!("one of: {}", listed(&short_names)));
        if let Some(name) = schema::suggestion(&scalar.text, short_names.iter().map(String::as_str)) {
            finding = finding.label(format!("did you mean `{name}`?"));
        }
        self.findings.push(finding);
        None
    }
}

/// What a field takes, in words.
pub(super) fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::String => "a text",
        Kind::Bool => "`true` or `false`",
        Kind::Double | Kind::Float => "a number",
        Kind::Enum(_) => "a name",
        Kind::Message(_) => "a mapping",
        Kind::Bytes => "left out, since bytes can't be written here",
        _ => "a whole number",
    }
}

fn integer_range(kind: &Kind) -> Option<(i128, i128)> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Some((i32::MIN.into(), i32::MAX.into())),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Some((i64::MIN.into(), i64::MAX.into())),
        Kind::Uint32 | Kind::Fixed32 => Some((0, u32::MAX.into())),
        Kind::Uint64 | Kind::Fixed64 => Some((0, u64::MAX.into())),
        _ => None,
    }
}

fn integer(kind: &Kind, value: i128) -> Option<Wire> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => value.try_into().ok().map(Wire::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => value.try_into().ok().map(Wire::I64),
        Kind::Uint32 | Kind::Fixed32 => value.try_into().ok().map(Wire::U32),
        Kind::Uint64 | Kind::Fixed64 => value.try_into().ok().map(Wire::U64),
        _ => None,
    }
}
