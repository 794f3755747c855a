//! The simulated network, as nodes, clients and workers see it.

use std::{io, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use hyper_util::rt::TokioIo;
use quorus_client::Connect;
use quorus_node::connection::{Connection, Listen};
use quorus_raft::{Net, NodeId};
use tokio::sync::Mutex;
use tonic::transport::{Channel, Endpoint, Uri};
use turmoil::net::{TcpListener, TcpStream};

/// Where every node listens.
pub(super) const PORT: u16 = 7401;

/// A kernel gives up on its own; the simulated one waits for ever.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The host of a node.
pub(super) fn host(node: NodeId) -> String {
    format!("node-{node}")
}

/// A node's address.
pub(super) fn address(node: NodeId) -> String {
    format!("{}:{PORT}", host(node))
}

/// Opens connections over the simulated network.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedNet;

impl SimulatedNet {
    fn lazy(endpoint: &Endpoint) -> Channel {
        let connector = tower::service_fn(|uri: Uri| async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let connecting = TcpStream::connect((host, uri.port_u16().unwrap_or(PORT)));
            let stream = tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok::<_, io::Error>(TokioIo::new(stream))
        });
        quorus_raft::lazily(endpoint, connector)
    }
}

impl Net for SimulatedNet {
    fn address(&self, node: NodeId) -> Option<String> {
        Some(address(node))
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        Self::lazy(&endpoint)
    }
}

impl Connect for SimulatedNet {
    fn channel(&self, endpoint: &Endpoint) -> Channel {
        Self::lazy(endpoint)
    }
}

/// A port of a simulated host.
pub(super) struct SimulatedPort(Arc<Mutex<TcpListener>>);

impl SimulatedPort {
    /// Takes the port.
    pub(super) async fn bind() -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(TcpListener::bind(("0.0.0.0", PORT)).await?))))
    }
}

impl Listen for SimulatedPort {
    fn incoming(&self) -> io::Result<BoxStream<'static, io::Result<Connection>>> {
        let accept = |listener: Arc<Mutex<TcpListener>>| async move {
            let accepted = listener.lock().await.accept().await;
            Some((accepted.map(|(stream, _)| Connection::new(stream)), listener))
        };
        Ok(futures::stream::unfold(Arc::clone(&self.0), accept).boxed())
    }
}
