//! What clients asked and were told, as it happens.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::site::Clock;
use crate::record::{Call, Ending, Operation};

/// Is told of every operation that has ended.
type Watcher = Arc<dyn Fn(&Operation) + Send + Sync>;

/// Takes down operations; clones share them.
#[derive(Clone)]
pub struct Recorder {
    clock: Clock,
    watcher: Option<Watcher>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    operations: BTreeMap<u64, Operation>,
    next: u64,
    harness_errors: Vec<String>,
}

impl Recorder {
    /// Nothing so far.
    pub fn new(clock: Clock) -> Self {
        Self { clock, watcher: None, state: Arc::default() }
    }

    /// Tells somebody of every operation that has ended, too.
    pub fn watched(self, watcher: impl Fn(&Operation) + Send + Sync + 'static) -> Self {
        Self { watcher: Some(Arc::new(watcher)), ..self }
    }

    /// What stamps the operations.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A client asks; returns the operation's id.
    pub fn invoke(&self, client: &str, call: Call) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        // Stamped under the lock, so that ids rise with time.
        let invoked_us = self.clock.now_us();
        state.operations.insert(id, Operation { id, client: client.to_owned(), call, invoked_us, ended_us: None, ending: None });
        id
    }

    /// The client asked again, through another node.
    pub fn retried(&self, id: u64) {
        if let Some(Operation { call: Call::Start { retried, .. }, .. }) = self.state().operations.get_mut(&id) {
            *retried = true;
        }
    }

    /// The client knows how it ended.
    pub fn end(&self, id: u64, ending: Ending) {
        let mut state = self.state();
        let now = self.clock.now_us();
        if let Some(operation) = state.operations.get_mut(&id) {
            operation.ended_us = Some(now);
            operation.ending = Some(ending);
            if let Some(watcher) = &self.watcher {
                watcher(operation);
            }
        }
    }

    /// Something is wrong with the workload itself.
    pub fn harness_error(&self, text: String) {
        self.state().harness_errors.push(text);
    }

    /// Everything so far, by id. What was not answered has no ending.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().operations.values().cloned().collect()
    }

    /// What is wrong with the workload itself.
    pub fn harness_errors(&self) -> Vec<String> {
        self.state().harness_errors.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a complete record behind: each change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("clock", &self.clock).finish_non_exhaustive()
    }
}
