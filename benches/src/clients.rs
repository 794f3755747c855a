//! Connections to the cluster, spread over its nodes.
//!
//! Many concurrent clients share few connections, as in a real service, but not one: a node accepts a bounded number of streams on a
//! connection, and a run that is waited for is one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quorus_client::{Client, OnRetry, Options};

/// Clients that share a connection, at most: half of what a node lets go on at a time on one.
const CLIENTS_PER_CONNECTION: usize = 64;

/// The connections.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    retries: Arc<AtomicU64>,
}

impl Clients {
    /// Connections for so many clients, or a given number of them. Connects to nothing yet.
    pub(crate) fn new(endpoints: &[String], concurrency: usize, connections: Option<usize>) -> anyhow::Result<Self> {
        let count = connections.unwrap_or_else(|| concurrency.div_ceil(CLIENTS_PER_CONNECTION).max(endpoints.len().min(concurrency)));
        let retries = Arc::new(AtomicU64::new(0));
        let clients = (0..count.max(1)).map(|index| {
            let mut endpoints = endpoints.to_vec();
            // The first one is where a client goes; the others are for failover.
            let first = index % endpoints.len().max(1);
            endpoints.rotate_left(first);
            let retries = retries.clone();
            let on_retry: OnRetry = Arc::new(move |_| {
                retries.fetch_add(1, Ordering::Relaxed);
            });
            Client::new(Options { endpoints, on_retry: Some(on_retry), ..Options::default() })
        });
        Ok(Self { clients: clients.collect::<Result<_, _>>()?, retries })
    }

    /// The connection of a client.
    pub(crate) fn of(&self, client: usize) -> &Client {
        &self.clients[client % self.clients.len()]
    }

    /// How often a call had to be repeated so far: a node was busy, moving, or gone.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
