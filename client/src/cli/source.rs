//! Definitions from files, folders and stdin, checked where they are read.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use quorus_client::exit_code;
use quorus_spec::{Diagnostic, Loaded, render_all};

use super::{failure::Failure, term};

/// A text with definitions.
#[derive(Debug)]
pub(crate) struct Source {
    /// What messages call it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads a file, every `.yaml`, `.yml` and `.json` below a folder, or `-` for stdin.
pub(crate) fn read(argument: &str) -> Result<Vec<Source>, Failure> {
    if argument == "-" {
        return Ok(vec![Source { name: "stdin".to_owned(), text: read_stdin()? }]);
    }
    let path = Path::new(argument);
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, &mut files).map_err(|error| Failure::error(format!("can't read `{argument}`: {error}")))?;
        files.sort();
        if files.is_empty() {
            return Err(Failure::error(format!("`{argument}` has no .yaml, .yml or .json file")));
        }
    } else {
        files.push(path.to_owned());
    }
    files.iter().map(|path| read_file(path)).collect()
}

/// Reads an argument that must be one text.
pub(crate) fn read_one(argument: &str) -> Result<Source, Failure> {
    let mut sources = read(argument)?;
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        _ => Err(Failure::usage(format!("`{argument}` has several files, expected one"))),
    }
}

/// Reads several arguments.
pub(crate) fn read_all(arguments: &[String]) -> Result<Vec<Source>, Failure> {
    let sources: Result<Vec<_>, _> = arguments.iter().map(|argument| read(argument)).collect();
    Ok(sources?.into_iter().flatten().collect())
}

pub(crate) fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::error(format!("can't read stdin: {error}")))?;
    Ok(text)
}

fn read_file(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Failure::error(format!("can't read `{name}`: {error}")))?;
    Ok(Source { name, text })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let known = path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if path.is_dir() && !hidden {
            collect(&path, files)?;
        } else if known && !hidden {
            files.push(path);
        }
    }
    Ok(())
}

/// What is in some sources: the definitions that are right, and everything that is to be said about all of them.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) loaded: Vec<Loaded>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The diagnostics with carets.
    rendered: String,
}

impl Checked {
    pub(crate) fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    /// Shows what is wrong; an error if anything is.
    pub(crate) fn report(&self) -> Result<(), Failure> {
        term::note(&self.rendered);
        // How many there are stands below them already.
        if self.errors() == 0 { Ok(()) } else { Err(Failure::silent(exit_code::ERROR)) }
    }
}

/// Checks all definitions of all sources.
pub(crate) fn check(sources: &[Source]) -> Checked {
    let mut checked = Checked::default();
    for source in sources {
        let mut found = Vec::new();
        for result in quorus_spec::load_all(&source.text, &source.name) {
            match result {
                Ok(loaded) => {
                    found.extend(loaded.warnings.iter().cloned());
                    checked.loaded.push(loaded);
                }
                Err(diagnostics) => found.extend(diagnostics),
            }
        }
        if !found.is_empty() {
            // Rendered with colours always: writing removes them where they don't belong.
            checked.rendered.push_str(&render_all(&found, &source.text, true));
            checked.rendered.push('\n');
        }
        checked.diagnostics.extend(found);
    }
    checked
}

/// Reads and checks a source that must hold exactly one definition.
pub(crate) fn load_one(argument: &str) -> Result<Loaded, Failure> {
    let checked = check(&read(argument)?);
    checked.report()?;
    let count = checked.loaded.len();
    let mut loaded = checked.loaded.into_iter();
    match (loaded.next(), count) {
        (Some(loaded), 1) => Ok(loaded),
        _ => Err(Failure::usage(format!("`{argument}` has {count} workflows, expected one"))),
    }
}
