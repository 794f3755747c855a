//! What the results folder holds, as far as a report needs it. What is missing is missing: a day that broke off half-way has a report, too.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    experiment::{Journal, day::collect::About},
    record::{Evidence, folder::Folder},
};

/// All that a report is made from.
#[derive(Debug, Default)]
pub struct Material {
    /// What was recorded.
    pub evidence: Evidence,
    /// What was judged; none if nothing was.
    pub judged: Option<Judged>,
    /// What the experiment's method left.
    pub journal: Option<Journal>,
    /// The experiment's file.
    pub experiment: Value,
    /// With what, where and how.
    pub about: About,
    /// `coverage.json`, if there is one beside the results.
    pub coverage: Value,
}

/// `results.json`, as far as a report needs it: older and newer judges must both be shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Judged {
    /// `valid`, `violated` or `unknown`.
    pub verdict: String,
    /// Why it is unknown.
    pub reasons: Vec<String>,
    /// One by one.
    pub invariants: Vec<Invariant>,
    /// What was done and seen.
    pub coverage: Value,
}

/// How one invariant stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Invariant {
    /// `I1` to `I18`.
    pub id: String,
    /// What it says, in a few words.
    pub title: String,
    /// `valid`, `violated`, `unknown`, `not_applicable`.
    pub verdict: String,
    /// Why it is unknown or not applicable.
    pub reason: String,
    /// How many facts were looked at.
    pub checked: u64,
    /// How many violations there are.
    pub violated: u64,
    /// The first of them.
    pub violations: Vec<Counterexample>,
}

/// Facts that can't be true together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counterexample {
    /// What is wrong.
    pub summary: String,
    /// In which run.
    pub run: String,
    /// In which step.
    pub step: String,
    /// Who said what.
    pub evidence: Vec<Testimony>,
}

/// What a witness said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Testimony {
    /// When, in microseconds of the experiment's clock.
    pub at_us: i64,
    /// Who.
    pub who: String,
    /// What.
    pub said: String,
}

impl Material {
    /// Reads a results folder.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(path.is_dir(), "{} is no folder; give a results folder, as `quorus-chaos run` makes it", path.display());
        let folder = Folder::open(path);
        let evidence = if folder.file("setup.json").is_file() { folder.read()? } else { Evidence::default() };
        let harness: Vec<String> = fs::read_to_string(folder.file("harness.jsonl"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        Ok(Self {
            evidence: Evidence { harness_errors: harness, ..evidence },
            judged: optional(&folder, "results.json")?,
            journal: optional(&folder, "journal.json")?,
            experiment: optional(&folder, "experiment.json")?.unwrap_or_default(),
            about: optional(&folder, "about.json")?.unwrap_or_default(),
            coverage: optional(&folder, "coverage.json")?.unwrap_or_default(),
        })
    }

    /// `valid`, `violated`, `unknown`, `deviated` or `none`: what the page says on top.
    pub fn verdict(&self) -> &str {
        let judged = self.judged.as_ref().map(|judged| judged.verdict.to_ascii_lowercase());
        let deviated = self.journal.as_ref().is_some_and(|journal| journal.deviated);
        match judged.as_deref() {
            Some("violated") => "violated",
            _ if deviated => "deviated",
            Some("valid") if self.evidence.harness_errors.is_empty() => "valid",
            Some(_) => "unknown",
            None if self.evidence.harness_errors.is_empty() && self.journal.is_some() => "none",
            None => "unknown",
        }
    }

    /// Why it is unknown, each reason once.
    pub fn reasons(&self) -> Vec<&str> {
        let mut reasons: Vec<&str> = Vec::new();
        let judged = self.judged.iter().flat_map(|judged| &judged.reasons);
        for reason in judged.chain(&self.evidence.harness_errors) {
            if !reasons.iter().any(|known| known.contains(reason.as_str())) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// What the experiment, or the setup, is called.
    pub fn title(&self) -> &str {
        self.experiment["title"].as_str().filter(|title| !title.is_empty()).unwrap_or(&self.evidence.setup.title)
    }

    /// Violations by run: its id or uid.
    pub fn violations(&self) -> BTreeMap<&str, Vec<String>> {
        let mut violations: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for invariant in self.judged.iter().flat_map(|judged| &judged.invariants) {
            for violation in invariant.violations.iter().filter(|violation| !violation.run.is_empty()) {
                violations.entry(&violation.run).or_default().push(format!("{}: {}", invariant.id, violation.summary));
            }
        }
        violations
    }
}

fn optional<T: DeserializeOwned>(folder: &Folder, name: &str) -> anyhow::Result<Option<T>> {
    let path = folder.file(name);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("reading {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}
