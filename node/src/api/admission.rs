//! Room for requests: bounded, in pools of their own, so that outcomes and reads go on when starts are refused.
//!
//! Nothing waits for room: who finds none is told so, with a time to come back. And nobody waits for room of one pool while holding some of
//! another.

use std::sync::Arc;

use quorus_mutants::{Mutant, active};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::errors;

/// Exports of replicas at a time: each reads a whole shard, and holds a view of the disk for as long as its reader takes.
const EXPORTS: usize = 2;

/// So many times as many changes may wait as are carried out at a time: a wait lasts longer, and costs less.
const WAITING_TIMES: usize = 4;

/// The pools.
#[derive(Clone)]
pub struct Admission {
    changes: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

impl Admission {
    /// Pools with room for so many changes of clients, reads, watch streams and workers at a time.
    pub fn new(changes: usize, reads: usize, watches: usize, workers: usize) -> Self {
        let pool = |room| Arc::new(Semaphore::new(room));
        let waiting = pool(changes.saturating_mul(WAITING_TIMES).min(Semaphore::MAX_PERMITS));
        Self { changes: pool(changes), waiting, reads: pool(reads), watches: pool(watches), workers: pool(workers), exports: pool(EXPORTS) }
    }

    /// Room for a start, cancel, terminate or a change of definitions.
    pub fn change(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.changes, "requests")
    }

    /// Room for a change that this node can't carry out, or not yet: it waits for a leader, for the answer of another node, or for a definition.
    pub fn waiting(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.waiting, "requests that wait")
    }

    /// Room for a read.
    pub fn read(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.reads, "reads")
    }

    /// Room for a watch stream.
    pub fn watch(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.watches, "watch streams")
    }

    /// Room for a worker's stream.
    pub fn worker(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.workers, "workers")
    }

    /// Room for an export of a replica.
    pub fn export(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.exports, "exports of replicas")
    }
}

fn take(pool: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Status> {
    if active(Mutant::OverloadAbsorbed) {
        pool.add_permits(1);
    }
    pool.clone().try_acquire_owned().map_err(|_| errors::overloaded(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_refuses_and_the_others_go_on() {
        let admission = Admission::new(1, 1, 1, 1);
        let held = admission.change().unwrap();
        let refused = admission.change().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(admission.read().is_ok());
        let waiting: Vec<_> = (0..WAITING_TIMES).map(|_| admission.waiting().unwrap()).collect();
        assert!(admission.waiting().is_err());
        drop(waiting);
        drop(held);
        assert!(admission.change().is_ok());
    }
}
