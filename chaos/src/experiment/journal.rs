//! What an experiment leaves, in the shape of the Chaos Toolkit, so that its tools read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the Chaos Toolkit's library whose journal this is like.
const LIKE: &str = "1.44.0";

/// The journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    /// Whose shape it has.
    #[serde(rename = "chaoslib-version")]
    pub chaoslib_version: String,
    /// On what.
    pub platform: String,
    /// On which machine.
    pub node: String,
    /// The experiment as it was run, secrets masked.
    pub experiment: Value,
    /// When it began.
    pub start: String,
    /// How it ended.
    pub status: Status,
    /// True if the hypothesis held before and no longer after.
    pub deviated: bool,
    /// What was found about the hypothesis.
    pub steady_states: SteadyStates,
    /// What was done.
    pub run: Vec<Run>,
    /// What was done at the end.
    pub rollbacks: Vec<Run>,
    /// When it ended.
    #[serde(default)]
    pub end: String,
    /// Seconds.
    #[serde(default)]
    pub duration: f64,
}

/// How an experiment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// To its end.
    Completed,
    /// A probe of the hypothesis could not be carried out, or failed the experiment fast.
    Failed,
    /// The runner could not go on.
    Aborted,
    /// Somebody stopped it.
    Interrupted,
}

/// What was found about the hypothesis.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SteadyStates {
    /// Before the method.
    pub before: Option<SteadyState>,
    /// After the method.
    pub after: Option<SteadyState>,
    /// While the method was done.
    #[serde(default)]
    pub during: Vec<SteadyState>,
}

/// One test of the hypothesis.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SteadyState {
    /// Whether it held.
    pub steady_state_met: bool,
    /// The probes up to the first whose answer was not allowed.
    pub probes: Vec<Run>,
}

/// One activity, carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// As it is in the file.
    pub activity: Value,
    /// What came out.
    pub output: Value,
    /// When it began.
    pub start: String,
    /// `succeeded` or `failed`.
    pub status: RunStatus,
    /// When it ended.
    pub end: String,
    /// Seconds.
    pub duration: f64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exception: Vec<String>,
    /// Of a probe of a hypothesis: whether its answer was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_met: Option<bool>,
}

/// Whether an activity could be carried out. A process that ends with another code than 0 was carried out: look at its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It could.
    Succeeded,
    /// It could not.
    Failed,
}

impl Journal {
    /// An empty journal that begins now.
    pub fn begin(experiment: Value) -> Self {
        Self {
            chaoslib_version: LIKE.to_owned(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            node: std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default(),
            experiment,
            start: now(),
            status: Status::Completed,
            deviated: false,
            steady_states: SteadyStates::default(),
            run: Vec::new(),
            rollbacks: Vec::new(),
            end: String::new(),
            duration: 0.0,
        }
    }

    /// What was done in the method and did not do what it should: it failed, or its process ended with another code than 0.
    pub fn actions_that_failed(&self) -> Vec<String> {
        let failed = self.run.iter().chain(&self.rollbacks).filter(|run| !run.done() && run.activity["type"] != "probe");
        failed.map(|run| format!("{}: {}", run.name(), run.trouble())).collect()
    }
}

impl Run {
    /// The activity's name.
    pub fn name(&self) -> &str {
        self.activity["name"].as_str().unwrap_or_default()
    }

    /// True if it was carried out, and a process ended with code 0.
    pub fn done(&self) -> bool {
        let process = self.activity["provider"]["type"] == "process";
        self.status == RunStatus::Succeeded && (!process || self.output.is_null() || self.output["status"] == 0)
    }

    /// Why it did not do what it should, in a line.
    pub fn trouble(&self) -> String {
        if let Some(exception) = self.exception.first() {
            return exception.clone();
        }
        let said = |name: &str| self.output[name].as_str().unwrap_or_default().trim().lines().last().unwrap_or_default().to_owned();
        let said = [said("stderr"), said("stdout")].into_iter().find(|said| !said.is_empty()).unwrap_or_default();
        format!("exit code {}: {said}", self.output["status"])
    }
}

/// Now, as the Chaos Toolkit writes it.
pub fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, false)
}
