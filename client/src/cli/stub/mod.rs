//! `quorus stub`: an HTTP server that stands in for the services that a workflow calls, so that examples run on one machine.
//!
//! - `file.rs` is what a stub file says; `answer.rs` decides what a request gets; this file serves it.

mod answer;
mod file;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use clap::Subcommand;

use self::answer::{Answer, Stub};
use super::{args::Globals, failure::Failure, source, term};

/// More than what a step may send.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve recorded answers until Ctrl-C
    Serve {
        /// Stub file, or - for stdin
        #[arg(long, short, value_name = "FILE")]
        file: String,
        /// Address to listen on; port 0 takes a free one
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8099")]
        listen: SocketAddr,
    },
}

pub(crate) async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    let Command::Serve { file, listen } = command;
    let source = source::read_one(&file)?;
    let stub = Arc::new(Stub::new(file::read(&source)?));
    let listener =
        tokio::net::TcpListener::bind(listen).await.map_err(|error| Failure::error(format!("can't listen on {listen}: {error}")))?;
    let address = listener.local_addr()?;
    // For scripts, which wait for this line.
    term::print(&format!("http://{address}\n"))?;
    term::remark(globals, "requests are recorded: GET /_stub/requests");
    let quiet = globals.quiet;
    let serve = move |request: Request| {
        let stub = Arc::clone(&stub);
        async move { respond(&stub, request, quiet).await }
    };
    let router = Router::new().fallback(serve);
    let stopped = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await.map_err(Failure::from)
}

async fn respond(stub: &Stub, request: Request, quiet: bool) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_else(|_| Bytes::new());
    let query = parts.uri.query().unwrap_or_default();
    let headers =
        parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let Answer { status, headers, body, delay } = stub.answer(parts.method.as_str(), parts.uri.path(), query, headers.collect(), &body);
    tokio::time::sleep(delay).await;
    if !quiet && !parts.uri.path().starts_with("/_stub") {
        term::note(&format!("{} {} -> {status}\n", parts.method, parts.uri));
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
