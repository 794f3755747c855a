//! What a workload needs of the world around it: connections, workers and time.
//!
//! A game day connects to real nodes, a simulation to simulated ones; the workload can't tell. Nothing else of it touches network, clock or threads.

use std::{fmt, sync::Arc};

use quorus_client::{Worker, WorkerBuilder, monotonic_us};
use tonic::transport::{Channel, Endpoint};

/// Where a workload is.
pub trait Site: Send + Sync + 'static {
    /// How many nodes there are.
    fn nodes(&self) -> usize;
    /// A connection to one node, that opens itself when it is used. One call on it is one attempt on the wire.
    fn channel(&self, node: usize) -> anyhow::Result<Channel>;
    /// A worker that knows all nodes and has this name.
    fn worker(&self, name: &str) -> WorkerBuilder;
}

type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What stamps records.
#[derive(Clone)]
pub struct Clock {
    monotonic_us: Now,
    wall_ms: Now,
}

impl Clock {
    /// A clock with microseconds that only go forward, the same for all processes of an experiment, and milliseconds since 1970.
    pub fn new(monotonic_us: impl Fn() -> u64 + Send + Sync + 'static, wall_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { monotonic_us: Arc::new(monotonic_us), wall_ms: Arc::new(wall_ms) }
    }

    /// The clocks of this machine.
    pub fn of_machine() -> Self {
        let wall = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
        Self::new(monotonic_us, move || u64::try_from(wall()).unwrap_or(u64::MAX))
    }

    /// Microseconds.
    pub fn now_us(&self) -> u64 {
        (self.monotonic_us)()
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        (self.wall_ms)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// Real nodes.
#[derive(Debug)]
pub struct RealSite {
    endpoints: Vec<String>,
    channels: Vec<Channel>,
}

impl RealSite {
    /// Nodes at these addresses. Must be called inside of a runtime.
    pub fn new(endpoints: &[String]) -> anyhow::Result<Self> {
        anyhow::ensure!(!endpoints.is_empty(), "no endpoints are given, for example 127.0.0.1:7401,127.0.0.1:7402");
        let channels = endpoints.iter().map(|address| connect(address)).collect::<anyhow::Result<_>>()?;
        Ok(Self { endpoints: endpoints.to_vec(), channels })
    }
}

fn connect(address: &str) -> anyhow::Result<Channel> {
    Ok(endpoint(address)?.connect_lazy())
}

/// How a node at this address is spoken to.
pub(crate) fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    use std::time::Duration;
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|error| anyhow::anyhow!("`{address}` is no address of a node: {error}"))?;
    // A node that hangs is noticed, so that a call on it ends.
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(3))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true))
}

impl Site for RealSite {
    fn nodes(&self) -> usize {
        self.endpoints.len()
    }

    fn channel(&self, node: usize) -> anyhow::Result<Channel> {
        self.channels.get(node).cloned().ok_or_else(|| anyhow::anyhow!("there is no node {node}"))
    }

    fn worker(&self, name: &str) -> WorkerBuilder {
        Worker::builder(self.endpoints.clone()).name(name)
    }
}
