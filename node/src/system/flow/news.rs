//! How this node learns that its copy of group 0 changed: grants as events, limits and switches as the newest state.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::{Changes, FlowState, SlotKey, SlotRun};

/// Grants that a slow receiver may be behind before it has to look for itself.
const BEHIND_MAX: usize = 1024;

/// A run got the slot that it waited for, or is not parked any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotGranted {
    pub(super) key: SlotKey,
    pub(super) run: SlotRun,
}

/// What happened to slots, on this node's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotNews {
    /// A run got the slot that it waited for, or is not parked any more: it asks where it stands.
    Granted {
        /// The key.
        key: SlotKey,
        /// The run.
        run: SlotRun,
    },
    /// The copy came from elsewhere: look where the runs that wait stand now. (So does a receiver that lagged.)
    LookAgain,
}

/// Tells changes on this node. Cheap to clone.
#[derive(Clone)]
pub(in crate::system) struct FlowFeed {
    state: Arc<watch::Sender<Arc<FlowState>>>,
    slots: broadcast::Sender<SlotNews>,
}

impl FlowFeed {
    pub(in crate::system) fn new(state: FlowState) -> Self {
        Self { state: Arc::new(watch::Sender::new(Arc::new(state))), slots: broadcast::channel(BEHIND_MAX).0 }
    }

    pub(in crate::system) fn state(&self) -> Arc<FlowState> {
        self.state.borrow().clone()
    }

    pub(in crate::system) fn subscribe(&self) -> watch::Receiver<Arc<FlowState>> {
        self.state.subscribe()
    }

    pub(in crate::system) fn subscribe_slots(&self) -> broadcast::Receiver<SlotNews> {
        self.slots.subscribe()
    }

    /// After an apply: `read` reads the switches if they changed.
    pub(in crate::system) fn publish<E>(&self, changes: Changes, read: impl FnOnce() -> Result<FlowState, E>) -> Result<(), E> {
        if changes.switched {
            self.state.send_replace(Arc::new(read()?));
        }
        for SlotGranted { key, run } in changes.granted {
            // Nobody listens: then nobody waits.
            self.slots.send(SlotNews::Granted { key, run }).ok();
        }
        Ok(())
    }

    /// After the copy was replaced.
    pub(in crate::system) fn replaced(&self, state: FlowState) {
        self.state.send_replace(Arc::new(state));
        self.slots.send(SlotNews::LookAgain).ok();
    }
}
