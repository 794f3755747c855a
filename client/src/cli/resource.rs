//! Definitions that are no workflows: read here, so that mistakes are shown where they are, and checked by the cluster, whose mistakes are shown there, too.

use prost::{Message, Name};
use quorus_client::{Error, exit_code, v1};
use quorus_spec::{Diagnostic, Problem, place_problems, read_resource, render_all};

use super::{
    args::Globals,
    failure::Failure,
    source::{self, Source},
    term,
};

/// A definition and the text that it was read from.
pub(crate) struct Defined<M> {
    pub(crate) message: M,
    source: Source,
    kind: &'static str,
}

/// Reads all definitions of one kind; shows everything that is wrong with any of them.
pub(crate) fn read_all<M: Message + Name + Default>(paths: &[String], kind: &'static str) -> Result<Vec<Defined<M>>, Failure> {
    let mut read = Vec::new();
    let mut broken = false;
    for source in source::read_all(paths)? {
        match read_resource::<M>(&source.text, &source.name, kind) {
            Ok(message) => read.push(Defined { message, source, kind }),
            Err(found) => {
                broken = true;
                show(&found, &source);
            }
        }
    }
    if broken { Err(Failure::silent(exit_code::ERROR)) } else { Ok(read) }
}

/// Reads the only definition of a file.
pub(crate) fn read_one<M: Message + Name + Default>(path: &str, kind: &'static str) -> Result<Defined<M>, Failure> {
    let mut all = read_all::<M>(&[path.to_owned()], kind)?;
    match (all.pop(), all.is_empty()) {
        (Some(defined), true) => Ok(defined),
        _ => Err(Failure::usage(format!("`{path}` has several files, expected one"))),
    }
}

impl<M: Message + Name + Default> Defined<M> {
    /// Shows where in the text the cluster found something wrong; any other error stays as it is.
    pub(crate) fn refused(&self, error: Error) -> Failure {
        let Some(api) = error.api().filter(|api| api.reason == "INVALID_ARGUMENT" && !api.violations.is_empty()) else {
            return error.into();
        };
        let problems = api.violations.iter().map(|violation| Problem::error(&violation.field, "invalid", &violation.description));
        show(&place_problems::<M>(&self.source.text, &self.source.name, self.kind, &problems.collect::<Vec<_>>()), &self.source);
        Failure::silent(exit_code::ERROR)
    }

    /// Shows what is legal but deserves a look.
    pub(crate) fn warn(&self, globals: &Globals, warnings: &[v1::Problem]) {
        if globals.quiet || warnings.is_empty() {
            return;
        }
        let problem = |problem: &v1::Problem| Problem { warning: true, ..Problem::error(&problem.path, "warning", &problem.message) };
        let problems: Vec<_> = warnings.iter().map(problem).collect();
        show(&place_problems::<M>(&self.source.text, &self.source.name, self.kind, &problems), &self.source);
    }
}

/// Makes sure that `-n` and the definition don't contradict each other.
pub(crate) fn namespace(globals: &Globals, metadata: Option<&v1::Metadata>) -> Result<(), Failure> {
    match (&globals.namespace, metadata) {
        (Some(asked), Some(metadata)) if !metadata.namespace.is_empty() && metadata.namespace != *asked => {
            Err(Failure::usage(format!("`{}` is for namespace `{}`, but -n says `{asked}`", metadata.name, metadata.namespace)))
        }
        _ => Ok(()),
    }
}

fn show(found: &[Diagnostic], source: &Source) {
    // Rendered with colours always: writing removes them where they don't belong.
    term::note(&format!("{}\n", render_all(found, &source.text, true)));
}
