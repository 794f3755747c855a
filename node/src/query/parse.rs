//! The text of a filter.
//!
//! ```text
//! filter     = { condition }                                   separated by spaces; all must hold
//! condition  = text-field ("=" | "!=") value { "," value }     id, workflow, parent, error, label.NAME; any of the values
//!            | ["!"] "label." NAME                             has the label, whatever its value
//!            | "status" ("=" | "!=") name { "," name }         running, failed, needs_attention, ...; open, ended
//!            | "version" comparison number
//!            | ("started" | "ended") ("<" | "<=" | ">" | ">=") time
//! value      = word ["*"] | quoted ["*"]                       a star at the end: begins with
//! time       = duration (that long ago) | date | RFC 3339 | "@" milliseconds since 1970
//! ```
//!
//! Quotes are `"`, with `\"` and `\\` inside. A mistake is told with its column.

use std::{collections::BTreeSet, str::FromStr};

use quorus_engine::{RunStatus, Timestamp};

use super::{Comparison, Condition, Pattern, RunFilter, text::status_name};
use crate::codec;

/// More conditions than anybody writes; a bound on what a request can cost.
const CONDITIONS_MAX: usize = 64;
/// Values of one condition.
const VALUES_MAX: usize = 1_000;
/// Fields, for hints.
const FIELDS: [&str; 9] = ["id", "workflow", "version", "status", "label.NAME", "started", "ended", "parent", "error"];

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct FilterError {
    /// Where, from 1, in characters.
    pub column: usize,
    /// What, and what to write instead.
    pub message: String,
}

/// Reads a filter. Durations are counted back from `now`.
///
/// # Errors
/// The first mistake.
pub fn parse(namespace: &str, text: &str, now: Timestamp) -> Result<RunFilter, FilterError> {
    let mut reader = Reader { text, at: 0 };
    let mut filter = RunFilter::all(namespace);
    loop {
        reader.skip_spaces();
        if reader.rest().is_empty() {
            return Ok(filter);
        }
        if filter.conditions.len() == CONDITIONS_MAX {
            return Err(reader.error(reader.at, format!("a filter has at most {CONDITIONS_MAX} conditions")));
        }
        filter.conditions.push(reader.condition(now)?);
    }
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
}

/// A value as it was written.
struct Word {
    text: String,
    begin: usize,
    star: bool,
}

impl Reader<'_> {
    fn condition(&mut self, now: Timestamp) -> Result<Condition, FilterError> {
        let begin = self.at;
        let without = self.take("!");
        let field_at = self.at;
        let field = self.field();
        if let Some(label) = field.strip_prefix("label.").map(str::to_owned) {
            let name = if label.is_empty() && self.rest().starts_with('"') { self.quoted()? } else { label };
            if name.is_empty() {
                return Err(self.error(field_at, "a label needs a name; write for example label.team=payments"));
            }
            let Some((comparison, operator_at)) = self.comparison().filter(|_| !without) else {
                return Ok(Condition::Label { name, negated: without, any: Vec::new() });
            };
            let negated = self.equality(comparison, operator_at, "a label")?;
            return Ok(Condition::Label { name, negated, any: self.patterns()? });
        }
        if without {
            return Err(self.error(begin, "`!` stands before `label.NAME` only; write for example status!=failed"));
        }
        if !FIELDS.contains(&field.as_str()) {
            return Err(self.error(field_at, unknown_field(&field)));
        }
        let Some((comparison, operator_at)) = self.comparison() else {
            return Err(self.error(self.at, format!("`{field}` needs a comparison and a value; write for example {}", example(&field))));
        };
        match field.as_str() {
            "status" => {
                let negated = self.equality(comparison, operator_at, "status")?;
                let mut any = BTreeSet::new();
                for word in self.words()? {
                    any.extend(self.statuses(&word)?);
                }
                Ok(Condition::Status { negated, any })
            }
            "version" => {
                let word = self.single()?;
                let version = word.text.parse().map_err(|_| self.error(word.begin, "a version is a whole number"))?;
                Ok(Condition::Version(comparison, version))
            }
            "started" | "ended" => {
                if matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
                    return Err(self.error(operator_at, format!("`{field}` takes <, <=, > or >=; write for example {field}>2h")));
                }
                let word = self.single()?;
                let time = time(&word.text, now).ok_or_else(|| {
                    self.error(word.begin, "not a time; write a duration ago such as 2h, a date, or a time such as 2026-11-24T20:00:00Z")
                })?;
                Ok(if field == "started" { Condition::Started(comparison, time) } else { Condition::Ended(comparison, time) })
            }
            text_field => {
                let negated = self.equality(comparison, operator_at, text_field)?;
                let any = self.patterns()?;
                Ok(match text_field {
                    "id" => Condition::RunId { negated, any },
                    "workflow" => Condition::Workflow { negated, any },
                    "parent" => Condition::Parent { negated, any },
                    _ => Condition::ErrorType { negated, any },
                })
            }
        }
    }

    /// A status, or all of those that a word stands for.
    fn statuses(&self, word: &Word) -> Result<Vec<RunStatus>, FilterError> {
        match word.text.as_str() {
            "open" => return Ok(known_statuses().filter(|status| !status.is_final()).collect()),
            "ended" => return Ok(known_statuses().filter(|status| status.is_final()).collect()),
            _ => {}
        }
        known_statuses().find(|status| status_name(*status) == word.text).map(|status| vec![status]).ok_or_else(|| {
            let known: Vec<String> = known_statuses().map(status_name).chain(["open".to_owned(), "ended".to_owned()]).collect();
            let hint = similar(&word.text, known.iter().map(String::as_str));
            self.error(word.begin, format!("`{}` is not a status{hint}; there are {}", word.text, known.join(", ")))
        })
    }

    fn field(&mut self) -> String {
        self.while_chars(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
    }

    fn comparison(&mut self) -> Option<(Comparison, usize)> {
        let at = self.at;
        let operators = [
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        operators.into_iter().find(|(text, _)| self.take(text)).map(|(_, comparison)| (comparison, at))
    }

    fn equality(&self, comparison: Comparison, at: usize, what: &str) -> Result<bool, FilterError> {
        match comparison {
            Comparison::Equal => Ok(false),
            Comparison::NotEqual => Ok(true),
            Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
                Err(self.error(at, format!("{what} takes = or !=")))
            }
        }
    }

    fn patterns(&mut self) -> Result<Vec<Pattern>, FilterError> {
        let pattern = |word: Word| if word.star { Pattern::Prefix(word.text) } else { Pattern::Exact(word.text) };
        Ok(self.words()?.into_iter().map(pattern).collect())
    }

    /// One value that is not a beginning.
    fn single(&mut self) -> Result<Word, FilterError> {
        let word = self.word()?;
        if word.star { Err(self.error(word.begin, "only texts can be matched by how they begin")) } else { Ok(word) }
    }

    fn words(&mut self) -> Result<Vec<Word>, FilterError> {
        let mut words = vec![self.word()?];
        while self.take(",") {
            if words.len() == VALUES_MAX {
                return Err(self.error(self.at, format!("a condition has at most {VALUES_MAX} values")));
            }
            words.push(self.word()?);
        }
        Ok(words)
    }

    fn word(&mut self) -> Result<Word, FilterError> {
        let begin = self.at;
        let quoted = self.rest().starts_with('"');
        let text = if quoted {
            self.quoted()?
        } else {
            self.while_chars(|c| !c.is_whitespace() && !matches!(c, ',' | '"' | '*' | '=' | '<' | '>' | '!'))
        };
        let star = self.take("*");
        if let Some(next) = self.rest().chars().next().filter(|next| !next.is_whitespace() && *next != ',') {
            return Err(self.error(self.at, format!("`{next}` is not expected here; put values with such characters in quotes")));
        }
        if text.is_empty() && !quoted && !star {
            return Err(self.error(begin, "a value is missing; write \"\" for the empty one"));
        }
        Ok(Word { text, begin, star })
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let begin = self.at;
        self.take("\"");
        let mut text = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, escaped)) => text.push(escaped),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(self.error(begin, "the quote is not closed"))
    }

    fn while_chars(&mut self, keep: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !keep(c)).unwrap_or(rest.len());
        let text = rest[..end].to_owned();
        self.at += end;
        text
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn skip_spaces(&mut self) {
        self.while_chars(char::is_whitespace);
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, at: usize, message: impl Into<String>) -> FilterError {
        FilterError { column: self.text[..at].chars().count() + 1, message: message.into() }
    }
}

/// A duration ago, a date, a time, or milliseconds since the epoch.
fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(millis) = text.strip_prefix('@') {
        return millis.parse().ok().map(Timestamp);
    }
    if let Ok(ago) = quorus_spec::parse_duration(text) {
        let millis = ago.seconds.checked_mul(1_000)?.checked_add(i64::from(ago.nanos) / 1_000_000)?;
        return now.0.checked_sub(millis).map(Timestamp);
    }
    let time = prost_types::Timestamp::from_str(text).or_else(|_| prost_types::Timestamp::from_str(&format!("{text}T00:00:00Z"))).ok()?;
    time.seconds.checked_mul(1_000)?.checked_add(i64::from(time.nanos) / 1_000_000).map(Timestamp)
}

fn known_statuses() -> impl Iterator<Item = RunStatus> {
    (1..).map_while(|number| codec::run_status_from_proto(number).ok())
}

fn unknown_field(field: &str) -> String {
    if field.is_empty() {
        return format!("a condition begins with a field: {}", FIELDS.join(", "));
    }
    format!("there is no field `{field}`{}; there are {}", similar(field, FIELDS.into_iter()), FIELDS.join(", "))
}

fn similar<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    // As for settings: one or two typos in a short word, and no wild guesses.
    const SIMILARITY_MIN: f64 = 0.8;
    let best = known.map(|known| (strsim::jaro_winkler(word, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= SIMILARITY_MIN).map(|(_, known)| format!(", did you mean `{known}`?")).unwrap_or_default()
}

fn example(field: &str) -> &'static str {
    match field {
        "id" => "id=release-*",
        "workflow" => "workflow=release",
        "version" => "version>=3",
        "status" => "status=failed,terminated",
        "started" => "started>2h",
        "ended" => "ended<7d",
        "parent" => "parent=release-7",
        _ => "error=SchemaConflict",
    }
}
