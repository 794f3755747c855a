//! One test file: is read, its workflow is loaded, and its tests are played.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use quorus_client::v1::Problem;
use quorus_engine::{Plan, Timestamp};
use quorus_spec::{Diagnostic, render_all};
use serde_json::Value;
use serde_saphyr::Location;

use super::{
    super::failure::Failure,
    check::{self, Miss},
    file::{Case, TestFile},
    trace::since,
    world::World,
};

/// How many lines of a run's history a report shows.
const LINES_MAX: usize = 60;

/// A file with its results.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The file as it was named.
    pub(crate) name: String,
    pub(crate) results: Vec<TestResult>,
    /// Why the file can't be played, rendered.
    pub(crate) broken: String,
}

/// What became of a test.
#[derive(Debug)]
pub(crate) struct TestResult {
    pub(crate) name: String,
    /// What is not as expected, one sentence each.
    pub(crate) messages: Vec<String>,
    /// The same with carets.
    pub(crate) rendered: String,
    /// What the run did.
    pub(crate) trace: String,
    /// Virtual time from start to end.
    pub(crate) virtual_time: String,
    pub(crate) took: Duration,
}

impl TestResult {
    pub(crate) fn passed(&self) -> bool {
        self.messages.is_empty()
    }
}

/// A text and what messages call it.
struct Text<'a> {
    name: &'a str,
    text: &'a str,
}

impl Text<'_> {
    fn diagnostic(&self, code: &str, at: Option<Location>, message: impl Into<String>, label: &str) -> Diagnostic {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let (line, column) = at.map_or((0, 0), |at| (number(at.line()), number(at.column())));
        let length = at.map_or(1, |at| number(at.span().len()).max(1));
        let problem = Problem { code: code.to_owned(), message: message.into(), line, column, length, ..Problem::default() };
        Diagnostic { label: label.to_owned(), ..Diagnostic::from_problem(&problem, self.text, self.name) }
    }

    fn render(&self, diagnostics: &[Diagnostic]) -> String {
        // Rendered with colours always: writing removes them where they don't belong.
        diagnostics.iter().map(|diagnostic| diagnostic.render(self.text, true) + "\n").collect()
    }
}

/// Every test file of some folders, sorted; a file that is named is taken whatever it is called.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, &mut files).map_err(|error| Failure::error(format!("can't read `{}`: {error}", path.display())))?;
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(Failure::error(format!("there is no `{}`", path.display())));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if name.ends_with(".test.yaml") || name.ends_with(".test.yml") {
            files.push(path);
        }
    }
    Ok(())
}

impl Suite {
    /// Plays the tests of a file whose names contain the filter.
    pub(super) fn play(path: &Path, filter: Option<&str>) -> Self {
        let name = path.display().to_string();
        match Self::try_play(path, &name, filter) {
            Ok(results) => Self { name, results, broken: String::new() },
            Err(broken) => Self { name, results: Vec::new(), broken },
        }
    }

    fn try_play(path: &Path, name: &str, filter: Option<&str>) -> Result<Vec<TestResult>, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("can't read `{name}`: {error}\n"))?;
        let text = Text { name, text: &text };
        let file = read(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let wanted = |case: &&Case| filter.is_none_or(|filter| format!("{name}: {}", case.name.value).contains(filter));
        let cases: Vec<_> = file.tests.iter().filter(wanted).collect();
        if cases.is_empty() {
            return Ok(Vec::new());
        }
        let plan = load_workflow(&text, &file, path, folder)?;
        cases.into_iter().map(|case| play(&text, case, &plan, folder)).collect()
    }
}

fn read(text: &Text<'_>) -> Result<TestFile, String> {
    let file: TestFile = serde_saphyr::from_str(text.text).map_err(|error| {
        let inner = error.without_snippet();
        let what = inner.to_string();
        // The place is told by the caret.
        let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
        text.render(&[text.diagnostic("bad-test", error.location(), what, "")])
    })?;
    let mut wrong = Vec::new();
    for (found, expected) in [(&file.api_version, quorus_spec::API_VERSION), (&file.kind, "WorkflowTest")] {
        if found.value != expected {
            wrong.push(text.diagnostic("wrong-value", Some(found.referenced), format!("expected `{expected}`"), ""));
        }
    }
    for (index, case) in file.tests.iter().enumerate() {
        if file.tests[..index].iter().any(|other| other.name.value == case.name.value) {
            wrong.push(text.diagnostic("duplicate-name", Some(case.name.referenced), "two tests have this name", ""));
        }
    }
    if wrong.is_empty() { Ok(file) } else { Err(text.render(&wrong)) }
}

/// The workflow that the file names, else `workflow.yaml`, or `x.yaml` beside `x.test.yaml`.
fn load_workflow(text: &Text<'_>, file: &TestFile, path: &Path, folder: &Path) -> Result<Arc<Plan>, String> {
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let namesake = stem.split(".test.").next().map(|stem| folder.join(format!("{stem}.yaml")));
    let workflow = match &file.workflow {
        Some(named) => folder.join(&named.value),
        None => namesake.filter(|path| path.exists()).unwrap_or_else(|| folder.join("workflow.yaml")),
    };
    let shown = workflow.display().to_string();
    let definition = fs::read_to_string(&workflow).map_err(|error| {
        let at = file.workflow.as_ref().map(|named| named.referenced);
        text.render(&[text.diagnostic("no-workflow", at, format!("can't read `{shown}`: {error}"), "")])
    })?;
    match quorus_spec::load(&definition, &shown) {
        Ok(loaded) => Ok(loaded.plan),
        Err(diagnostics) => Err(render_all(&diagnostics, &definition, true) + "\n"),
    }
}

fn play(text: &Text<'_>, case: &Case, plan: &Arc<Plan>, folder: &Path) -> Result<TestResult, String> {
    let began = Instant::now();
    let input = input(text, case, folder)?;
    let start = case.start.as_ref().map(|start| parse_start(text, start)).transpose()?;
    let unknown: Vec<_> = case.steps.iter().filter(|(id, _)| !is_step(plan, id)).collect();
    if !unknown.is_empty() {
        let diagnostics = unknown
            .iter()
            .map(|(id, script)| text.diagnostic("unknown-step", Some(script.referenced), format!("the workflow has no step `{id}`"), ""));
        return Err(text.render(&diagnostics.collect::<Vec<_>>()));
    }
    let mut world = World::new(Arc::clone(plan), case, &input, start);
    let misses = match world.play() {
        Ok(()) => check::check(&world),
        Err(message) => vec![Miss { at: case.name.referenced, message, label: String::new() }],
    };
    let name = case.name.value.clone();
    let diagnostics: Vec<_> =
        misses.iter().map(|miss| text.diagnostic("not-as-expected", Some(miss.at), miss.message.as_str(), &miss.label)).collect();
    let head = world.run.head();
    let mut trace = world.trace.lines(LINES_MAX);
    if !head.status.is_final() {
        let waiting: Vec<_> = world.waiting().into_iter().map(|(step, status)| format!("{step} ({})", status.name())).collect();
        trace.push_str(&format!("  and now nothing more happens; the run waits for: {}\n", waiting.join(", ")));
    }
    Ok(TestResult {
        messages: misses.into_iter().map(|miss| miss.message).collect(),
        rendered: text.render(&diagnostics),
        trace,
        virtual_time: since(head.started_at, head.ended_at.unwrap_or(world.now)),
        took: began.elapsed(),
        name,
    })
}

fn is_step(plan: &Plan, id: &str) -> bool {
    let id = quorus_engine::StepId::from(id);
    plan.step(&quorus_engine::StepId::from(id.planned())).is_some()
}

fn input(text: &Text<'_>, case: &Case, folder: &Path) -> Result<Value, String> {
    match (&case.input, &case.input_file) {
        (Some(input), None) => Ok(input.clone()),
        (None, None) => Ok(Value::Null),
        (Some(_), Some(file)) => Err(text.render(&[text.diagnostic("two-inputs", Some(file.referenced), "there is `input` already", "")])),
        (None, Some(file)) => {
            let read = fs::read_to_string(folder.join(&file.value)).map_err(|error| error.to_string());
            let value = read.and_then(|json| serde_json::from_str(&json).map_err(|error| error.to_string()));
            value.map_err(|error| text.render(&[text.diagnostic("no-input", Some(file.referenced), error, "")]))
        }
    }
}

fn parse_start(text: &Text<'_>, start: &serde_saphyr::Spanned<String>) -> Result<Timestamp, String> {
    let parsed: Result<prost_types::Timestamp, _> = start.value.parse();
    let parsed = parsed.map_err(|_| {
        text.render(&[text.diagnostic("bad-time", Some(start.referenced), "expected a time such as 2026-01-31T12:00:00Z", "")])
    })?;
    Ok(Timestamp(parsed.seconds * 1000 + i64::from(parsed.nanos) / 1_000_000))
}
