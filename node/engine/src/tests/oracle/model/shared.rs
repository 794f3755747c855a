//! What all scopes of a run share.

use std::collections::{BTreeMap, BTreeSet};

use super::super::node::{Doing, Live, Verdict};

#[derive(Debug, Default, Hash)]
pub(super) struct Shared {
    pub(super) live: BTreeMap<String, Live>,
    clock: u64,
    /// How the compensations went, by instance.
    pub(super) undo: BTreeMap<String, Count>,
    /// Points of no return that were passed, and whether they bind.
    pub(super) no_return: BTreeMap<String, bool>,
    /// Signals that nobody took, by name and in their order.
    pub(super) unread: BTreeMap<&'static str, Vec<u8>>,
    /// What would be tried again, if people were not waited for.
    pub(super) held: BTreeSet<String>,
    pub(super) verdict: Option<Verdict>,
}

#[derive(Debug, Default, Hash)]
pub(super) struct Count {
    pub(super) failures: u32,
    pub(super) preemptions: u32,
}

impl Shared {
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(super) fn begin(&mut self, instance: &str, doing: Doing) {
        self.live.insert(instance.to_owned(), Live { doing, stopping: false });
    }

    /// Nothing begins that goes forward; what was begun ends, and what is being undone goes on.
    pub(super) fn waits_for_people(&self) -> bool {
        self.verdict == Some(Verdict::NeedsAttention)
    }

    /// Another try of a step, now or when people have helped.
    pub(super) fn try_again(&mut self, instance: &str, doing: Doing) {
        if self.waits_for_people() {
            self.held.insert(instance.to_owned());
        } else {
            self.begin(instance, doing);
        }
    }

    /// Takes the first signal of this name that will do.
    pub(super) fn take(&mut self, name: &str, only: Option<u8>) -> bool {
        let Some(unread) = self.unread.get_mut(name) else { return false };
        let found = unread.iter().position(|number| only.is_none_or(|only| only == *number));
        found.map(|position| unread.remove(position)).is_some()
    }

    pub(super) fn is_bound(&self) -> bool {
        self.no_return.values().any(|binds| *binds)
    }
}
