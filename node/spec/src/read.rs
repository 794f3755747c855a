//! [`read`] and [`read_all`]: text to message, and nothing that needs a plan.

use std::{collections::BTreeSet, sync::Arc};

use prost_reflect::{DynamicMessage, MessageDescriptor};
use quorus_proto::v1::Workflow;

use crate::{
    check::covers,
    diagnostic::{Diagnostic, Severity},
    engine::Problem,
    finding::{Finding, Source},
    header,
    node::Value,
    parse::{Document, parse},
    schema,
    source_map::SourceMap,
    span::Span,
    typed,
    walk::Walk,
};

/// The most diagnostics that [`fn@crate::load`] gives; who has more doesn't read them.
const DIAGNOSTICS_MAX: usize = 100;
/// The most that are given a place: counting columns of a text in one long line takes time for each.
const PLACED_MAX: usize = 10 * DIAGNOSTICS_MAX;

/// A document that was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// What it says. With errors it is what could be made of it, good for finding more errors and nothing else; `None` if that is nothing.
    pub workflow: Option<Workflow>,
    /// Where things stand.
    pub source_map: SourceMap,
    /// Everything wrong, and everything that deserves a look, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The text, so that later problems can be placed.
    source: Arc<Source>,
    /// Paths of messages of which a part was not understood.
    incomplete: BTreeSet<String>,
    /// How many mistakes were not even placed.
    left_out: usize,
}

impl Read {
    /// True if there is no error; warnings don't count.
    pub fn is_ok(&self) -> bool {
        self.workflow.is_some() && !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Gives a problem its place in the text.
    pub fn locate(&self, problem: &Problem) -> Diagnostic {
        let text = &self.source.text;
        let span = self.source_map.find(text, &problem.path, problem.offset).unwrap_or_default();
        let mut finding = Finding::error(problem.code, &problem.path, span, problem.message.as_str());
        // A short question stands best beside the caret.
        match problem.hint.clone().unwrap_or_default() {
            hint if hint.starts_with("did you mean") => finding.label = hint,
            hint => finding.hint = hint,
        }
        finding.severity = if problem.warning { Severity::Warning } else { Severity::Error };
        finding.place(&self.source)
    }
}

/// Reads a text with one definition. `name` is what messages call it, for example the file's name.
///
/// ```
/// let read = quorus_spec::read("api_version: quorus/v1\nkind: Workflow\nmetadata: {nmae: x}\nspec: {timeout: 1y}\n", "x.yaml");
/// let found: Vec<_> = read.diagnostics.iter().map(|d| (d.line, d.column, d.code.as_str())).collect();
/// assert_eq!(found, [(3, 12, "unknown-field"), (4, 17, "bad-duration")]);
/// ```
pub fn read(text: &str, name: &str) -> Read {
    let source = Arc::new(Source::new(text, name));
    match single(text) {
        Some(document) => self::document(document, source),
        None => empty(source),
    }
}

/// The same for a definition that is no workflow: the message, and everything that was found on the way.
pub(crate) fn read_message(text: &str, name: &str, descriptor: &MessageDescriptor, kind: &str) -> (Option<DynamicMessage>, Read) {
    let source = Arc::new(Source::new(text, name));
    let Some(document) = single(text) else { return (None, empty(source)) };
    let noun = kind.to_lowercase();
    let (message, mut read) = examine(document, source, descriptor, &noun);
    if let Some(message) = &message {
        let text = |name: &str| message.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        read.add(&typed::check_kind(&text("api_version"), &text("kind"), kind));
    }
    (message, read)
}

/// The only document of a text; what comes after it is a finding of it.
fn single(text: &str) -> Option<Document> {
    let mut documents = parse(text).into_iter();
    let mut first = documents.next()?;
    if let Some(mut second) = documents.next() {
        match second.root.value {
            // What stops the parser is told as it is.
            Value::Broken => first.findings.append(&mut second.findings),
            _ => first.findings.push(
                Finding::error("several-documents", "", second.root.span, "one definition is expected, a second one starts here")
                    .hint("put it in a file of its own"),
            ),
        }
    }
    Some(first)
}

fn empty(source: Arc<Source>) -> Read {
    let empty = Finding::error("empty", "", Span::default(), "there is no definition in here").hint("start with `api_version: quorus/v1`");
    let diagnostics = vec![empty.place(&source)];
    Read { workflow: None, source_map: SourceMap::default(), diagnostics, source, incomplete: BTreeSet::new(), left_out: 0 }
}

/// Reads every definition of a text in which documents are separated by `---`. A text without any gives none.
pub fn read_all(text: &str, name: &str) -> Vec<Read> {
    let source = Arc::new(Source::new(text, name));
    parse(text).into_iter().map(|parsed| document(parsed, Arc::clone(&source))).collect()
}

fn document(document: Document, source: Arc<Source>) -> Read {
    let (message, mut read) = examine(document, source, &schema::workflow(), "workflow");
    read.workflow = message.and_then(|message| message.transcode_to().ok());
    let header = read.workflow.as_ref().map(header::check).unwrap_or_default();
    read.add(&header);
    read
}

/// Walks over a document. `noun` is what messages call it.
fn examine(document: Document, source: Arc<Source>, descriptor: &MessageDescriptor, noun: &str) -> (Option<DynamicMessage>, Read) {
    let mut walk = Walk { findings: document.findings, ..Walk::default() };
    walk.map.insert("", None, &document.root);
    let message = walk.message(descriptor, &document.root, "");
    let Walk { map, mut findings, incomplete } = walk;
    let mut read = Read { workflow: None, source_map: map, diagnostics: Vec::new(), source, incomplete, left_out: 0 };
    findings.sort_by(|one, other| (one.span, &one.code).cmp(&(other.span, &other.code)));
    // An anchored value is walked over once more for every alias, under another path.
    findings.dedup_by(|one, other| one.span == other.span && one.code == other.code);
    if noun != "workflow" {
        for finding in &mut findings {
            finding.message = finding.message.replace("the workflow", &format!("the {noun}"));
        }
    }
    read.left_out = findings.len().saturating_sub(PLACED_MAX);
    read.diagnostics = findings.into_iter().take(PLACED_MAX).map(|finding| finding.place(&read.source)).collect();
    (message, read)
}

impl Read {
    /// Adds problems, except those that an earlier diagnostic already explains, and puts all in order.
    pub(crate) fn add(&mut self, problems: &[Problem]) {
        let known = self.diagnostics.len();
        let place = |diagnostic: &Diagnostic| (diagnostic.span, diagnostic.code.clone(), diagnostic.message.clone());
        let mut seen: BTreeSet<_> = self.diagnostics.iter().map(place).collect();
        for problem in problems {
            if self.diagnostics.len() > PLACED_MAX {
                self.left_out += 1;
                continue;
            }
            let diagnostic = self.locate(problem);
            if !explained(&self.diagnostics[..known], &self.incomplete, problem) && seen.insert(place(&diagnostic)) {
                self.diagnostics.push(diagnostic);
            }
        }
        self.diagnostics.sort_by_key(Diagnostic::order);
    }

    /// The diagnostics, or the first of too many.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        if self.diagnostics.len() > DIAGNOSTICS_MAX {
            let more = self.left_out + self.diagnostics.len() - DIAGNOSTICS_MAX;
            self.diagnostics.truncate(DIAGNOSTICS_MAX);
            let message = format!("{more} more are not shown");
            let end = Span::new(self.source.text.len(), self.source.text.len());
            self.diagnostics.push(Finding::error("too-many", "", end, message).place(&self.source));
        }
        self.diagnostics
    }
}

/// True if what is at the problem's path, or around it, was not understood in the first place; or if something is said to be missing that
/// is there but was not understood.
fn explained(diagnostics: &[Diagnostic], incomplete: &BTreeSet<String>, problem: &Problem) -> bool {
    let covered = diagnostics.iter().any(|known| known.is_error() && !known.path.is_empty() && covers(&known.path, &problem.path));
    covered || (problem.code.starts_with("missing-") && incomplete.contains(&problem.path))
}
