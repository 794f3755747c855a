//! The HTTP port: `/livez /readyz /metrics /version`, and what others add, as [`crate::triggers`] do.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    metrics,
    readiness::{Readiness, Verdict},
};
use crate::version::Version;

/// The media type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A bound HTTP port. Binding and serving are apart, so that a taken port is an error of the start.
#[derive(Debug)]
pub struct Http {
    listener: StdListener,
}

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

impl Http {
    /// Takes the port.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The address that was taken; tells the port when 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Installs the metrics recorder and serves, `more` routes too, until the token is cancelled. Must be called inside a tokio runtime.
    ///
    /// Cancel it last: probes and metrics matter most while a node stops.
    pub fn spawn(self, readiness: Readiness, more: Router, shutdown: CancellationToken) -> io::Result<JoinHandle<io::Result<()>>> {
        let metrics = metrics::install().map_err(io::Error::other)?;
        let router = router(Shared { readiness, metrics }).merge(more);
        let listener = TcpListener::from_std(self.listener)?;
        Ok(tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await }))
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .route("/version", get(version))
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let verdict = shared.readiness.verdict();
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    let status = if verdict.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // What is wrong is always told; what is right only on request.
    let body = if verbose || !verdict.ready { verdict.to_string() } else { short(&verdict) };
    (status, body)
}

fn short(verdict: &Verdict) -> String {
    if verdict.ready { "ok\n".to_owned() } else { "not ready\n".to_owned() }
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics::render(&shared.metrics))
}

async fn version() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], Version::current().json())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_metrics_and_version_answer_over_http() {
        let http = Http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (address, readiness, shutdown) = (http.local_addr().unwrap(), Readiness::default(), CancellationToken::new());
        let storage = readiness.check("storage");
        let server = http.spawn(readiness, Router::new(), shutdown.clone()).unwrap();

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let not_ready = get(address, "/readyz").await;
        assert!(not_ready.starts_with("HTTP/1.1 503") && not_ready.contains("[-] storage not started"), "{not_ready}");
        storage.pass();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz?verbose").await.contains("[+] storage ok"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("quorus_build_info{version="), "{metrics}");
        assert!(metrics.contains("# HELP process_open_fds Open file descriptors"), "{metrics}");
        assert!(get(address, "/version").await.contains("\"version\":"));

        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_taken_port_is_an_error_of_the_start() {
        let first = Http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_eq!(Http::bind(first.local_addr().unwrap()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
