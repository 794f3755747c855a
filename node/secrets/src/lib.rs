//! Secrets by reference: what a definition names, what an executor uses, and what must not leave the executor again.
//!
//! ```text
//!   ${secrets.token}  ->  {{quorus.secret:token}}  ->  the value     ->  ***
//!   definition            run state, history, task     one attempt       outcomes, checkpoints, logs
//! ```
//!
//! - [`Secrets`] finds values: in the process's environment, or in files.
//! - [`Resolved`] holds those of one attempt, puts them where a task's input has markers, and masks them in everything that goes out.
//!
//! Used by every process that executes attempts: nodes, for their built-in steps, and workers.
//!
//! Invariants: a value is looked up for each attempt anew, so that a rotated secret is used from the next attempt on; only names that the task
//! lists are looked up; no type here shows a value in its debug output.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod mask;
mod provider;
mod resolved;

pub use mask::MASK;
pub use provider::{Secrets, Unavailable};
pub use resolved::Resolved;

/// What a rendered template holds where a secret is to be put.
pub fn marker(name: &str) -> String {
    format!("{MARKER_START}{name}{MARKER_END}")
}

const MARKER_START: &str = "{{quorus.secret:";
const MARKER_END: &str = "}}";
