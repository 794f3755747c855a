//! Makes an immutable plan of a definition, or says everything that is wrong with it.
//!
//! A plan is made once and shared by all runs of a definition. Its steps keep the order of the definition, which is the order in which
//! steps that become ready together are started. `check_*` find mistakes, `build` fills in defaults and compiles; the work is linear in
//! the number of steps and needs.

mod build;
mod builtin;
mod check_fields;
mod check_graph;
mod check_names;
mod critical_path;
mod expressions;
mod flatten;
mod kinds;
mod matrix;
mod outputs;
mod problem;
mod reads;
mod task;
mod types;

pub use build::plan;
pub use builtin::{BUILTIN_QUEUE, BuiltIn, SECRET_MARKER};
pub use matrix::{FIELDS, KINDS};
pub use problem::Problem;
pub(crate) use problem::did_you_mean;
pub use task::{PlannedPool, PlannedTask, RetryPolicy};
pub use types::*;
