//! A state machine that keeps every record, and hosts over loopback.
#![allow(dead_code, unreachable_pub, reason = "a module of each test, which uses a part of it")]

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use quorus_raft::{
    ApplyError, Entry, Group, GroupConfig, GroupId, Host, Index, Leadership, Net, NodeId, Options, Peers, ProposeError, StateMachine,
    disk::{Batch, Disk, Order, Table},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::transport::server::TcpIncoming;

/// Keeps every record under its index, and answers with the record.
pub struct Records {
    pub group: GroupId,
}

impl StateMachine for Records {
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        for entry in entries {
            let key = [&self.group.to_be_bytes()[..], &entry.index.to_be_bytes()].concat();
            batch.put(Table::State, key, entry.record.clone());
        }
        Ok(entries.iter().map(|entry| entry.record.clone()).collect())
    }

    fn applied(&mut self, _index: Index) {}

    fn restored(&mut self) -> Result<(), ApplyError> {
        Ok(())
    }
}

/// The records of a group, in the order of the log.
pub fn records(disk: &dyn Disk, group: GroupId) -> Vec<String> {
    let mut records = Vec::new();
    let (from, to) = (group.to_be_bytes(), (group + 1).to_be_bytes());
    disk.scan(Table::State, &from, &to, Order::Forward, &mut |_, value| {
        records.push(String::from_utf8(value.to_vec()).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    records
}

/// Addresses that change when a node comes back.
#[derive(Default)]
pub struct Book(Mutex<BTreeMap<NodeId, String>>);

impl Book {
    pub fn set(&self, node: NodeId, address: String) {
        self.0.lock().unwrap().insert(node, address);
    }
}

impl Net for Book {
    fn address(&self, node: NodeId) -> Option<String> {
        self.0.lock().unwrap().get(&node).cloned()
    }
}

/// A host that listens on loopback, in a runtime of its own.
pub struct Running {
    pub host: Host,
    pub group: Group,
    pub disk: Arc<dyn Disk>,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub const GROUP: GroupId = 3;

pub fn config(node: NodeId, voters: u64) -> GroupConfig {
    let members = (1..=voters).map(|node| (node * 100, node)).collect();
    GroupConfig { group: GROUP, replica: node * 100, members, learners: BTreeMap::new(), initialize: true }
}

impl Running {
    pub async fn start(node: NodeId, voters: u64, book: &Arc<Book>, disk: Arc<dyn Disk>, options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (book, shared) = (Arc::clone(book), Arc::clone(&disk));
        let opening = runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            book.set(node, listener.local_addr().unwrap().to_string());
            let options = Options { node_id: node, cluster_id: "test".to_owned(), ..options };
            let host = Host::new(options, shared, Arc::new(Peers::new(book))).unwrap();
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let router = tonic::transport::Server::builder().add_service(host.services());
            tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
            let group = host.open(config(node, voters), Box::new(Records { group: GROUP })).await.unwrap();
            (host, group)
        });
        let (host, group) = opening.await.unwrap();
        Self { host, group, disk, runtime: Some(runtime) }
    }

    /// Goes away: nobody is told, and nothing is handed over. Returns when nobody uses the disk.
    pub async fn kill(self) {
        let disk = Arc::downgrade(&self.disk);
        drop(self);
        // The last user may be a thread that is just ending.
        while disk.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub fn records(&self) -> Vec<String> {
        records(self.disk.as_ref(), GROUP)
    }
}

/// Waits until one of the nodes leads, in a later term than `after`.
pub async fn leader<'a>(nodes: impl IntoIterator<Item = &'a Running>, after: u64) -> (&'a Running, u64) {
    let waits = nodes.into_iter().map(|node| {
        Box::pin(async move {
            let mut leadership = node.group.leadership();
            let term = leadership.wait_for(|leadership: &Leadership| leadership.here && leadership.term > after).await.unwrap().term;
            (node, term)
        })
    });
    futures::future::select_all(waits).await.0
}

/// Proposes until it is in; whoever leads.
pub async fn propose(node: &Running, record: &str) -> Index {
    loop {
        let mut leadership = node.group.leadership();
        let term = leadership.wait_for(|leadership| leadership.here).await.unwrap().term;
        match node.group.propose(term, Bytes::from(record.to_owned())).await {
            Ok(proposed) => {
                assert_eq!(proposed.answer, record);
                return proposed.index;
            }
            Err(ProposeError::NotLeader { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
