//! Bounds what an evaluation may cost before it runs, because CEL itself counts nothing.
//!
//! Walks the expression with the sizes of the documents that it reads: a comprehension costs as many rounds as the largest list in its
//! range has elements, an element counts as the average of its range, whatever is built counts with the bytes of its parts. Both branches
//! of a choice count. The bound is the same everywhere, since it depends on nothing but the documents. What the expressions of one step
//! may cost together is bounded, too, and what a decision costs ends it, see [`super::Scope::spend`].

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use serde_json::Value;

use super::env;

/// Rounds of comprehensions, all nestings together. 60^3 rounds were measured to take about 0.1 s.
pub(crate) const ROUNDS_MAX: f64 = 1_000_000.0;

/// Bytes of everything that is read and of everything that is built on the way, also of what is dropped again: what is held at one time is
/// a fraction of it.
const BYTES_MAX: f64 = 128.0 * 1024.0 * 1024.0;

/// Bytes that are read, parsed or built in the time of a round.
pub(crate) const BYTES_PER_ROUND: f64 = 100.0;

/// A pattern is compiled each time, which costs about as much as this many rounds.
const PATTERN_ROUNDS: f64 = 100.0;

/// What a value takes besides its text.
const VALUE_BYTES: f64 = 48.0;

/// An upper bound of a value's size.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Size {
    /// Elements of the largest list or map at each depth; the first is the value itself.
    levels: Vec<f64>,
    /// Bytes in memory.
    bytes: f64,
}

impl Size {
    fn scalar(text: usize) -> Self {
        Self { levels: Vec::new(), bytes: VALUE_BYTES + text as f64 }
    }

    fn elements(&self) -> f64 {
        self.levels.first().copied().unwrap_or_default()
    }

    /// A list or map of these.
    fn container(parts: impl Iterator<Item = Self>) -> Self {
        let mut size = Self { levels: vec![0.0], bytes: VALUE_BYTES };
        for part in parts {
            size.levels[0] += 1.0;
            size.bytes += part.bytes;
            for (depth, elements) in part.levels.into_iter().enumerate() {
                match size.levels.get_mut(depth + 1) {
                    Some(known) => *known = known.max(elements),
                    None => size.levels.push(elements),
                }
            }
        }
        size
    }

    /// An element or member: its own size is at most the whole's, its depth one less.
    fn member(mut self) -> Self {
        if !self.levels.is_empty() {
            self.levels.remove(0);
        }
        self
    }

    /// What holds both, as `+` makes it.
    fn plus(mut self, other: Self) -> Self {
        self.bytes += other.bytes;
        for (depth, elements) in other.levels.into_iter().enumerate() {
            match self.levels.get_mut(depth) {
                Some(known) if depth == 0 => *known += elements,
                Some(known) => *known = known.max(elements),
                None => self.levels.push(elements),
            }
        }
        self
    }
}

/// The size of a document's part.
pub(super) fn measure(value: &Value) -> Size {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Size::scalar(0),
        Value::String(text) => Size::scalar(text.len()),
        Value::Array(elements) => Size::container(elements.iter().map(measure)),
        Value::Object(members) => {
            let mut size = Size::container(members.values().map(measure));
            size.bytes += members.keys().map(|key| key.len() as f64 + VALUE_BYTES).sum::<f64>();
            size
        }
    }
}

/// What an evaluation may cost, in rounds, or why it is refused: it could take too long or too much memory. `slots` are the sizes of what
/// the expression reads.
pub(super) fn check(expression: &IdedExpr, slots: Vec<(String, Size)>) -> Result<f64, String> {
    let read: f64 = slots.iter().map(|(_, size)| size.bytes).sum();
    let mut bound = Bound { names: slots, rounds: 1.0, bytes: read };
    bound.visit(expression, 1.0);
    if bound.rounds > ROUNDS_MAX {
        return Err(format!("it could take {:.0} rounds, more than {ROUNDS_MAX:.0}", bound.rounds));
    }
    if bound.bytes > BYTES_MAX {
        return Err(format!("it could need {:.0} MiB of memory, more than {:.0}", bound.bytes / 1_048_576.0, BYTES_MAX / 1_048_576.0));
    }
    Ok(bound.rounds + bound.bytes / BYTES_PER_ROUND)
}

struct Bound {
    names: Vec<(String, Size)>,
    rounds: f64,
    bytes: f64,
}

impl Bound {
    /// Returns the size of the node's value; adds what `times` evaluations of it cost.
    fn visit(&mut self, node: &IdedExpr, times: f64) -> Size {
        match &node.expr {
            Expr::Literal(LiteralValue::String(text)) => Size::scalar(text.inner().len()),
            Expr::Literal(LiteralValue::Bytes(bytes)) => Size::scalar(bytes.inner().len()),
            Expr::Literal(_) => Size::scalar(0),
            Expr::Ident(name) => self.names.iter().rev().find(|(known, _)| known == name).map(|(_, size)| size.clone()).unwrap_or_default(),
            Expr::Select(select) => self.visit(&select.operand, times).member(),
            Expr::Call(call) => self.call(call, times),
            Expr::List(list) => {
                let parts: Vec<_> = list.elements.iter().map(|element| self.visit(element, times)).collect();
                self.built(Size::container(parts.into_iter()), times)
            }
            Expr::Map(map) => {
                let mut parts = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let key = self.visit(&entry.key, times);
                        let mut value = self.visit(&entry.value, times);
                        value.bytes += key.bytes;
                        parts.push(value);
                    }
                }
                self.built(Size::container(parts.into_iter()), times)
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, times),
            Expr::Struct(_) | Expr::Unspecified => Size::default(),
        }
    }

    fn comprehension(&mut self, node: &ComprehensionExpr, times: f64) -> Size {
        let range = self.visit(&node.iter_range, times);
        let rounds = range.elements().max(1.0);
        self.rounds += times * rounds;
        self.bytes += times * range.bytes;
        let mut element = range.member();
        element.bytes /= rounds;
        let known = self.names.len();
        self.names.push((node.accu_var.clone(), Size::default()));
        self.names.push((node.iter_var.clone(), element));
        self.visit(&node.loop_cond, times * rounds);
        let mut result = self.visit(&node.loop_step, times * rounds);
        self.names.truncate(known);
        // One round appends one element, or none.
        if let Some(elements) = result.levels.first_mut() {
            *elements *= rounds;
        }
        result.bytes *= rounds;
        result
    }

    fn call(&mut self, call: &CallExpr, times: f64) -> Size {
        let parts: Vec<_> = call.target.as_deref().into_iter().chain(&call.args).map(|arg| self.visit(arg, times)).collect();
        if call.func_name == "matches" {
            self.rounds += times * PATTERN_ROUNDS;
        }
        let appends = matches!(call.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
        let size = parts.into_iter().fold(Size::default(), Size::plus);
        match call.func_name.as_str() {
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => size.member(),
            // These hand on what they got, or part of it.
            operators::CONDITIONAL | env::ELEMENTS | "dyn" | "of" | "ofNonZeroValue" | "or" | "orValue" | "value" => size,
            operators::ADD if appends => size,
            operators::ADD | env::ADD | "string" | "bytes" => self.built(size, times),
            // Everything else gives a number, a time or a bool.
            _ => Size::scalar(0),
        }
    }

    fn built(&mut self, size: Size, times: f64) -> Size {
        self.bytes += times * size.bytes;
        size
    }
}
