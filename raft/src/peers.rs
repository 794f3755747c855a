//! Connections to other nodes: one per node and lane, made when first needed.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{NoAddress, NodeId, dial};

/// Kinds of traffic that must not wait for each other, and so have a TCP connection each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Heartbeats, votes, transfers: small, and late is wrong.
    Control,
    /// Appends.
    Append,
    /// Snapshots: as large as a state.
    Snapshot,
    /// Whatever else nodes ask of each other.
    Requests,
}

/// Where nodes are, and how to reach them.
pub trait Net: Send + Sync + 'static {
    /// `host:port` or a URI of a node, if known. May change when a node moves.
    fn address(&self, node: NodeId) -> Option<String>;

    /// A channel to an endpoint, that connects when first used. A simulation brings its own connector, see [`crate::lazily`].
    fn channel(&self, endpoint: Endpoint) -> Channel {
        dial::tcp(&endpoint)
    }
}

/// Begins the `:authority` of every request that one node of a cluster sends to another; the id of the cluster is the rest.
pub const CLUSTER_AUTHORITY: &str = "quorus-cluster-";

/// Connections to other nodes, cached per node and lane.
pub struct Peers {
    net: Arc<dyn Net>,
    channels: Mutex<BTreeMap<(NodeId, Lane), (String, Channel)>>,
    cluster: OnceLock<Uri>,
}

impl Peers {
    /// No connections yet.
    pub fn new(net: Arc<dyn Net>) -> Self {
        Self { net, channels: Mutex::default(), cluster: OnceLock::new() }
    }

    /// From now on requests say for which cluster they are, see [`CLUSTER_AUTHORITY`]: an address can come to belong to a node of another one.
    pub fn are_of(&self, cluster: &str) {
        if let Ok(origin) = format!("http://{CLUSTER_AUTHORITY}{cluster}").parse()
            && self.cluster.set(origin).is_ok()
        {
            // Those that were made before say nothing.
            self.channels.lock().clear();
        }
    }

    /// A channel to a node for requests of the caller's own. Cheap, and shared: clone it per client. It reconnects by itself.
    ///
    /// # Errors
    /// If the address is not known, or not valid.
    pub fn channel(&self, node: NodeId) -> Result<Channel, NoAddress> {
        self.lane(node, Lane::Requests)
    }

    pub(crate) fn lane(&self, node: NodeId, lane: Lane) -> Result<Channel, NoAddress> {
        let address = self.net.address(node).ok_or(NoAddress { node })?;
        let mut channels = self.channels.lock();
        if let Some((known, channel)) = channels.get(&(node, lane))
            && *known == address
        {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(&address).ok_or(NoAddress { node })?;
        let channel = self.net.channel(match self.cluster.get() {
            Some(origin) => endpoint.origin(origin.clone()),
            None => endpoint,
        });
        channels.insert((node, lane), (address, channel.clone()));
        Ok(channel)
    }

    /// Forgets the connection of a lane, so that the next use makes another one.
    pub(crate) fn forget(&self, node: NodeId, lane: Lane) {
        self.channels.lock().remove(&(node, lane));
    }
}

/// Windows are large enough for a full pipeline of appends; keep-alive finds connections that died without a word.
fn endpoint(address: &str) -> Option<Endpoint> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri).ok()?;
    Some(
        endpoint
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(3))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true),
    )
}
