//! [`Client`]: every call of the API, with failover.
//!
//! - `call.rs` repeats a call on other nodes until it is answered or its time is over.
//! - `methods.rs`, `index.rs` and `lifecycle.rs` have a typed method per RPC; each says why repeating it is safe.
//! - `audit.rs` asks a certain node for what only that one knows.
//! - `watch.rs` follows a run across lost connections.
//!
//! Invariant: nothing is repeated that could take effect twice. A start carries a request id, everything else is idempotent.

mod audit;
mod call;
mod flow;
mod index;
mod lifecycle;
mod logs;
mod methods;
mod options;
mod schedules;
mod watch;

use std::sync::{Arc, atomic::AtomicUsize};

use crate::{Error, endpoint::Node};

pub use audit::export_replica;
pub use options::{OnRetry, Options, Retrying};
pub use watch::{RunWatch, is_final};

/// A cheap handle on the connections to a cluster; clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    nodes: Vec<Node>,
    options: Options,
    /// The node that answered last: the next call begins there.
    current: AtomicUsize,
}

impl Client {
    /// Checks the options. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let nodes = Node::parse_all(&options.endpoints)?;
        let nodes = nodes.into_iter().map(|node| node.connected_by(options.connector.clone())).collect();
        Ok(Self { inner: Arc::new(Inner { nodes, options, current: AtomicUsize::new(0) }) })
    }

    /// A client of these nodes with default options.
    pub fn with_endpoints<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        Self::new(Options { endpoints: endpoints.into_iter().map(Into::into).collect(), ..Options::default() })
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The nodes' addresses, for messages.
    fn endpoints(&self) -> String {
        let addresses: Vec<_> = self.inner.nodes.iter().map(|node| node.address.as_str()).collect();
        addresses.join(", ")
    }
}
