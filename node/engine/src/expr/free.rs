//! Expressions and templates over documents of any name, for whoever maps something other than a run: the event of a trigger, the firing of a schedule.
//!
//! They follow the same rules as those of workflows. Inside, the documents are members of one document that the language knows, and `event.x` is
//! compiled as `input.event.x`; what people see is what they wrote.
//!
//! ```
//! use quorus_engine::FreeTemplate;
//! use serde_json::json;
//!
//! let template = FreeTemplate::compile(&json!({"who": "${event.body.name}", "n": "${size(event.body.list)}"}), &["event"]).unwrap();
//! let documents = json!({"event": {"body": {"name": "ada", "list": [1, 2]}}});
//! assert_eq!(template.render(documents).unwrap(), json!({"who": "ada", "n": 2}));
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::check::{Flaw, Steps};
use super::error::EvaluationError;
use super::expression::{Expression, Scope};
use super::path::Root;
use super::template::{Template, expression_length};
use crate::plan::did_you_mean;
use crate::{Problem, Timestamp};

/// The document of the language that holds the free ones.
const HOLDER: &str = "input.";
/// Roots of the language that don't exist here.
const ROOTS_OF_RUNS: &[&str] = &["input", "now", "run", "steps"];

/// A condition over free documents, compiled once.
#[derive(Debug)]
pub struct FreeExpression(Expression);

/// A template over free documents, compiled once.
#[derive(Debug)]
pub struct FreeTemplate(Template);

impl FreeExpression {
    /// Compiles a CEL expression that may read the documents `roots`.
    ///
    /// # Errors
    /// Everything that is wrong with it; paths are empty.
    pub fn compile(source: &str, roots: &[&str]) -> Result<Self, Vec<Problem>> {
        let mut rewritten = Rewritten::default();
        rewritten.expression(source, 0, roots);
        match Expression::compile(&rewritten.text, &NoSteps) {
            Ok((expression, _)) if rewritten.flaws.is_empty() => Ok(Self(expression)),
            Ok(_) => Err(rewritten.problems(Vec::new(), "", roots)),
            Err(flaws) => Err(rewritten.problems(flaws, "", roots)),
        }
    }

    /// Evaluates it as a condition: anything but true or false is an error. `documents` is an object with the roots as members.
    ///
    /// # Errors
    /// Why it has no value.
    pub fn holds(&self, documents: Value) -> Result<bool, EvaluationError> {
        self.0.evaluate_bool(&Documents(Arc::new(documents))).map_err(as_written)
    }
}

impl FreeTemplate {
    /// Compiles a value whose strings may hold `${...}` over the documents `roots`.
    ///
    /// # Errors
    /// Everything that is wrong with it; paths begin below the value, as in `.labels.team`.
    pub fn compile(value: &Value, roots: &[&str]) -> Result<Self, Vec<Problem>> {
        let mut strings = BTreeMap::new();
        let rewritten = rewrite(value, String::new(), roots, &mut strings);
        let (template, found) = Template::compile(&rewritten, &NoSteps);
        let mut flaws: BTreeMap<String, Vec<Flaw>> = BTreeMap::new();
        for place in found.flaws {
            flaws.entry(place.path).or_default().push(place.what);
        }
        let problems: Vec<Problem> = strings
            .into_iter()
            .flat_map(|(path, string)| {
                let flaws = flaws.remove(&path).unwrap_or_default();
                string.problems(flaws, &path, roots)
            })
            .collect();
        if problems.is_empty() { Ok(Self(template)) } else { Err(problems) }
    }

    /// Evaluates it. `documents` is an object with the roots as members.
    ///
    /// # Errors
    /// Why it has no value.
    pub fn render(&self, documents: Value) -> Result<Value, EvaluationError> {
        self.0.render(&Documents(Arc::new(documents))).map_err(as_written)
    }
}

struct NoSteps;

impl Steps for NoSteps {
    fn index(&self, _id: &str) -> Option<usize> {
        None
    }

    fn ids(&self) -> Vec<&str> {
        Vec::new()
    }
}

struct Documents(Arc<Value>);

impl Scope for Documents {
    fn document(&self, root: Root) -> Result<Arc<Value>, String> {
        match root {
            Root::Input => Ok(self.0.clone()),
            Root::Output(_) | Root::Status(_) | Root::Error(_) | Root::Run | Root::Now => Err("there is no run here".to_owned()),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn started_at(&self) -> Timestamp {
        Timestamp::default()
    }

    fn spend(&self, _rounds: f64) -> Result<(), String> {
        Ok(())
    }
}

/// A text in which free roots were put under the holder.
#[derive(Debug, Default)]
struct Rewritten {
    text: String,
    /// Where the holder was put in, as offsets of the new text.
    inserted: Vec<usize>,
    flaws: Vec<Flaw>,
}

impl Rewritten {
    /// Appends an expression that begins at `start` of the old text.
    fn expression(&mut self, source: &str, start: usize, roots: &[&str]) {
        let mut rest = source;
        let mut after_dot = false;
        while let Some(first) = rest.chars().next() {
            let length = token(rest);
            let (token, tail) = rest.split_at(length);
            let offset = start + source.len() - rest.len();
            if first.is_ascii_alphabetic() || first == '_' {
                if !after_dot && roots.contains(&token) {
                    self.inserted.push(self.text.len());
                    self.text.push_str(HOLDER);
                } else if !after_dot && ROOTS_OF_RUNS.contains(&token) {
                    let message = format!("`{token}` is not available here");
                    self.flaws.push(Flaw { offset: Some(offset), code: "unknown-root", message, hint: Some(begin_with(roots)) });
                }
            }
            if !first.is_whitespace() {
                after_dot = token == "." || token == ".?";
            }
            self.text.push_str(token);
            rest = tail;
        }
    }

    /// The offset in the old text.
    fn written(&self, offset: usize) -> usize {
        let before = self.inserted.iter().filter(|at| **at < offset).count();
        offset.saturating_sub(before * HOLDER.len())
    }

    fn problems(&self, flaws: Vec<Flaw>, path: &str, roots: &[&str]) -> Vec<Problem> {
        let found = flaws.into_iter().map(|flaw| {
            let unknown = flaw.code == "unknown-root";
            let name = flaw.message.split('`').nth(1).unwrap_or_default();
            let hint =
                if unknown { Some(did_you_mean(name, roots.iter().copied()).unwrap_or_else(|| begin_with(roots))) } else { flaw.hint };
            (Flaw { offset: flaw.offset.map(|offset| self.written(offset)), message: flaw.message.replace(HOLDER, ""), hint, ..flaw }, path)
        });
        let own = self.flaws.iter().map(|flaw| (flaw.clone(), path));
        own.chain(found)
            .map(|(flaw, path)| Problem {
                path: path.to_owned(),
                offset: flaw.offset,
                code: flaw.code,
                message: flaw.message,
                hint: flaw.hint,
                warning: false,
            })
            .collect()
    }
}

/// Rewrites every string; notes each by its path.
fn rewrite(value: &Value, path: String, roots: &[&str], strings: &mut BTreeMap<String, Rewritten>) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => {
            let rewritten = rewrite_text(text, roots);
            let text = rewritten.text.clone();
            strings.insert(path, rewritten);
            Value::String(text)
        }
        Value::Array(elements) => {
            let elements = elements.iter().enumerate();
            elements.map(|(index, element)| rewrite(element, format!("{path}[{index}]"), roots, strings)).collect()
        }
        Value::Object(members) => {
            let members = members.iter();
            let members = members.map(|(key, member)| (key.clone(), rewrite(member, format!("{path}.{key}"), roots, strings)));
            Value::Object(members.collect())
        }
    }
}

/// Rewrites what stands between `${` and `}`, as templates find it.
fn rewrite_text(text: &str, roots: &[&str]) -> Rewritten {
    let mut rewritten = Rewritten::default();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found + 2;
        rewritten.text.push_str(&text[at..start]);
        at = start;
        let escaped = text[..start - 2].ends_with('$');
        // What has no end is told by the template.
        let Some(length) = expression_length(&text[start..]).filter(|_| !escaped) else { continue };
        rewritten.expression(&text[start..start + length], start, roots);
        at = start + length;
    }
    rewritten.text.push_str(&text[at..]);
    rewritten
}

/// The length of the first token: an identifier, a string, or one character.
fn token(text: &str) -> usize {
    let mut characters = text.char_indices();
    let Some((_, first)) = characters.next() else { return 0 };
    if first.is_ascii_alphabetic() || first == '_' {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        // `r'...'` is a string whose backslashes mean nothing.
        let raw = end == 1 && matches!(first, 'r' | 'R') && text[end..].starts_with(['\'', '"']);
        return if raw { end + string(&text[end..], true) } else { end };
    }
    match first {
        '\'' | '"' => string(text, false),
        '.' if text.starts_with(".?") => 2,
        other => other.len_utf8(),
    }
}

/// The length of a string with its quotes.
fn string(text: &str, raw: bool) -> usize {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let mark = if text.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = mark.len();
    while at < text.len() {
        if text[at..].starts_with(mark) {
            return at + mark.len();
        }
        let mut characters = text[at..].chars();
        let character = characters.next().map_or(1, char::len_utf8);
        let escaped = if text[at..].starts_with('\\') && !raw { characters.next().map_or(0, char::len_utf8) } else { 0 };
        at += character + escaped;
    }
    text.len()
}

fn begin_with(roots: &[&str]) -> String {
    format!("expressions begin with {} here", roots.join(", "))
}

fn as_written(error: EvaluationError) -> EvaluationError {
    match error {
        EvaluationError::Expression { source_text, reason } => {
            EvaluationError::Expression { source_text: source_text.replace(HOLDER, ""), reason: reason.replace(HOLDER, "") }
        }
        EvaluationError::TooLarge => EvaluationError::TooLarge,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(source: &str, documents: Value) -> bool {
        FreeExpression::compile(source, &["event"]).unwrap().holds(documents).unwrap()
    }

    fn problem(source: &str) -> Problem {
        FreeExpression::compile(source, &["event"]).unwrap_err().remove(0)
    }

    #[test]
    fn names_are_found_where_they_are_names() {
        let documents = json!({"event": {"event": "event", "list": [{"x": 1}, {"x": 2}]}});
        assert!(holds("event.event == 'event'", documents.clone()));
        assert!(holds(r#"event . event == "event" && "\"event" != r'\'"#, documents.clone()));
        assert!(holds("event.list.exists(item, item.x == 2) && has(event.list) && !has(event.nothing.there)", documents.clone()));
        assert!(holds("event['event'] == 'event'", documents));
    }

    #[test]
    fn mistakes_are_told_in_the_writers_words_and_places() {
        let unknown = problem("'ü' == evnt.x");
        assert_eq!((unknown.code, unknown.offset, unknown.hint.as_deref()), ("unknown-root", Some(8), Some("did you mean `event`?")));
        let run = problem("event.a == run.id");
        assert_eq!((run.message.as_str(), run.offset), ("`run` is not available here", Some(11)));
        assert_eq!(problem("event.a == event.b +").code, "bad-expression");
        assert_eq!(problem("event.a == nope(event.b)").offset, Some(11));
    }

    #[test]
    fn a_missing_path_is_named_as_it_was_written() {
        let error = FreeExpression::compile("event.body.a == 1", &["event"]).unwrap().holds(json!({"event": {"body": null}})).unwrap_err();
        assert_eq!(error.to_string(), "`event.body.a == 1`: `event.body.a` does not exist: `event.body` is null");
    }

    #[test]
    fn templates_keep_types_and_literals() {
        let template = json!({"all": "${event}", "text": "of the event: ${event.n}, $${event}", "list": ["${event.n + 1}", true]});
        let rendered = FreeTemplate::compile(&template, &["event"]).unwrap().render(json!({"event": {"n": 1}})).unwrap();
        assert_eq!(rendered, json!({"all": {"n": 1}, "text": "of the event: 1, ${event}", "list": [2, true]}));
        let problems = FreeTemplate::compile(&json!({"a": ["", "x ${event.n} ${evnt}"], "b": "${"}), &["event"]).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.code, problem.offset)).collect();
        assert_eq!(found, [(".a[1]", "unknown-root", Some(15)), (".b", "unterminated-expression", Some(0))]);
    }
}
