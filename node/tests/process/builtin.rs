//! Steps that nodes execute themselves, and secrets: against a real server on loopback.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::any};
use parking_lot::Mutex;
use quorus_client::{Secrets, TaskContext, TaskError, Worker};
use quorus_proto::v1::{self, RunStatus};
use serde_json::{Value, json};

use crate::harness::*;

const ALLOWED: (&str, &str) = ("QUORUS_HTTP_ALLOW_PRIVATE", "127.0.0.0/8");

#[derive(Clone, Default)]
struct Stub {
    requests: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    open: Arc<AtomicBool>,
}

impl Stub {
    /// `/echo` answers the request, headers and body; `/gate` answers `{"open": 0}`, and 1 once it is open.
    async fn start(&self) -> u16 {
        let echo = |State(stub): State<Self>, headers: HeaderMap, body: Bytes| async move {
            let body = String::from_utf8_lossy(&body).into_owned();
            let said: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            stub.requests.lock().push((headers, body.clone()));
            ([("content-type", "application/json")], json!({"headers": said, "body": body}).to_string())
        };
        let gate = |State(stub): State<Self>| async move {
            let open = u8::from(stub.open.load(Ordering::SeqCst));
            stub.requests.lock().push((HeaderMap::new(), String::new()));
            ([("content-type", "application/json")], json!({"open": open}).to_string())
        };
        let router = Router::new().route("/echo", any(echo)).route("/gate", any(gate)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }
}

fn workflow(name: &str, steps: &str) -> String {
    format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n{steps}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_calls_urls_and_sends_signals_by_itself() {
    let stub = Stub::default();
    let port = stub.start().await;
    let cluster = Cluster::start_with(3, &[ALLOWED]).await;
    let client = cluster.client();
    let waiter = workflow("waiter", "    - {id: go, signal: {name: go}}\n");
    apply(&client, &waiter).await;
    let steps = format!(
        "    - {{id: call, http: {{method: POST, url: \"http://127.0.0.1:{port}/echo\", body: {{n: 1}}, allow_private: true}}}}\n    \
         - {{id: tell, needs: [call], emit: {{type: org.example.called, data: \"${{steps.call.output.status}}\", signal: {{run_id: w, name: go}}, \
         sinks: [{{http: \"http://127.0.0.1:{port}/echo\", allow_private: true}}]}}}}\n"
    );
    let revision = apply(&client, &workflow("caller", &steps)).await;
    start(&client, "waiter", "w", revision).await;
    start(&client, "caller", "c", revision).await;
    let ended = end(&client, "c").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");
    let waited = end(&client, "w").await;
    assert_eq!(waited.status(), RunStatus::Succeeded, "{waited:#?}");
    let requests = stub.requests.lock().clone();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].1, r#"{"n":1}"#);
    let event: Value = serde_json::from_str(&requests[1].1).unwrap();
    assert_eq!((&event["type"], &event["data"], &event["specversion"]), (&json!("org.example.called"), &json!(200), &json!("1.0")));
    assert_ne!(event["id"], json!(requests[0].0["idempotency-key"].to_str().unwrap()), "each step has an id of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_not_called() {
    let stub = Stub::default();
    let port = stub.start().await;
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let step = format!("    - {{id: call, http: {{url: \"http://127.0.0.1:{port}/echo\", allow_private: true}}}}\n");
    let revision = apply(&client, &workflow("caller", &step)).await;
    start(&client, "caller", "c", revision).await;
    let ended = end(&client, "c").await;
    assert_eq!((ended.status(), ended.steps[0].attempt), (RunStatus::Failed, 1));
    assert_eq!(ended.failure.unwrap().r#type, "QuorusAddressRefused");
    assert!(stub.requests.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_outlives_the_nodes_that_watch_it() {
    let stub = Stub::default();
    let port = stub.start().await;
    let mut cluster = Cluster::start_with(3, &[ALLOWED, ("QUORUS_LEASE", "3s")]).await;
    let client = cluster.client();
    let step = format!(
        "    - {{id: open, gate: {{http: {{url: \"http://127.0.0.1:{port}/gate\", value: response.body.open, allow_private: true}}, condition: \"value > 0\", interval: 1s}}}}\n"
    );
    let revision = apply(&client, &workflow("gated", &step)).await;
    start(&client, "gated", "g", revision).await;
    for node in 1..=3 {
        let seen = stub.requests.lock().len();
        eventually("somebody looks", || async { (stub.requests.lock().len() > seen).then_some(()) }).await;
        cluster.kill(node);
        cluster.restart(node);
        cluster.ready().await;
    }
    stub.open.store(true, Ordering::SeqCst);
    let ended = end(&client, "g").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_used_and_is_nowhere() {
    const TOKEN: &str = "pl4nted-t0ken-of-the-node";
    const PASSWORD: &str = "pl4nted-p4ssword-of-the-worker";
    let stub = Stub::default();
    let port = stub.start().await;
    let cluster = Cluster::start_with(3, &[ALLOWED, ("QUORUS_SECRET_API_TOKEN", TOKEN), ("QUORUS_LOG_LEVEL", "debug")]).await;
    let client = cluster.client();
    let steps = format!(
        "    - {{id: call, http: {{method: POST, url: \"http://127.0.0.1:{port}/echo\", headers: {{authorization: \"Bearer ${{secrets.api_token}}\"}}, \
         allow_private: true}}}}\n    \
         - {{id: use, needs: [call], task: {{type: use}}, with: {{password: \"${{secrets.db_password}}\"}}}}\n    \
         - {{id: fail, needs: [use], task: {{type: fail}}, with: {{password: \"${{secrets.db_password}}\"}}, retry: {{max_attempts: 1}}}}\n"
    );
    let revision = apply(&client, &workflow("secretive", &steps)).await;
    let used = Arc::new(Mutex::new(Vec::new()));
    let uses = used.clone();
    let worker = Worker::builder(cluster.endpoints())
        .secrets(Secrets::from_environment().with_value("db_password", PASSWORD))
        .register("use", move |context: TaskContext| {
            let uses = uses.clone();
            async move {
                let input: Value = context.input()?;
                uses.lock().push(input["password"].clone());
                context.log(format!("logged in with {}", input["password"]));
                context.checkpoint(input.clone()).await.map_err(|_| TaskError::Released)?;
                Ok(input)
            }
        })
        .register("fail", |context: TaskContext| async move {
            let input: Value = context.input()?;
            Err::<Value, _>(TaskError::failed("Denied", format!("{} was denied", input["password"])).details(input))
        })
        .build()
        .unwrap();
    let worker = tokio::spawn(worker.run(std::future::pending()));
    start(&client, "secretive", "s", revision).await;
    let ended = end(&client, "s").await;
    worker.abort();
    assert_eq!(ended.failure.as_ref().map(|failure| failure.r#type.as_str()), Some("Denied"), "{ended:#?}");
    assert_eq!(*used.lock(), [json!(PASSWORD)]);
    assert_eq!(stub.requests.lock()[0].0["authorization"], format!("Bearer {TOKEN}"));

    let logs = || client.get_run_logs(v1::GetRunLogsRequest { run_uid: ended.run_uid.clone(), step: "use".into() });
    let lines = eventually("its lines are kept", || async { Some(logs().await.unwrap().lines).filter(|lines| !lines.is_empty()) }).await;
    assert_eq!(lines[0].text, "logged in with \"***\"");
    let mut said = format!("{ended:?}{lines:?}");
    let history = client.run_history(v1::GetRunHistoryRequest { run_id: "s".into(), page_size: 1000, ..Default::default() }).await.unwrap();
    said.push_str(&format!("{history:?}"));
    for node in 1..=3 {
        said.push_str(&cluster.metrics(node).await);
    }
    assert!(said.contains("***"), "what was said about them is masked");
    let mut all = cluster.disks();
    all.push(("history, run and metrics".into(), said.into_bytes()));
    assert!(all.iter().any(|(path, _)| path.ends_with("log")) && all.len() > 10);
    for (path, bytes) in all {
        for secret in [TOKEN, PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in {}", path.display());
        }
    }
}
