//! Definitions from files, folders and stdin, checked where they are read.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use quorus_client::exit_code;
use quorus_spec::{Diagnostic, Loaded, render_all};

use super::{definition::Resource, failure::Failure, term};

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
        } else if known && !hidden && !is_companion(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// True for what stands beside definitions and is none: tests (`x.test.yaml`), stubs (`stub.yaml`, `x.stub.yaml`), inputs (`input.json`, `x.input.json`).
fn is_companion(path: &Path) -> bool {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let json = path.extension().is_some_and(|extension| extension == "json");
    let last = stem.rsplit('.').next().unwrap_or_default();
    (last == "test" && stem != "test") || last == "stub" || (last == "input" && json)
}

/// Each document of a text as a text of its own, whose lines are numbered as in the whole: a line of `---` begins the next one.
fn documents(source: &Source) -> Vec<Source> {
    let mut documents = Vec::new();
    let mut text = String::new();
    for (number, line) in source.text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        if number > 0 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            documents.push(Source { name: source.name.clone(), text: std::mem::take(&mut text) });
            text = "\n".repeat(number);
        }
        text.push_str(line);
    }
    documents.push(Source { name: source.name.clone(), text });
    documents
}

/// What is in some sources: the definitions that are right, and everything that is to be said about all of them.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) resources: Vec<Resource>,
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

    fn add(&mut self, source: &Source, found: Vec<Diagnostic>) {
        if !found.is_empty() {
            // Rendered with colours always: writing removes them where they don't belong.
            self.rendered.push_str(&render_all(&found, &source.text, true));
            self.rendered.push('\n');
        }
        self.diagnostics.extend(found);
    }
}

/// Checks all definitions of all sources.
pub(crate) fn check(sources: &[Source]) -> Checked {
    let mut checked = Checked::default();
    for source in sources {
        for document in documents(source) {
            let mut found = Vec::new();
            for result in Resource::load(&document) {
                match result {
                    Ok((resource, warnings)) => {
                        found.extend(warnings);
                        checked.resources.push(resource);
                    }
                    Err(diagnostics) => found.extend(diagnostics),
                }
            }
            checked.add(&document, found);
        }
    }
    checked
}

/// Reads and checks a source that must hold exactly one definition, of a workflow.
pub(crate) fn load_one(argument: &str) -> Result<Loaded, Failure> {
    let checked = check(&read(argument)?);
    checked.report()?;
    let count = checked.resources.len();
    match checked.resources.into_iter().next() {
        Some(Resource::Workflow { loaded, .. }) if count == 1 => Ok(*loaded),
        _ => Err(Failure::usage(format!("`{argument}` has {count} definitions, expected one workflow"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_line_numbers() {
        let text = "a: 1\n--- # two\nb: |\n  ---\n---\nc: 3\n";
        let found: Vec<_> = documents(&Source { name: "x".to_owned(), text: text.to_owned() }).into_iter().map(|one| one.text).collect();
        assert_eq!(found, ["a: 1\n", "\n--- # two\nb: |\n  ---\n", "\n\n\n\n---\nc: 3\n"]);
    }

    #[test]
    fn companions_are_no_definitions() {
        for name in ["a.test.yaml", "stub.yaml", "a.stub.yml", "input.json", "bad.input.json"] {
            assert!(is_companion(Path::new(name)), "{name}");
        }
        for name in ["a.yaml", "test.yaml", "input.yaml", "a.json"] {
            assert!(!is_companion(Path::new(name)), "{name}");
        }
    }
}
