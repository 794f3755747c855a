//! Dials other nodes, but not one that has just refused.
//!
//! A channel without a connection dials for each request that comes. A node that is gone refuses at once, and who waits for it asks again at once: with a
//! thousand requests that wait for a leader, that would be tens of thousands of dials a second, which take ports and processor time from the nodes that are
//! left. So after a dial that failed, requests fail without one for a moment.
//!
//! Invariant: a channel dials at most once in [`PAUSE`] as long as its dials fail. One that connects is dialled again at once when it breaks.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{
    codegen::Service,
    transport::{Channel, Endpoint, Uri},
};

/// After a dial that failed. Much shorter than an election, so that nobody waits for it.
const PAUSE: Duration = Duration::from_millis(100);

type BoxError = Box<dyn StdError + Send + Sync>;

/// A channel over TCP that connects when first used.
pub(crate) fn tcp(endpoint: &Endpoint) -> Channel {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(endpoint.get_connect_timeout());
    lazily(endpoint, connector)
}

/// A channel over a connector of the caller's own. It connects when first used, and dials at most once in a moment while that fails.
pub fn lazily<C>(endpoint: &Endpoint, connector: C) -> Channel
where
    C: Service<Uri> + Send + 'static,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError> + 'static,
{
    endpoint.connect_with_connector_lazy(Paced { connector, failed: Arc::default() })
}

struct Paced<C> {
    connector: C,
    /// When the last dial failed, if it did.
    failed: Arc<Mutex<Option<Instant>>>,
}

impl<C> Service<Uri> for Paced<C>
where
    C: Service<Uri>,
    C::Response: 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError> + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if self.failed.lock().is_some_and(|failed| failed.elapsed() < PAUSE) {
            let error = io::Error::new(io::ErrorKind::NotConnected, format!("{uri} could not be reached a moment ago"));
            return Box::pin(async move { Err(error.into()) });
        }
        let (dialled, failed) = (self.connector.call(uri), self.failed.clone());
        Box::pin(async move {
            let answer = dialled.await;
            *failed.lock() = answer.is_err().then(Instant::now);
            answer.map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Line {
        dials: Arc<AtomicU32>,
        dead: Arc<Mutex<bool>>,
    }

    impl Service<Uri> for Line {
        type Response = ();
        type Error = io::Error;
        type Future = std::future::Ready<io::Result<()>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            self.dials.fetch_add(1, Ordering::Relaxed);
            std::future::ready(if *self.dead.lock() { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_refuses_is_not_dialled_again_for_a_moment() {
        let (dials, dead) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(true)));
        let mut paced = Paced { connector: Line { dials: dials.clone(), dead: dead.clone() }, failed: Arc::default() };
        let uri = Uri::from_static("http://node-2:7401");
        for _ in 0..1_000 {
            assert!(paced.call(uri.clone()).await.is_err());
        }
        assert_eq!(dials.load(Ordering::Relaxed), 1);
        tokio::time::advance(PAUSE).await;
        *dead.lock() = false;
        for number in 2..=4 {
            paced.call(uri.clone()).await.unwrap();
            assert_eq!(dials.load(Ordering::Relaxed), number, "one that connects is not paced");
        }
    }
}
