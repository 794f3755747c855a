//! Connections to the cluster, spread over its nodes.
//!
//! Many concurrent clients share few connections, as in a real service, but not one: a node accepts a bounded number of streams on a
//! connection, and a run that is waited for is one.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use quorus_client::{Client, OnRetry, Options};

/// Clients that share a connection, at most: half of what a node lets go on at a time on one.
const CLIENTS_PER_CONNECTION: usize = 64;

/// The connections.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    retries: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Clients {
    /// Connections for so many runs at a time, or a given number of them. Connects to nothing yet.
    pub(crate) fn new(endpoints: &[String], namespace: &str, at_a_time: usize, connections: Option<usize>) -> anyhow::Result<Self> {
        let count = connections.unwrap_or_else(|| at_a_time.div_ceil(CLIENTS_PER_CONNECTION).max(endpoints.len().min(at_a_time)));
        let retries: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let clients = (0..count.max(1)).map(|index| {
            let mut endpoints = endpoints.to_vec();
            // The first one is where a client goes; the others are for failover.
            let first = index % endpoints.len().max(1);
            endpoints.rotate_left(first);
            let retries = retries.clone();
            let on_retry: OnRetry = Arc::new(move |retrying| {
                let error = retrying.error;
                let reason = if error.reason.is_empty() { format!("{:?}", error.code) } else { error.reason.clone() };
                *retries.lock().entry(reason).or_default() += 1;
            });
            let namespace = namespace.to_owned();
            Client::new(Options { endpoints, namespace, on_retry: Some(on_retry), ..Options::default() })
        });
        Ok(Self { clients: clients.collect::<Result<_, _>>()?, retries })
    }

    /// The connection of a client.
    pub(crate) fn of(&self, client: usize) -> &Client {
        &self.clients[client % self.clients.len()]
    }

    /// How often calls had to be repeated, by reason: a node was busy, moving, or gone.
    pub(crate) fn retries(&self) -> BTreeMap<String, u64> {
        self.retries.lock().clone()
    }

    /// Begins to count anew.
    pub(crate) fn forget_retries(&self) {
        self.retries.lock().clear();
    }
}
