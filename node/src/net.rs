//! Where other nodes are, and how to reach them over TCP.

use std::collections::BTreeMap;

use quorus_raft::{Net, NodeId};

/// Fixed addresses from the configuration.
pub struct StaticNet {
    addresses: BTreeMap<NodeId, String>,
}

impl StaticNet {
    /// Addresses as `host:port`.
    pub fn new(addresses: BTreeMap<NodeId, String>) -> Self {
        Self { addresses }
    }
}

impl Net for StaticNet {
    fn address(&self, node: NodeId) -> Option<String> {
        self.addresses.get(&node).cloned()
    }
}
