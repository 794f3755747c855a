//! What is wrong with a definition, or deserves a look.

use std::fmt;

/// A mistake in a definition, or something that is legal but deserves a look.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What it is about, in terms of the YAML form: `spec.steps[2].needs[0]`, `spec.steps[1].with.version`.
    pub path: String,
    /// Byte offset inside the text at `path`, where that text is an expression or a template.
    pub offset: Option<usize>,
    /// Stable, for programs: `unknown-step`.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// True if the definition can be run all the same.
    pub warning: bool,
}

impl Problem {
    /// A mistake.
    pub fn error(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.into(), offset: None, code, message: message.into(), hint: None, warning: false }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where in the text it is.
    #[must_use]
    pub fn at(mut self, offset: Option<usize>) -> Self {
        self.offset = offset;
        self
    }

    /// Makes a warning of it.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.warning = true;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// More candidates are not compared, so that a long list of mistakes costs no more than its length.
const CANDIDATES_MAX: usize = 1_000;

/// The candidate that was probably meant, if one is close enough to be a slip of the finger.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let allowed = 1 + word.chars().count() / 4;
    candidates
        .into_iter()
        .take(CANDIDATES_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed)
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}
