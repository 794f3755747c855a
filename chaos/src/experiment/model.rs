//! What an experiment is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{game_day::GameDay, tolerance::Tolerance};

/// An experiment, read and checked.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What it asks.
    pub title: String,
    /// Why.
    pub description: String,
    /// For lists.
    pub tags: Vec<String>,
    /// Values for `${name}`.
    pub configuration: BTreeMap<String, Setting>,
    /// Values for `${name}` that are never shown, by scope and name.
    pub secrets: BTreeMap<String, BTreeMap<String, Setting>>,
    /// What must hold before and after.
    pub hypothesis: Option<Hypothesis>,
    /// What is done.
    pub method: Vec<Activity>,
    /// What is done at the end.
    pub rollbacks: Vec<Activity>,
    /// `runtime.rollbacks.strategy`.
    pub rollback_strategy: Option<RollbackStrategy>,
    /// `runtime.hypothesis.strategy`.
    pub hypothesis_strategy: Option<HypothesisStrategy>,
    /// The extension `quorus`.
    pub game_day: GameDay,
    /// The file as it is, secrets masked: what the journal repeats.
    pub raw: Value,
}

/// Where a value of the configuration comes from.
#[derive(Clone, Debug)]
pub enum Setting {
    /// It is written in the file.
    Static(Value),
    /// It is an environment variable.
    Env {
        /// Its name.
        key: String,
        /// If it is not set.
        default: Option<Value>,
        /// `str`, `int`, `float`, `bool`.
        kind: String,
    },
    /// It is what a probe says: the standard output of a process, or a body.
    Probe(Box<Activity>),
}

/// What must hold.
#[derive(Clone, Debug)]
pub struct Hypothesis {
    /// In words.
    pub title: String,
    /// As questions with allowed answers.
    pub probes: Vec<Activity>,
}

/// Whether an activity asks or acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivityKind {
    /// It asks.
    Probe,
    /// It acts.
    Action,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Activity {
    /// Asks or acts.
    pub kind: ActivityKind,
    /// Its name.
    pub name: String,
    /// How.
    pub provider: Provider,
    /// What answers are allowed; only for probes of a hypothesis.
    pub tolerance: Option<Tolerance>,
    /// The next activity does not wait for it.
    pub background: bool,
    /// Seconds before, or `${name}`.
    pub pause_before: Value,
    /// Seconds after, or `${name}`.
    pub pause_after: Value,
    /// Seconds, or none for the default bound.
    pub timeout: Value,
    /// As it is in the file, for the journal.
    pub raw: Value,
}

/// How an activity is carried out.
#[derive(Clone, Debug)]
pub enum Provider {
    /// A program.
    Process {
        /// Its name, or path.
        path: String,
        /// A text (through a shell), a list, or a map.
        arguments: Value,
    },
    /// A request.
    Http {
        /// To whom.
        url: String,
        /// `GET`, ...
        method: String,
        /// Header fields.
        headers: Value,
        /// The query of a GET, the body of others.
        arguments: Value,
        /// False takes any certificate.
        verify_tls: bool,
    },
}

/// When rollbacks are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RollbackStrategy {
    /// Unless the hypothesis did not hold at the start, so that nothing was done.
    Default,
    /// In any case.
    Always,
    /// Never.
    Never,
    /// Only if the hypothesis no longer held after the method.
    Deviated,
}

/// When the hypothesis is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HypothesisStrategy {
    /// Before and after the method.
    Default,
    /// Before.
    BeforeMethodOnly,
    /// After.
    AfterMethodOnly,
    /// Again and again while the method is done.
    DuringMethodOnly,
    /// All of these.
    Continuously,
}

impl HypothesisStrategy {
    /// Whether it tests before the method.
    pub fn before(self) -> bool {
        matches!(self, Self::Default | Self::BeforeMethodOnly | Self::Continuously)
    }

    /// Whether it tests after the method.
    pub fn after(self) -> bool {
        matches!(self, Self::Default | Self::AfterMethodOnly | Self::Continuously)
    }

    /// Whether it tests during the method.
    pub fn during(self) -> bool {
        matches!(self, Self::DuringMethodOnly | Self::Continuously)
    }
}
