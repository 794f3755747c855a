//! Which workflows are paused, as the leader of a shard knows it, and whether it knows enough to let a run begin by itself.
//!
//! Whether a run has to wait is decided by group 0, when the run asks for its slot. What is decided here is only whether it asks. Asking in vain
//! costs a moment, so in doubt it asks; not asking is for a leader that is sure, and that is what the following makes certain.
//!
//! Invariant: once a pause was answered without an unconfirmed shard, no start that comes later begins by itself. A pause at revision R is answered
//! after the leader of each shard has applied R here and a quorum has confirmed after that that it still leads. That leader knows from then on. A
//! later one was elected after R was decided, since a quorum still followed the one before; and it lets nothing begin by itself before a read of
//! group 0 that began after its election has been confirmed by a quorum, which brings R here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{api::SystemPort, system::SystemStore};

/// Pause before group 0 is asked again that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What one leadership knows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pauses {
    system: SystemStore,
    sure: Arc<AtomicBool>,
}

/// Asks group 0 until it has answered once; dropped with the leadership.
pub(crate) struct Learning(AbortHandle);

impl Drop for Learning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pauses {
    /// Begins to learn. To be called once the leadership is won: what was known before may be too old.
    pub(crate) fn learn(system: SystemStore, port: SystemPort) -> (Self, Learning) {
        let sure = Arc::new(AtomicBool::new(false));
        let known = sure.clone();
        let task = tokio::spawn(async move {
            while port.read_barrier().await.is_err() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            known.store(true, Ordering::Release);
        });
        (Self { system, sure }, Learning(task.abort_handle()))
    }

    /// False only if no start of this workflow has to wait, for sure.
    pub(crate) fn may_be_paused(&self, namespace: &str, workflow: &str) -> bool {
        !self.sure.load(Ordering::Acquire) || self.system.flow().paused_workflow(namespace, workflow).is_some()
    }
}
