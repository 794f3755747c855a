//! Experiments as files, in the open format of the Chaos Toolkit, so that its own runner takes ours unchanged.
//!
//! - [`source`]: a text (JSON or YAML) as values that know where they stand; [`finding`]: what is wrong with it, where, and what to do.
//! - [`model`]: what an experiment is; [`read`]: values to a model, with all mistakes at once; [`game_day`]: our own extension of the format.
//! - [`scope`]: configuration, secrets and `${name}`; [`tolerance`]: whether an answer is within what was allowed.
//! - [`provider`] and [`http`]: how an activity is carried out; [`activity`]: one activity with its pauses, recorded.
//! - [`player`]: hypothesis, method, rollbacks; [`journal`]: what it leaves, in the Chaos Toolkit's shape.
//! - [`library`]: the experiments that are shipped, and those in folders.
//! - [`day`]: a whole game day around an experiment: a stage, a workload, the method, healing, export, verdict, report.
//! - [`verbs`]: `run`, `validate`, `list`.
//!
//! Invariants: the journal is written however the experiment ends. Secrets are in no journal, no output and no error. Every activity has a bound in time.

pub mod activity;
pub mod day;
pub mod finding;
pub mod game_day;
pub mod http;
pub mod journal;
pub mod library;
pub mod model;
pub mod player;
pub mod provider;
pub mod read;
pub mod scope;
pub mod source;
pub mod tolerance;
pub mod verbs;

pub use journal::Journal;
pub use model::Experiment;
