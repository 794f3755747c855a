//! JSON whose strings may contain `${...}`.
//!
//! A string that is only `${...}` becomes the value with its type; in a longer string, text is inserted as it is and every other value as
//! JSON; `$${` stands for a literal `${`. Parts without expressions are kept as they are.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::check::{Flaw, StepReference, Steps};
use super::error::EvaluationError;
use super::expression::{Expression, Scope};
use super::reading::Reading;
use crate::{Payload, SECRET_MARKER};

/// A flaw or reference, and the path below the template's own where it is: `.a[0]`.
#[derive(Debug)]
pub(crate) struct Place<T> {
    pub(crate) path: String,
    pub(crate) what: T,
}

/// A compiled template, immutable.
#[derive(Debug)]
pub(crate) enum Template {
    /// Nothing to evaluate.
    Literal(Value),
    /// A string that is only an expression.
    Value(Expression),
    /// A string with expressions in it.
    Text(Vec<Piece>),
    /// An array with expressions below.
    Array(Vec<Template>),
    /// An object with expressions below.
    Object(Vec<(String, Template)>),
}

/// A part of a string.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Text, after unescaping.
    Literal(String),
    /// `${...}`.
    Value(Expression),
}

impl Piece {
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(two)) => one == two,
            (Self::Value(one), Self::Value(two)) => one.source() == two.source(),
            (Self::Literal(_) | Self::Value(_), _) => false,
        }
    }
}

/// What compiling found, besides the template.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) flaws: Vec<Place<Flaw>>,
    pub(crate) references: Vec<Place<StepReference>>,
    /// Where `self.output` is read without asking whether it is there.
    pub(crate) unguarded_outputs: Vec<Place<Option<usize>>>,
    /// Names of the secrets that are referred to.
    pub(crate) secrets: BTreeSet<String>,
}

impl Template {
    /// Compiles; flaws are collected, so that all are reported at once.
    pub(crate) fn compile(value: &Value, steps: &dyn Steps, reading: &Reading<'_>) -> (Self, Found) {
        let mut compiler = Compiler { steps, reading, path: String::new(), found: Found::default() };
        let template = compiler.node(value);
        (template, compiler.found)
    }

    /// An object of parts that were compiled each by itself.
    pub(crate) fn object(members: Vec<(String, Self)>) -> Self {
        if members.iter().all(|(_, member)| is_literal(member)) { literal_object(members) } else { Self::Object(members) }
    }

    /// An array of parts that were compiled each by itself.
    pub(crate) fn array(elements: Vec<Self>) -> Self {
        if elements.iter().all(is_literal) { literal_array(elements) } else { Self::Array(elements) }
    }

    /// True if both were compiled from the same text.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(two)) => one == two,
            (Self::Value(one), Self::Value(two)) => one.source() == two.source(),
            (Self::Text(one), Self::Text(two)) => one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_same_as(two)),
            (Self::Array(one), Self::Array(two)) => one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_same_as(two)),
            (Self::Object(one), Self::Object(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.0 == two.0 && one.1.is_same_as(&two.1))
            }
            (Self::Literal(_) | Self::Value(_) | Self::Text(_) | Self::Array(_) | Self::Object(_), _) => false,
        }
    }

    /// Evaluates. What would be larger than a payload is an error.
    pub(crate) fn render(&self, scope: &dyn Scope) -> Result<Value, EvaluationError> {
        let mut budget = Payload::BYTES_MAX;
        self.render_within(scope, &mut budget)
    }

    fn render_within(&self, scope: &dyn Scope, budget: &mut usize) -> Result<Value, EvaluationError> {
        match self {
            Self::Literal(value) => spend(budget, size(value)).map(|()| value.clone()),
            Self::Value(expression) => {
                let value = evaluate(expression, scope)?;
                spend(budget, size(&value)).map(|()| value)
            }
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => text.push_str(literal),
                        Piece::Value(expression) => match evaluate(expression, scope)? {
                            Value::String(value) => text.push_str(&value),
                            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                                // Writing to a string can't fail.
                                let _ = write!(text, "{value}");
                            }
                        },
                    }
                    if text.len() > *budget {
                        return Err(EvaluationError::TooLarge);
                    }
                }
                spend(budget, text.len() + 2).map(|()| Value::String(text))
            }
            Self::Array(elements) => {
                elements.iter().map(|element| element.render_within(scope, budget)).collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Object(members) => {
                let mut object = Map::new();
                for (key, member) in members {
                    spend(budget, key.len() + 3)?;
                    object.insert(key.clone(), member.render_within(scope, budget)?);
                }
                Ok(Value::Object(object))
            }
        }
    }
}

/// What is computed can't refer to a secret: only the definition may say where secrets go.
fn evaluate(expression: &Expression, scope: &dyn Scope) -> Result<Value, EvaluationError> {
    let value = expression.evaluate(scope)?;
    if holds_marker(&value) {
        return Err(EvaluationError::new(
            expression.source(),
            "the value holds a reference to a secret; write `${secrets.<name>}` instead",
        ));
    }
    Ok(value)
}

fn holds_marker(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains(SECRET_MARKER),
        Value::Array(elements) => elements.iter().any(holds_marker),
        Value::Object(members) => members.iter().any(|(key, member)| key.contains(SECRET_MARKER) || holds_marker(member)),
    }
}

fn spend(budget: &mut usize, bytes: usize) -> Result<(), EvaluationError> {
    *budget = budget.checked_sub(bytes).ok_or(EvaluationError::TooLarge)?;
    Ok(())
}

/// Bytes of the JSON text, roughly and never more.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 1,
        Value::String(text) => text.len() + 2,
        Value::Array(elements) => 2 + elements.iter().map(size).sum::<usize>(),
        Value::Object(members) => 2 + members.iter().map(|(key, member)| key.len() + 3 + size(member)).sum::<usize>(),
    }
}

struct Compiler<'a> {
    steps: &'a dyn Steps,
    reading: &'a Reading<'a>,
    path: String,
    found: Found,
}

impl Compiler<'_> {
    fn node(&mut self, value: &Value) -> Template {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Template::Literal(value.clone()),
            Value::String(text) => self.text(text),
            Value::Array(elements) => {
                let elements: Vec<_> =
                    elements.iter().enumerate().map(|(index, element)| self.below(&format!("[{index}]"), element)).collect();
                Template::array(elements)
            }
            Value::Object(members) => {
                let members: Vec<_> = members.iter().map(|(key, member)| (key.clone(), self.below(&format!(".{key}"), member))).collect();
                Template::object(members)
            }
        }
    }

    fn below(&mut self, segment: &str, value: &Value) -> Template {
        let length = self.path.len();
        self.path.push_str(segment);
        let template = self.node(value);
        self.path.truncate(length);
        template
    }

    fn text(&mut self, text: &str) -> Template {
        if let Some(at) = text.find(SECRET_MARKER) {
            let message = format!("`{SECRET_MARKER}` is reserved");
            let hint = "write `${secrets.<name>}`".to_owned();
            self.flaw(Flaw { offset: Some(at), code: "reserved-text", message, hint: Some(hint), warning: false });
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let dollar = at + found;
            if text[at..dollar].ends_with('$') {
                literal.push_str(&text[at..dollar - 1]);
                literal.push_str("${");
                at = dollar + 2;
                continue;
            }
            literal.push_str(&text[at..dollar]);
            let start = dollar + 2;
            let Some(length) = expression_length(&text[start..]) else {
                let hint = "close it with `}`, or write `$${` for the characters themselves".to_owned();
                let message = "`${` without its `}`".to_owned();
                self.flaw(Flaw { offset: Some(dollar), code: "unterminated-expression", message, hint: Some(hint), warning: false });
                return Template::Literal(Value::Null);
            };
            if let Some(name) = self.secret(&text[start..start + length]) {
                literal.push_str(&format!("{SECRET_MARKER}{name}}}}}"));
                self.found.secrets.insert(name);
                at = start + length + 1;
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            if let Some(expression) = self.expression(&text[start..start + length], start) {
                pieces.push(Piece::Value(expression));
            }
            at = start + length + 1;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        match (pieces.pop(), pieces.is_empty()) {
            (None, _) => Template::Literal(Value::String(String::new())),
            (Some(Piece::Literal(text)), true) => Template::Literal(Value::String(text)),
            (Some(Piece::Value(expression)), true) => Template::Value(expression),
            (Some(last), false) => {
                pieces.push(last);
                Template::Text(pieces)
            }
        }
    }

    /// The name of the secret that the source is, if secrets are available here.
    fn secret(&self, source: &str) -> Option<String> {
        let rest = source.trim().strip_prefix("secrets").filter(|_| self.reading.secrets)?;
        let bracketed = ["['", "[\""].iter().zip(["']", "\"]"]).find_map(|(open, close)| rest.strip_prefix(open)?.strip_suffix(close));
        let name = bracketed.or_else(|| rest.strip_prefix('.').filter(|name| !name.contains(['-', '.'])))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!name.is_empty() && name.len() <= 128 && name.chars().all(fits)).then(|| name.to_owned())
    }

    fn expression(&mut self, source: &str, start: usize) -> Option<Expression> {
        match Expression::compile(source, self.steps, self.reading) {
            Ok((expression, noted)) => {
                for reference in noted.references {
                    let what = StepReference { offset: reference.offset.map(|offset| start + offset), ..reference };
                    self.found.references.push(Place { path: self.path.clone(), what });
                }
                if let Some(offset) = noted.unguarded_output {
                    self.found.unguarded_outputs.push(Place { path: self.path.clone(), what: offset.map(|offset| start + offset) });
                }
                for flaw in noted.warnings {
                    self.flaw(Flaw { offset: Some(start + flaw.offset.unwrap_or_default()), ..flaw });
                }
                Some(expression)
            }
            Err(flaws) => {
                for flaw in flaws {
                    self.flaw(Flaw { offset: Some(start + flaw.offset.unwrap_or_default()), ..flaw });
                }
                None
            }
        }
    }

    fn flaw(&mut self, what: Flaw) {
        self.found.flaws.push(Place { path: self.path.clone(), what });
    }
}

/// Where the `}` is that ends the expression: not one in a string, and not one of a map.
fn expression_length(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn is_literal(template: &Template) -> bool {
    matches!(template, Template::Literal(_))
}

fn literal_array(elements: Vec<Template>) -> Template {
    Template::Literal(Value::Array(elements.into_iter().filter_map(into_literal).collect()))
}

fn literal_object(members: Vec<(String, Template)>) -> Template {
    Template::Literal(Value::Object(
        members.into_iter().filter_map(|(key, member)| into_literal(member).map(|value| (key, value))).collect(),
    ))
}

fn into_literal(template: Template) -> Option<Value> {
    match template {
        Template::Literal(value) => Some(value),
        Template::Value(_) | Template::Text(_) | Template::Array(_) | Template::Object(_) => None,
    }
}
