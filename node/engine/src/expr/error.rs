//! Why an expression has no value.

use crate::{Failure, failure_type};

/// Why an expression has no value. It fails the step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression could not be evaluated.
    #[error("`{source_text}`: {reason}")]
    Expression {
        /// The expression, shortened.
        source_text: String,
        /// A sentence without values.
        reason: String,
    },
    /// The value would be larger than a payload may be.
    #[error("the value would be larger than 2 MiB")]
    TooLarge,
}

impl EvaluationError {
    pub(crate) fn new(source: &str, reason: impl Into<String>) -> Self {
        let mut source_text: String = source.chars().take(80).collect();
        if source_text.len() < source.len() {
            source_text.push_str("...");
        }
        Self::Expression { source_text, reason: reason.into() }
    }

    /// What the step or run fails with. Trying again can't help: the inputs of an evaluation are recorded.
    pub(crate) fn into_failure(self, what: &str) -> Failure {
        let kind = match self {
            Self::Expression { .. } => failure_type::EXPRESSION,
            Self::TooLarge => failure_type::INPUT_TOO_LARGE,
        };
        Failure { kind: kind.to_owned(), message: format!("{what}: {self}"), non_retryable: true, nothing_done: true, ..Failure::default() }
    }
}

/// Says what is wrong in terms of names and types. Values stay out: they can be large, private, and maps have no order.
pub(super) fn describe(error: &cel::ExecutionError) -> String {
    use cel::ExecutionError as E;
    match error {
        E::NoSuchKey(key) => format!("no such key `{}`", short(key)),
        E::NoSuchOverload(error) => error.to_string(),
        E::UndeclaredReference(name) => format!("`{name}` does not exist"),
        E::UnexpectedType { want, .. } => format!("expected {want}"),
        E::UnsupportedBinaryOperator(operator, left, right) => {
            format!("`{operator}` can't take {} and {}", left.type_of(), right.type_of())
        }
        E::IndexOutOfBounds(_) => "the index is out of bounds".to_owned(),
        E::DivisionByZero(_) | E::RemainderByZero(_) => "division by zero".to_owned(),
        E::Overflow(operator, ..) => format!("integer overflow in `{operator}`"),
        E::FunctionError { function, message } => format!("{function}: {}", short(message)),
        E::InvalidArgumentCount { expected, actual } => format!("expected {expected} arguments, got {actual}"),
        E::ValuesNotComparable(left, right) => format!("{} can't be compared with {}", left.type_of(), right.type_of()),
        E::DuplicateKey(_) => "a map has the same key twice".to_owned(),
        _ => "it can't be evaluated".to_owned(),
    }
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}
