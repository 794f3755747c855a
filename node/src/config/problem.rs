//! Where a value comes from, and what is wrong with it.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in; the note says what it follows from, if from anything.
    Default(Option<String>),
    /// A line of the file, from 1.
    File(PathBuf, usize),
    /// An environment name.
    Env(String),
    /// A flag, without the dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(None) => f.write_str("default"),
            Self::Default(Some(note)) => write!(f, "default ({note})"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what to write instead.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        match problems.len() {
            1 => write!(f, "the configuration has a problem")?,
            n => write!(f, "the configuration has {n} problems")?,
        }
        problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Says which of the known words an unknown one was probably meant to be.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // 0.8 admits one or two typos in a short word and no more; below it a guess confuses more than it helps.
    const SIMILARITY_MIN: f64 = 0.8;
    let best = known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .max_by(|(left, _), (right, _)| left.total_cmp(right));
    match best {
        Some((similarity, candidate)) if similarity >= SIMILARITY_MIN => format!("; did you mean '{candidate}'?"),
        _ => String::new(),
    }
}
