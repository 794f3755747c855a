//! Who waits for a run's next events: watch streams, woken from the apply path of this node's own replica.
//!
//! A watcher gets the newest sequence, not the events: it reads them from the history, so a slow one loses nothing and holds nothing.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use quorus_engine::RunUid;
use quorus_raft::{GroupId, Index};
use tokio::sync::watch;

use crate::replica::{AppliedSink, RunChange};

/// All watchers on this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Changes {
    watched: Arc<Mutex<BTreeMap<RunUid, watch::Sender<u64>>>>,
}

impl Changes {
    /// A receiver that changes when the run got new events.
    pub fn watch(&self, uid: RunUid) -> watch::Receiver<u64> {
        self.watched.lock().entry(uid).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Forgets a run that nobody watches any more.
    pub fn unwatch(&self, uid: RunUid) {
        let mut watched = self.watched.lock();
        if watched.get(&uid).is_some_and(|sender| sender.receiver_count() == 0) {
            watched.remove(&uid);
        }
    }
}

impl AppliedSink for Changes {
    fn applied(&mut self, _group: GroupId, _index: Index, changes: Vec<RunChange>) {
        let watched = self.watched.lock();
        for change in changes {
            if let Some(sender) = watched.get(&change.uid) {
                sender.send_replace(change.last_seq);
            }
        }
    }

    fn restored(&mut self, _group: GroupId) {
        for sender in self.watched.lock().values() {
            sender.send_modify(|_| {});
        }
    }
}
