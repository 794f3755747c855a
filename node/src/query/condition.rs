//! Conditions, and whether a run meets them.

use std::collections::{BTreeMap, BTreeSet};

use quorus_engine::{RunStatus, RunUid, Timestamp};

/// What a run is judged by: all that a filter may ask about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRow {
    /// Its uid.
    pub uid: RunUid,
    /// Its id.
    pub run_id: String,
    /// Its workflow.
    pub workflow: String,
    /// The workflow's version.
    pub version: u64,
    /// Where it stands.
    pub status: RunStatus,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Type of its failure; empty without one.
    pub error_type: String,
    /// Id of the run that started it; empty if it is nobody's child.
    pub parent: String,
}

/// A text, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The whole text.
    Exact(String),
    /// Its beginning.
    Prefix(String),
}

/// How two values must stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// One thing that must be true of a run. `negated` turns it around.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The run's id is one of these.
    RunId {
        /// Or none of these.
        negated: bool,
        /// At least one.
        any: Vec<Pattern>,
    },
    /// Its workflow is one of these.
    Workflow {
        /// Or none of these.
        negated: bool,
        /// At least one.
        any: Vec<Pattern>,
    },
    /// Its parent's id is one of these; the empty text is no parent.
    Parent {
        /// Or none of these.
        negated: bool,
        /// At least one.
        any: Vec<Pattern>,
    },
    /// The type of its failure is one of these; the empty text is no failure.
    ErrorType {
        /// Or none of these.
        negated: bool,
        /// At least one.
        any: Vec<Pattern>,
    },
    /// It has the label, with one of these values; with any value if there are none.
    Label {
        /// Name of the label.
        name: String,
        /// Or it does not.
        negated: bool,
        /// May be empty.
        any: Vec<Pattern>,
    },
    /// It has one of these statuses.
    Status {
        /// Or none of these.
        negated: bool,
        /// At least one.
        any: BTreeSet<RunStatus>,
    },
    /// The version of its workflow.
    Version(Comparison, u64),
    /// When it started.
    Started(Comparison, Timestamp),
    /// When it ended; a run that goes on meets no condition on its end.
    Ended(Comparison, Timestamp),
}

/// Runs of a namespace that meet all conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// Namespace.
    pub namespace: String,
    /// All of these.
    pub conditions: Vec<Condition>,
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(whole) => whole == text,
            Self::Prefix(begin) => text.starts_with(begin.as_str()),
        }
    }
}

impl Comparison {
    /// True if `left` stands to `right` like this.
    pub fn holds<T: Ord>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Condition {
    /// True if a run meets it.
    pub fn holds(&self, row: &RunRow) -> bool {
        let one_of = |any: &[Pattern], text: &str| any.iter().any(|pattern| pattern.matches(text));
        match self {
            Self::RunId { negated, any } => one_of(any, &row.run_id) != *negated,
            Self::Workflow { negated, any } => one_of(any, &row.workflow) != *negated,
            Self::Parent { negated, any } => one_of(any, &row.parent) != *negated,
            Self::ErrorType { negated, any } => one_of(any, &row.error_type) != *negated,
            Self::Label { name, negated, any } => {
                let has = row.labels.get(name).is_some_and(|value| any.is_empty() || one_of(any, value));
                has != *negated
            }
            Self::Status { negated, any } => any.contains(&row.status) != *negated,
            Self::Version(comparison, version) => comparison.holds(row.version, *version),
            Self::Started(comparison, time) => comparison.holds(row.started_at, *time),
            Self::Ended(comparison, time) => row.ended_at.is_some_and(|ended| comparison.holds(ended, *time)),
        }
    }
}

impl RunFilter {
    /// Every run of a namespace.
    pub fn all(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), conditions: Vec::new() }
    }

    /// The same with one more condition.
    #[must_use]
    pub fn and(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// True if a run of the namespace meets all conditions.
    pub fn matches(&self, row: &RunRow) -> bool {
        self.conditions.iter().all(|condition| condition.holds(row))
    }

    /// The youngest start that can match, and the oldest one.
    pub(crate) fn started_between(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut youngest, mut oldest) = (None::<Timestamp>, None::<Timestamp>);
        let mut at_most = |time: Timestamp| youngest = Some(youngest.map_or(time, |known| known.min(time)));
        let mut at_least = |time: Timestamp| oldest = Some(oldest.map_or(time, |known| known.max(time)));
        for condition in &self.conditions {
            if let Condition::Started(comparison, time) = condition {
                match comparison {
                    Comparison::Less => at_most(Timestamp(time.0.saturating_sub(1))),
                    Comparison::LessOrEqual => at_most(*time),
                    Comparison::Greater => at_least(Timestamp(time.0.saturating_add(1))),
                    Comparison::GreaterOrEqual => at_least(*time),
                    Comparison::Equal => {
                        at_most(*time);
                        at_least(*time);
                    }
                    Comparison::NotEqual => {}
                }
            }
        }
        (youngest, oldest)
    }

    /// The only workflow whose runs can match, if there is only one.
    pub(crate) fn only_workflow(&self) -> Option<&str> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::Workflow { negated: false, any } => only(any),
            _ => None,
        })
    }

    /// The only run id that can match, if there is only one.
    pub(crate) fn only_run_id(&self) -> Option<&str> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::RunId { negated: false, any } => only(any),
            _ => None,
        })
    }

    /// True if only runs that have not ended can match.
    pub(crate) fn only_open(&self) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Status { negated: false, any } => any.iter().all(|status| !status.is_final()),
            _ => false,
        })
    }
}

fn only(any: &[Pattern]) -> Option<&str> {
    match any {
        [Pattern::Exact(text)] => Some(text),
        _ => None,
    }
}
