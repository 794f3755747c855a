//! [`load`]: from a text to something that can run, or everything that is wrong with it.

use std::sync::Arc;

use quorus_engine::Definition;
use quorus_proto::v1::Workflow;

use crate::{
    check::check,
    compile::compile,
    diagnostic::Diagnostic,
    engine::Plan,
    read::{Read, read, read_all},
};

/// A text without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// As it was written.
    pub workflow: Workflow,
    /// As the engine reads it.
    pub definition: Definition,
    /// As it will run.
    pub plan: Arc<Plan>,
    /// What is legal but deserves a look.
    pub warnings: Vec<Diagnostic>,
}

/// Reads, compiles and plans a text with one definition. `name` is what messages call it, for example the file's name.
///
/// # Errors
/// Everything that is wrong with the text, and everything that deserves a look, in the order of the text.
pub fn load(text: &str, name: &str) -> Result<Loaded, Vec<Diagnostic>> {
    diagnose(read(text, name))
}

/// The same for each definition of a text in which `---` separates several.
pub fn load_all(text: &str, name: &str) -> Vec<Result<Loaded, Vec<Diagnostic>>> {
    read_all(text, name).into_iter().map(diagnose).collect()
}

/// Adds what the compiler and the planner find to what the reader found, each at its place in the text.
///
/// # Errors
/// The same as [`load`].
pub fn diagnose(mut read: Read) -> Result<Loaded, Vec<Diagnostic>> {
    let Some(workflow) = read.workflow.clone() else { return Err(read.into_diagnostics()) };
    let (plan, problems) = check(&workflow);
    read.add(&problems);
    match (plan, compile(&workflow)) {
        (Some(plan), Ok(definition)) if read.is_ok() => {
            Ok(Loaded { workflow, definition, plan: Arc::new(plan), warnings: read.diagnostics })
        }
        _ => Err(read.into_diagnostics()),
    }
}
