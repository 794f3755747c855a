//! `run`, `validate` and `list`.

mod list;
mod run;
mod validate;

pub use list::{ListArgs, list};
pub use run::{RunArgs, run};
pub use validate::{ValidateArgs, validate};
