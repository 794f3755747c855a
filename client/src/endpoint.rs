//! Addresses of nodes, and how a connection to one is set up.
//!
//! Connections are opened when they are first needed and again after they broke; tonic does that below a [`Channel`].

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

use crate::Error;

/// Where a node listens unless somebody says otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7401";

/// Bound of a payload, as the API documents it.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bound of a message in either direction. Above [`PAYLOAD_BYTES_MAX`] with room for what surrounds it: a page of history has many payloads.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A connection that has been silent for this long is asked for a sign of life.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// A node that does not answer that within this time is taken for dead. Together well below a lease of 30 s, so that a worker whose node
/// hangs (instead of dying, which closes the connection at once) reaches another one while its leases live.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// On one machine a connection takes microseconds, across the world 0.3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens connections to nodes in a way of its own: in a simulation there is another network. Without one, connections are TCP.
pub trait Connect: fmt::Debug + Send + Sync + 'static {
    /// A channel to a node, that connects when it is first used.
    fn channel(&self, endpoint: &Endpoint) -> Channel;
}

/// A node's address and, once needed, the connection to it.
#[derive(Debug)]
pub(crate) struct Node {
    /// As messages show it.
    pub(crate) address: String,
    endpoint: Endpoint,
    connector: Option<Arc<dyn Connect>>,
    channel: OnceLock<Channel>,
}

impl Node {
    /// Reads `http://host:port` or `host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason: String| Error::InvalidEndpoint { endpoint: text.to_owned(), reason };
        let trimmed = text.trim().trim_end_matches('/');
        if trimmed.is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        if trimmed.starts_with("https://") {
            return Err(invalid("encrypted connections are not supported yet; use http://".to_owned()));
        }
        let address = if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| invalid(error.to_string()))?;
        match endpoint.uri().scheme_str() {
            Some("http") => {}
            other => return Err(invalid(format!("the scheme is `{}`, expected `http`", other.unwrap_or_default()))),
        }
        if endpoint.uri().port().is_none() {
            return Err(invalid("it has no port, for example 127.0.0.1:7401".to_owned()));
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(Self { address, endpoint, connector: None, channel: OnceLock::new() })
    }

    /// Reads a list; an empty one means the default.
    pub(crate) fn parse_all<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Vec<Self>, Error> {
        let nodes = texts.into_iter().map(|text| Self::parse(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() { Ok(vec![Self::parse(DEFAULT_ENDPOINT)?]) } else { Ok(nodes) }
    }

    /// Connects in another way than TCP.
    pub(crate) fn connected_by(self, connector: Option<Arc<dyn Connect>>) -> Self {
        Self { connector, ..self }
    }

    /// The shared connection, which opens itself when it is used.
    pub(crate) fn channel(&self) -> Channel {
        let lazy = || match &self.connector {
            Some(connector) => connector.channel(&self.endpoint),
            None => self.endpoint.connect_lazy(),
        };
        self.channel.get_or_init(lazy).clone()
    }

    /// A connection of its own: for a stream that is to fail at once when the node is away.
    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        match &self.connector {
            Some(connector) => Ok(connector.channel(&self.endpoint)),
            None => self.endpoint.connect().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_optional() {
        assert_eq!(Node::parse("127.0.0.1:7401").unwrap().address, "http://127.0.0.1:7401");
        assert_eq!(Node::parse(" http://n1:7401/ ").unwrap().address, "http://n1:7401");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_reason() {
        for (text, part) in
            [("", "empty"), ("https://n1:7401", "not supported"), ("ftp://n1:7401", "scheme"), ("n1", "port"), ("a b:1", "")]
        {
            let error = Node::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_list_means_the_default() {
        assert_eq!(Node::parse_all::<&str>([]).unwrap()[0].address, DEFAULT_ENDPOINT);
    }
}
