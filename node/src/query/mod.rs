//! What to look for among runs: conditions, the text that people write them in, and what they say about one run.
//!
//! A filter is a list of conditions that a run must meet, all of them. Its text is the same for the API, the command line and everything that acts on
//! many runs: `workflow=release status=failed,terminated label.team=payments started>2h`. [`parse()`] reads it, [`RunFilter::to_text`] writes it with
//! absolute times, so that a filter can travel to other nodes and mean the same there.
//!
//! Invariant: a condition is answered by a [`RunRow`] alone, which is what the list of runs keeps per run; nothing else is read to filter.

mod condition;
mod parse;
mod text;

#[cfg(test)]
pub(crate) mod tests;

pub use condition::{Comparison, Condition, Pattern, RunFilter, RunRow};
pub use parse::{FilterError, parse};
