//! What became of a mutant, read from the verdicts that a simulation left.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use quorus_mutants::Mutant;
use serde::{Deserialize, Serialize};

/// Results are this many folders deep, at most.
const DEPTH_MAX: usize = 4;

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub mutant: String,
    /// What is broken.
    pub what: String,
    /// Invariants that are made for it.
    pub expected: Vec<String>,
    /// The seed that caught it once, if it does not any more.
    pub moved: Option<u64>,
    /// None if it survived.
    pub caught: Option<Caught>,
    /// Seeds that were simulated.
    pub seeds: u64,
    /// Seeds of them whose verdict was unknown.
    pub unknown: u64,
}

/// How a mutant was caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caught {
    /// With which seed.
    pub seed: u64,
    /// Invariants that were violated there.
    pub by: BTreeSet<String>,
    /// True if one that is made for it is among them.
    pub as_expected: bool,
}

/// A seed's verdict, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Judged {
    pub(super) seed: u64,
    pub(super) verdict: String,
    invariants: Vec<Invariant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Invariant {
    id: String,
    verdict: String,
}

impl Judged {
    pub(super) fn violated(&self) -> BTreeSet<String> {
        self.invariants.iter().filter(|invariant| invariant.verdict == "violated").map(|invariant| invariant.id.clone()).collect()
    }
}

impl Outcome {
    pub(super) fn new(mutant: Mutant) -> Self {
        let expected = mutant.invariants().iter().map(|invariant| (*invariant).to_owned()).collect();
        Self { mutant: mutant.name().to_owned(), what: mutant.what().to_owned(), expected, moved: None, caught: None, seeds: 0, unknown: 0 }
    }

    /// Adds what some seeds led to. One that an invariant made for the mutant caught counts before the others.
    pub(super) fn add(&mut self, judged: &[Judged]) {
        self.seeds += judged.len() as u64;
        self.unknown += judged.iter().filter(|seed| seed.verdict == "unknown").count() as u64;
        let caught = judged.iter().map(|seed| (seed.seed, seed.violated())).filter(|(_, by)| !by.is_empty());
        let caught = caught.map(|(seed, by)| Caught { seed, as_expected: self.expected.iter().any(|expected| by.contains(expected)), by });
        let best = self.caught.take().into_iter().chain(caught).min_by_key(|caught| (!caught.as_expected, caught.seed));
        self.caught = best;
    }

    /// True if an invariant that is made for it caught it.
    pub(super) fn is_proven(&self) -> bool {
        self.caught.as_ref().is_some_and(|caught| caught.as_expected)
    }

    /// A line of the table: the mutant, the invariants that are made for it, those that caught it, with which seed, of how many, what it does.
    pub(super) fn row(&self) -> [String; 6] {
        let (by, seed) = match &self.caught {
            Some(caught) => {
                let by = caught.by.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                (if caught.as_expected { by } else { format!("{by} (not as expected)") }, caught.seed.to_string())
            }
            None => ("SURVIVED".to_owned(), "-".to_owned()),
        };
        let seed = self.moved.map_or(seed.clone(), |moved| format!("{seed} (seed moved, was {moved})"));
        let seeds = self.seeds.to_string();
        let seeds = if self.unknown > 0 { format!("{seeds}, {} unknown", self.unknown) } else { seeds };
        [self.mutant.clone(), self.expected.join(" "), by, seed, seeds, self.what.clone()]
    }
}

/// All verdicts below a folder, by seed.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<Judged>> {
    let mut judged = Vec::new();
    let mut folders: Vec<(PathBuf, usize)> = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if path.file_name().is_some_and(|name| name == "results.json") {
                let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                judged.push(serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?);
            }
        }
    }
    judged.sort_by_key(|judged: &Judged| judged.seed);
    judged.dedup_by_key(|judged| judged.seed);
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(folder: &Path, seed: u64, verdict: &str, violated: &[&str]) {
        let folder = folder.join(format!("seed-{seed}"));
        fs::create_dir_all(&folder).unwrap();
        let invariants: Vec<_> = ["I5", "I6", "I12"]
            .iter()
            .map(|id| serde_json::json!({"id": id, "verdict": if violated.contains(id) { "violated" } else { "valid" }, "checked": 3}))
            .collect();
        let text = serde_json::json!({"seed": seed, "verdict": verdict, "title": "t", "invariants": invariants}).to_string();
        fs::write(folder.join("results.json"), text).unwrap();
    }

    #[test]
    fn a_mutant_is_caught_by_the_first_seed_in_which_its_invariant_fails() {
        let temporary = tempfile::tempdir().unwrap();
        results(temporary.path(), 3, "valid", &[]);
        results(temporary.path(), 4, "violated", &["I6"]);
        results(temporary.path(), 5, "unknown", &[]);
        results(temporary.path(), 6, "violated", &["I12", "I6"]);
        results(temporary.path(), 7, "violated", &["I12"]);
        let judged = read(temporary.path()).unwrap();
        assert_eq!(judged.len(), 5);
        let mut outcome = Outcome::new(Mutant::NoFenceCheck);
        outcome.add(&judged[..1]);
        assert_eq!(outcome.row()[2], "SURVIVED");
        outcome.add(&judged[1..2]);
        assert!(outcome.row()[2].contains("not as expected"));
        outcome.add(&judged[2..]);
        let caught = outcome.caught.clone().unwrap();
        assert_eq!((caught.seed, caught.as_expected), (6, true));
        assert_eq!((outcome.seeds, outcome.unknown), (5, 1));
    }
}
