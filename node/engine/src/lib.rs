//! The pure core of Quorus: `plan` checks a definition, `decide` turns a command into events, `fold` turns events into state.
//!
//! Invariants: no clock, no randomness, no IO and no HashMap iteration in here (`clippy.toml` forbids them); the same state, command and
//! context always give the same decision; the same events always give the same state.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod command;
mod decide;
mod definition;
mod event;
mod expr;
mod fold;
mod id;
mod payload;
mod plan;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use command::*;
pub use decide::{Decisions, apply, decide};
pub use definition::*;
pub use event::*;
pub use expr::{EvaluationError, Formula, FormulaTemplate, GateCondition, ResponseValue};
pub use fold::{StateMut, fold};
pub use id::*;
pub use payload::*;
pub use plan::*;
pub use run::{Owed, Progress, Run, goes_forward};
pub use state::*;
