//! What a [`Client`](crate::Client) is made with.

use std::{fmt, sync::Arc, time::Duration};

use quorus_proto::v1::Principal;

use crate::{ApiError, Connect, DEFAULT_ENDPOINT};

/// Is told of each repetition.
pub type OnRetry = Arc<dyn Fn(&Retrying<'_>) + Send + Sync>;

/// What a client is made with. Everything has a default.
#[derive(Clone)]
pub struct Options {
    /// Nodes, as `http://host:port` or `host:port`. One is enough, more allow failover. Default: [`DEFAULT_ENDPOINT`].
    pub endpoints: Vec<String>,
    /// How long a call may take with all its tries. A watch gives up after being without an answer for this long. Default: 30 s.
    pub timeout: Duration,
    /// How long one try may take before the next node is asked. Default: 10 s.
    pub try_timeout: Duration,
    /// For requests that name none. Default: `default`.
    pub namespace: String,
    /// Recorded with every change for requests that name none.
    pub principal: Option<Principal>,
    /// W3C trace context that is sent along with every call.
    pub traceparent: Option<String>,
    /// Called before each repetition, so that a person who waits can be told why.
    pub on_retry: Option<OnRetry>,
    /// Opens the connections. Default: TCP.
    pub connector: Option<Arc<dyn Connect>>,
}

/// A call is about to be repeated.
#[derive(Debug)]
pub struct Retrying<'a> {
    /// The node that failed.
    pub endpoint: &'a str,
    /// How it failed.
    pub error: &'a ApiError,
    /// Time since the first try.
    pub elapsed: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: vec![DEFAULT_ENDPOINT.to_owned()],
            timeout: Duration::from_secs(30),
            try_timeout: Duration::from_secs(10),
            namespace: "default".to_owned(),
            principal: None,
            traceparent: None,
            on_retry: None,
            connector: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("timeout", &self.timeout)
            .field("try_timeout", &self.try_timeout)
            .field("namespace", &self.namespace)
            .field("principal", &self.principal)
            .field("traceparent", &self.traceparent)
            .finish_non_exhaustive()
    }
}
