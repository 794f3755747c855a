//! Readiness: named checks, all of which must pass before the node is sent requests.
//!
//! The node takes a [`Check`] per part that must come up, and sets it as the part comes and goes. A check that was only taken is not passed:
//! forgetting to set one keeps the node out of rotation instead of letting it in too early.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;

/// The shared set of checks. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<RwLock<BTreeMap<&'static str, State>>>,
}

/// One check's handle.
#[derive(Clone, Debug)]
pub struct Check {
    name: &'static str,
    readiness: Readiness,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Passed,
    Waits(String),
}

/// What the checks say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True if there are checks and all pass.
    pub ready: bool,
    /// Each check by name: `None` if it passes, else what it waits for.
    pub checks: Vec<(&'static str, Option<String>)>,
}

impl Readiness {
    /// Adds a check, not passed yet. Taking the same name again returns another handle of a check that starts over.
    pub fn check(&self, name: &'static str) -> Check {
        let check = Check { name, readiness: self.clone() };
        check.wait_for("not started");
        check
    }

    /// What the checks say now.
    pub fn verdict(&self) -> Verdict {
        let checks = self.checks.read();
        Verdict {
            ready: !checks.is_empty() && checks.values().all(|state| *state == State::Passed),
            checks: checks
                .iter()
                .map(|(name, state)| match state {
                    State::Passed => (*name, None),
                    State::Waits(reason) => (*name, Some(reason.clone())),
                })
                .collect(),
        }
    }

    /// True if there are checks and all pass.
    pub fn is_ready(&self) -> bool {
        self.verdict().ready
    }

    fn set(&self, name: &'static str, state: State) {
        let mut checks = self.checks.write();
        if checks.get(name) != Some(&state) {
            match &state {
                State::Passed => tracing::debug!(check = name, "passes"),
                State::Waits(reason) => tracing::debug!(check = name, reason, "does not pass"),
            }
            checks.insert(name, state);
        }
    }
}

impl Check {
    /// The part works.
    pub fn pass(&self) {
        self.readiness.set(self.name, State::Passed);
    }

    /// The part does not work, or not yet; the reason says what it waits for.
    pub fn wait_for(&self, reason: impl Into<String>) {
        self.readiness.set(self.name, State::Waits(reason.into()));
    }
}

impl std::fmt::Display for Verdict {
    /// One line per check, as `/readyz?verbose` shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, waits) in &self.checks {
            match waits {
                None => writeln!(f, "[+] {name} ok")?,
                Some(reason) => writeln!(f, "[-] {name} {reason}")?,
            }
        }
        writeln!(f, "{}", if self.ready { "ready" } else { "not ready" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_checks_is_not_ready() {
        assert!(!Readiness::default().is_ready());
    }

    #[test]
    fn all_checks_must_pass_and_a_taken_one_does_not() {
        let readiness = Readiness::default();
        let (storage, raft) = (readiness.check("storage"), readiness.check("raft"));
        storage.pass();
        assert!(!readiness.is_ready());
        raft.wait_for("no leader of shard 3");
        assert_eq!(readiness.verdict().to_string(), "[-] raft no leader of shard 3\n[+] storage ok\nnot ready\n");
        raft.pass();
        assert!(readiness.is_ready());
        storage.wait_for("draining");
        assert!(!readiness.is_ready());
    }
}
