//! A cluster of `quorusd dev` that is none: processes that only sleep, with the card that the real one writes.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde_json::json;

use super::{Keeper, Order};
use crate::{
    record::Fault,
    stage::{Plant, dev::Dev},
};

pub(crate) struct Sleepers {
    pub(crate) folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Sleepers {
    pub(crate) fn start(count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sleep = || Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let sleepers = Self { folder, children: (0..count).map(|_| sleep()).collect() };
        let node = |(id, child): (u64, &Child)| json!({ "id": id, "pid": child.id(), "grpc": "127.0.0.1:1", "http": "127.0.0.1:1", "data": "d", "log": "l" });
        let nodes: Vec<_> = (1..).zip(&sleepers.children).map(node).collect();
        fs::write(sleepers.folder.path().join("dev.json"), json!({ "pid": 1, "restart": false, "nodes": nodes }).to_string()).unwrap();
        sleepers
    }

    pub(crate) fn keeper(&self) -> Arc<Keeper> {
        Keeper::new(Plant::Dev(Dev::open(self.folder.path()).unwrap())).unwrap()
    }

    /// True if a node stands still, as the kernel says.
    pub(crate) fn is_paused(&self, node: usize) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.children[node - 1].id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Waits until a node stands still, or goes on: a signal takes effect when its process is next scheduled. Ends only with that.
    pub(crate) async fn becomes(&self, node: usize, paused: bool) {
        while self.is_paused(node) != paused {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn record(&self) -> Vec<Fault> {
        let text = fs::read_to_string(self.folder.path().join("nemesis.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

pub(crate) fn pause(target: &str, for_ms: u64) -> Order {
    Order { kind: "pause".to_owned(), target: Some(target.to_owned()), for_ms: Some(for_ms), ..Order::default() }
}
