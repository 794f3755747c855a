//! Whether an answer is within what was allowed, by the rules of the Chaos Toolkit.
//!
//! | tolerance | an answer is allowed if |
//! |---|---|
//! | number | it, or its `status` (exit code, HTTP status), is equal |
//! | text, truth value | it is equal |
//! | list | its `status` is in the list; else, of two numbers, it is between them; else it is in the list |
//! | `range` | the number, or the number at `target`, is between the two |
//! | `regex` | the text, or the text at `target` (`stdout`, `body`), holds a match |
//! | `jsonpath` | something is found, or `count` things, or exactly `expect` |
//! | `probe` | another probe, which gets the answer as its argument `value`, ends with code 0 |

use anyhow::Context as _;
use serde_json::Value;

use super::{
    model::Activity,
    scope::{Scope, plain},
};

/// What answers are allowed.
#[derive(Clone, Debug)]
pub enum Tolerance {
    /// Equal to a number, a text or a truth value.
    Scalar(Value),
    /// One of these, or between two numbers.
    List(Vec<Value>),
    /// Between two numbers.
    Range {
        /// Which part of the answer; empty for all of it.
        target: String,
        /// At least.
        low: f64,
        /// At most.
        high: f64,
    },
    /// Holds a match.
    Regex {
        /// Which part of the answer; empty for all of it.
        target: String,
        /// The pattern; may hold `${name}`.
        pattern: String,
    },
    /// Finds something in JSON.
    JsonPath {
        /// Which part of the answer; empty for all of it.
        target: String,
        /// The path; may hold `${name}`.
        path: String,
        /// How many things, if that matters.
        count: Option<u64>,
        /// Which things, if that matters.
        expect: Option<Value>,
    },
    /// Another probe says so.
    Probe(Box<Activity>),
}

impl Tolerance {
    /// Whether an answer is allowed. [`Tolerance::Probe`] can't be judged here: whoever carries out activities does.
    pub fn allows(&self, answer: &Value, scope: &Scope) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Scalar(wanted) => {
                let wanted = scope.fill(wanted);
                equal(answer, &wanted) || (wanted.is_number() && equal(&answer["status"], &wanted))
            }
            Self::List(wanted) => {
                let status = &answer["status"];
                let is_in = |value: &Value| wanted.iter().any(|one| equal(one, value));
                match (status.is_null(), wanted.as_slice(), answer.as_f64()) {
                    (false, ..) => is_in(status),
                    (true, [low, high], Some(number)) => {
                        low.as_f64().is_some_and(|low| low <= number) && high.as_f64().is_some_and(|high| number <= high)
                    }
                    _ => is_in(answer),
                }
            }
            Self::Range { target, low, high } => {
                let part = part(answer, target);
                let number = part.as_f64().or_else(|| plain(part).trim().parse().ok());
                number.is_some_and(|number| *low <= number && number <= *high)
            }
            Self::Regex { target, pattern } => {
                let pattern = scope.text(pattern);
                let pattern = regex::Regex::new(&pattern).with_context(|| format!("the pattern `{pattern}`"))?;
                pattern.is_match(&plain(part(answer, target)))
            }
            Self::JsonPath { target, path, count, expect } => {
                let path = scope.text(path);
                let path = serde_json_path::JsonPath::parse(&path).with_context(|| format!("the path `{path}`"))?;
                let part = part(answer, target);
                // A process prints JSON, or a body is JSON without saying so.
                let parsed = part.as_str().and_then(|text| serde_json::from_str(text).ok());
                let found: Vec<Value> = path.query(parsed.as_ref().unwrap_or(part)).all().into_iter().cloned().collect();
                match (expect, count) {
                    (Some(Value::Array(expect)), _) => scope.fill(&Value::Array(expect.clone())) == Value::Array(found),
                    (Some(expect), _) => found == [scope.fill(expect)],
                    (None, Some(count)) => u64::try_from(found.len()) == Ok(*count),
                    (None, None) => !found.is_empty(),
                }
            }
            Self::Probe(_) => false,
        })
    }
}

fn part<'a>(answer: &'a Value, target: &str) -> &'a Value {
    answer.get(target).filter(|_| !target.is_empty()).unwrap_or(answer)
}

/// 1 and 1.0 are the same number.
fn equal(left: &Value, right: &Value) -> bool {
    left == right || matches!((left.as_f64(), right.as_f64()), (Some(left), Some(right)) if left == right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allows(tolerance: &Tolerance, answer: Value) -> bool {
        tolerance.allows(&answer, &Scope::default()).unwrap()
    }

    #[test]
    fn a_number_is_compared_with_the_answer_or_its_status() {
        let zero = Tolerance::Scalar(json!(0));
        assert!(allows(&zero, json!({"status": 0, "stdout": ""})));
        assert!(!allows(&zero, json!({"status": 1})));
        assert!(allows(&zero, json!(0.0)));
        assert!(!allows(&Tolerance::Scalar(json!(true)), json!({"status": 0})), "as the Chaos Toolkit has it");
    }

    #[test]
    fn a_list_is_a_choice_of_statuses_and_a_range_of_plain_numbers() {
        let list = Tolerance::List(vec![json!(200), json!(204)]);
        assert!(allows(&list, json!({"status": 204})));
        assert!(!allows(&list, json!({"status": 202})));
        assert!(allows(&list, json!(202)));
        assert!(allows(&Tolerance::List(vec![json!("a"), json!("b"), json!("c")]), json!("b")));
    }

    #[test]
    fn ranges_patterns_and_paths_look_at_their_target() {
        let answer = json!({"status": 0, "stdout": "{\"gap_ms\": [3, 5]}", "stderr": "41.5\n"});
        assert!(allows(&Tolerance::Range { target: "stderr".into(), low: 41.0, high: 42.0 }, answer.clone()));
        assert!(!allows(&Tolerance::Range { target: "stdout".into(), low: 0.0, high: 9.0 }, answer.clone()), "not a number");
        assert!(allows(&Tolerance::Regex { target: "stdout".into(), pattern: "gap_ms".into() }, answer.clone()));
        assert!(!allows(&Tolerance::Regex { target: "stderr".into(), pattern: "gap_ms".into() }, answer.clone()));
        let path = |count, expect| Tolerance::JsonPath { target: "stdout".into(), path: "$.gap_ms[*]".into(), count, expect };
        assert!(allows(&path(None, None), answer.clone()));
        assert!(allows(&path(Some(2), None), answer.clone()));
        assert!(!allows(&path(Some(1), None), answer.clone()));
        assert!(allows(&path(None, Some(json!([3, 5]))), answer.clone()));
        assert!(!allows(&path(None, Some(json!(3))), answer));
    }
}
