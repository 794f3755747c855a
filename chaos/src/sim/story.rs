//! What happened in a run: everything that a verdict is made from, and a log of it for people and for comparing two runs.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quorus_client::LedgerEntry;
use sha2::{Digest as _, Sha256};

use super::chance;
use crate::record::{Ending, Fault, Operation};

/// What happened so far. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Story(Arc<Mutex<Told>>);

/// What happened.
#[derive(Default)]
pub(super) struct Told {
    /// A line for each thing that happened, with its time.
    pub(super) log: String,
    /// What clients asked.
    pub(super) operations: Vec<Operation>,
    /// What workers wrote down.
    pub(super) ledger: Vec<LedgerEntry>,
    /// What was done to the cluster.
    pub(super) faults: Vec<Fault>,
    /// Nodes that ended since they were last asked for, with their reason.
    ended: BTreeMap<u64, String>,
    /// Clients that have nothing more to do.
    pub(super) clients_done: u64,
}

/// Simulated time since the beginning.
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_else(chance::elapsed)
}

/// The same in microseconds.
pub(super) fn now_us() -> u64 {
    u64::try_from(now().as_micros()).unwrap_or(u64::MAX)
}

impl Story {
    /// Writes a line.
    pub(super) fn note(&self, what: impl std::fmt::Display) {
        // Writing into a string can't fail.
        let _ = writeln!(self.0.lock().log, "{:>10.4} {what}", now().as_secs_f64());
    }

    /// A client asks for something; returns the operation's id.
    pub(super) fn invoke(&self, client: &str, call: crate::record::Call) -> u64 {
        let mut told = self.0.lock();
        let id = told.operations.len() as u64 + 1;
        let operation = Operation { id, client: client.to_owned(), call, invoked_us: now_us(), ended_us: None, ending: None };
        told.operations.push(operation);
        id
    }

    /// It knows.
    pub(super) fn end(&self, id: u64, ending: Ending, change: impl FnOnce(&mut Operation)) {
        let mut told = self.0.lock();
        let Some(operation) = told.operations.get_mut(id as usize - 1) else { return };
        operation.ended_us = Some(now_us());
        operation.ending = Some(ending);
        change(operation);
        let line = format!("{} {:?} -> {:?}", operation.client, operation.call, operation.ending);
        drop(told);
        self.note(line);
    }

    /// A worker writes something down.
    pub(super) fn write_down(&self, mut entry: LedgerEntry) {
        entry.mono_us = now_us();
        self.note(format_args!(
            "{} {:?} {} {} attempt {} token {} {}",
            entry.worker, entry.event, entry.run_id, entry.step, entry.attempt, entry.token, entry.outcome
        ));
        self.0.lock().ledger.push(entry);
    }

    /// Something was done to the cluster.
    pub(super) fn fault(&self, fault: Fault) {
        self.note(format_args!(
            "fault {} {} {:?} {:?} led {:?} {}",
            fault.id, fault.kind, fault.phase, fault.targets, fault.led_shards, fault.note
        ));
        self.0.lock().faults.push(fault);
    }

    /// A node ended by itself, or because it was asked to.
    pub(super) fn node_ended(&self, node: u64, why: String) {
        self.note(format_args!("node-{node} ended: {why}"));
        self.0.lock().ended.insert(node, why);
    }

    /// Nodes that ended since the last call.
    pub(super) fn take_ended(&self) -> BTreeMap<u64, String> {
        std::mem::take(&mut self.0.lock().ended)
    }

    /// A client has nothing more to do.
    pub(super) fn client_done(&self) {
        self.0.lock().clients_done += 1;
    }

    /// Looks at it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.0.lock())
    }

    /// The first digits of the log's SHA-256: equal for two runs only if the same happened in both.
    pub(super) fn digest(&self) -> String {
        Sha256::digest(&self.0.lock().log).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
