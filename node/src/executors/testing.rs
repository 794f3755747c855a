//! What executors are tested against: a real HTTP server on loopback, and attempts without a session.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
};
use bytes::Bytes;
use parking_lot::Mutex;
use quorus_proto::v1;
use quorus_secrets::Secrets;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    Reach, Services,
    attempt::{self, Attempt, Ending, Report, Strings},
    emit::{SignalAsk, SignalError, Signals},
    outgoing::Call,
};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = Arc<Mutex<Vec<(u16, String, String)>>>;

/// The server. `/ok` answers `"fine"`, `/status/N` that status, `/redirect?to=URL` there, `/loop` to itself, `/never` never, `/echo` the body;
/// `/script` and everything else answer what was scripted, one after another, the last one for ever.
pub(super) struct Stub {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<Seen>>>,
    script: Script,
}

impl Stub {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, script) = (Arc::<Mutex<Vec<Seen>>>::default(), Script::default());
        let router = Router::new().fallback(answer).with_state((requests.clone(), script.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, requests, script }
    }

    pub(super) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.requests.lock().clone()
    }

    /// Answers from now on: status, headers as `name: value` lines, body.
    pub(super) fn script(&self, answers: &[(u16, &str, &str)]) {
        *self.script.lock() = answers.iter().map(|(status, headers, body)| (*status, (*headers).to_owned(), (*body).to_owned())).collect();
    }

    /// The address of a server that reads a request and hangs up.
    pub(super) async fn hang_up(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.ok();
            }
        });
        address
    }
}

async fn answer(State((requests, script)): State<(Arc<Mutex<Vec<Seen>>>, Script)>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let url = reqwest::Url::parse(&format!("http://stub{}", parts.uri)).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let path = parts.uri.path().to_owned();
    let seen =
        Seen { method: parts.method.to_string(), path: path.clone(), query: query.clone(), headers: parts.headers, body: body.clone() };
    requests.lock().push(seen);
    let plain = |status: u16, body: Body| Response::builder().status(status).body(body).unwrap();
    if path == "/ok" {
        return Response::builder().header("content-type", "application/json").body(Body::from("\"fine\"")).unwrap();
    }
    if let Some(status) = path.strip_prefix("/status/") {
        return plain(status.parse().unwrap(), Body::empty());
    }
    match path.as_str() {
        "/redirect" => return Response::builder().status(302).header("location", &query["to"]).body(Body::empty()).unwrap(),
        "/loop" => return Response::builder().status(302).header("location", "/loop").body(Body::empty()).unwrap(),
        "/never" => std::future::pending().await,
        "/echo" => return plain(200, Body::from(body)),
        _ => {}
    }
    let (status, headers, body) = {
        let mut script = script.lock();
        match script.len() {
            0 => (StatusCode::NOT_FOUND.as_u16(), String::new(), String::new()),
            1 => script[0].clone(),
            _ => script.remove(0),
        }
    };
    let mut response = Response::builder().status(status);
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

/// A plain call.
pub(super) fn get(url: &str) -> Call {
    Call {
        method: reqwest::Method::GET,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: None,
        timeout: Some(Duration::from_secs(30)),
        body_max: 1024,
        private: true,
        confidential: false,
    }
}

/// Signals that were sent.
#[derive(Default)]
pub(super) struct Signalled(pub(super) Mutex<Vec<SignalAsk>>);

#[tonic::async_trait]
impl Signals for Signalled {
    async fn signal(&self, ask: SignalAsk) -> Result<(), SignalError> {
        if ask.run_id == "ended" {
            return Err(SignalError { reason: "RUN_ENDED".to_owned(), message: "the run has ended".to_owned(), refused: true });
        }
        self.0.lock().push(ask);
        Ok(())
    }
}

/// An attempt without a session.
pub(super) struct Bench {
    pub(super) services: Arc<Services>,
    pub(super) signalled: Arc<Signalled>,
    pub(super) task: v1::Task,
}

/// A running attempt.
pub(super) struct Tried {
    pub(super) strings: Strings,
    reports: UnboundedReceiver<Report>,
    pub(super) checkpoints: Vec<Value>,
}

impl Bench {
    pub(super) fn new(task_type: &str, request: &Value) -> Self {
        let signalled = Arc::<Signalled>::default();
        let reach = Reach::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let secrets = Secrets::from_environment().with_value("token", "s3cr3t-value");
        let services = Arc::new(Services::new(reach, secrets, signalled.clone()));
        let task = v1::Task {
            lease: "lease".into(),
            r#type: task_type.to_owned(),
            namespace: "default".to_owned(),
            run_id: "r1".to_owned(),
            workflow: "release".to_owned(),
            step: "s1".to_owned(),
            attempt: 1,
            idempotency_key: "key-1".to_owned(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            input: Some(attempt::payload(request)),
            ..Default::default()
        };
        Self { services, signalled, task }
    }

    pub(super) fn start(&self) -> Tried {
        let (sender, reports) = unbounded_channel();
        let (attempt, strings) = Attempt::new(self.task.clone(), sender);
        tokio::spawn(attempt::run(self.services.clone(), attempt));
        Tried { strings, reports, checkpoints: Vec::new() }
    }

    pub(super) async fn run(&self) -> Ending {
        self.start().end().await
    }

    pub(super) async fn output(&self) -> Value {
        match self.run().await {
            Ending::Succeeded(output) => serde_json::from_slice(&output.data).unwrap(),
            other => panic!("expected success, got {other:?}"),
        }
    }

    pub(super) async fn failure(&self) -> v1::Failure {
        match self.run().await {
            Ending::Failed(failure) => failure,
            other => panic!("expected a failure, got {other:?}"),
        }
    }
}

impl Tried {
    /// Waits for the end; checkpoints on the way are committed at once.
    pub(super) async fn end(&mut self) -> Ending {
        loop {
            if let Some(ending) = self.step().await {
                return ending;
            }
        }
    }

    /// Waits for the next report; the ending, if it was that.
    pub(super) async fn step(&mut self) -> Option<Ending> {
        match self.reports.recv().await.expect("an attempt reports its end") {
            Report::Ended { ending, .. } => Some(ending),
            Report::Checkpoint { number, payload, .. } => {
                self.checkpoints.push(serde_json::from_slice(&payload.data).unwrap());
                self.strings.committed.send_replace(number);
                None
            }
            Report::Progress { .. } => None,
        }
    }
}
