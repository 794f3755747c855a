//! Expressions: CEL in conditions and in `${...}`, and the templates that hold them.
//!
//! Compiled once, when a plan is made: names are checked, and every path that starts at a root (`input.a.b`, `steps.x.output.y`) becomes
//! a slot, so that an evaluation converts only the parts of the documents that it reads. What CEL leaves open is settled here, so that
//! the same state gives the same value everywhere:
//!
//! - JSON integers that fit are ints, other numbers doubles; arithmetic promotes an int to a double when it meets one; int / int is an
//!   error, because it would silently drop the remainder;
//! - a comprehension over a map visits its keys in order; maps become JSON with ordered keys;
//! - `has(a.b.c)` is false when anything on the way, or the end, is missing or null; reading a missing path is an error;
//! - the cost is bounded before running (`cost`), and so is the size of the result;
//! - messages of errors show types and names, never values.
//!
//! An expression that is only a path copies the JSON as it is. Integers beyond 64 bits are doubles there, too: that is how documents
//! are parsed.

mod check;
mod convert;
mod cost;
mod duration;
mod env;
mod error;
mod expression;
mod formula;
mod path;
mod reading;
mod schema;
mod template;

pub(crate) use check::{Flaw, StepReference, Steps};
pub(crate) use cost::{BYTES_PER_ROUND, ROUNDS_MAX};
pub(crate) use duration::{format_timestamp, parse_duration, parse_timestamp};
pub use error::EvaluationError;
pub(crate) use expression::{Expression, Scope};
pub use formula::{Formula, FormulaTemplate, GateCondition, ResponseValue};
pub(crate) use path::Root;
pub(crate) use reading::{Reading, SELF_FIELDS};
pub(crate) use template::{Place, Template};
