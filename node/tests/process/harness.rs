//! A real cluster: `quorusd` processes on loopback, each with its own data folder, that tests kill and restart.
//!
//! Waiting is always for a condition, with a bound that only a broken cluster reaches.

use std::{
    future::Future,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quorus_client::{Client, Output, TaskContext, TaskError, Worker};
use quorus_proto::v1;
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream, sync::oneshot, task::JoinHandle};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Longer than anything takes, however slow the machine.
pub const LONG: Duration = Duration::from_secs(60);

pub struct Cluster {
    nodes: Vec<Node>,
    settings: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

struct Node {
    id: u64,
    grpc: u16,
    http: u16,
    data: PathBuf,
    child: Option<Child>,
}

impl Cluster {
    /// Starts a cluster and waits until every node is ready.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// The same, with settings (`QUORUS_*`) for every node; `{id}` in a value is the node's.
    pub async fn start_with(count: usize, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Held until all are chosen, so that none is chosen twice.
        let listeners: Vec<_> = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |index: usize| listeners[index].local_addr().unwrap().port();
        let node = |index: usize| Node {
            id: index as u64 + 1,
            grpc: port(2 * index),
            http: port(2 * index + 1),
            data: dir.path().join(format!("node-{}", index + 1)),
            child: None,
        };
        let nodes = (0..count).map(node).collect();
        drop(listeners);
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut cluster = Self { nodes, settings, _dir: dir };
        for id in 1..=count as u64 {
            cluster.restart(id);
        }
        cluster.ready().await;
        cluster
    }

    /// Starts a node that is down.
    pub fn restart(&mut self, id: u64) {
        let peers = self.nodes.iter().map(|node| format!("{}=127.0.0.1:{}", node.id, node.grpc)).collect::<Vec<_>>().join(",");
        let count = self.nodes.len();
        let settings = self.settings.clone();
        let node = self.node(id);
        assert!(node.child.is_none(), "node {id} is up");
        std::fs::create_dir_all(&node.data).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(node.data.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quorusd"))
            .arg("serve")
            .env("QUORUS_NODE_ID", id.to_string())
            .env("QUORUS_DATA_DIR", &node.data)
            .env("QUORUS_LISTEN", format!("127.0.0.1:{}", node.grpc))
            .env("QUORUS_HTTP_LISTEN", format!("127.0.0.1:{}", node.http))
            .env("QUORUS_PEERS", peers)
            .env("QUORUS_BOOTSTRAP_EXPECT", count.to_string())
            .envs(settings.into_iter().map(|(name, value)| (name, value.replace("{id}", &id.to_string()))))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        node.child = Some(child);
    }

    /// Waits until every node that is up is ready.
    pub async fn ready(&self) {
        for node in self.nodes.iter().filter(|node| node.child.is_some()) {
            eventually(&format!("node {} is ready", node.id), || async { http_ok(node.http, "/readyz").await.then_some(()) }).await;
        }
    }

    /// kill -9.
    pub fn kill(&mut self, id: u64) {
        self.signal(id, libc::SIGKILL);
        if let Some(mut child) = self.node(id).child.take() {
            child.wait().unwrap();
        }
    }

    /// Loses the data folder of a node that is down.
    pub fn wipe(&mut self, id: u64) {
        std::fs::remove_dir_all(&self.node(id).data).unwrap();
    }

    /// SIGTERM; waits for the end and returns whether it was a clean one.
    pub fn stop(&mut self, id: u64) -> bool {
        self.signal(id, libc::SIGTERM);
        self.node(id).child.take().unwrap().wait().unwrap().success()
    }

    /// Waits for the end of a node that was told to stop.
    pub fn ended(&mut self, id: u64) {
        self.node(id).child.take().unwrap().wait().unwrap();
    }

    /// Any signal.
    pub fn signal(&mut self, id: u64, signal: i32) {
        let pid = self.node(id).child.as_ref().unwrap().id();
        // SAFETY: a plain system call on a child that was not waited for yet, so the pid is still its.
        #[expect(unsafe_code, reason = "there is no safe way to send a signal")]
        unsafe {
            libc::kill(i32::try_from(pid).unwrap(), signal);
        }
    }

    /// The process of a node that is up.
    pub fn pid(&self, id: u64) -> u32 {
        self.nodes.iter().find(|node| node.id == id).and_then(|node| node.child.as_ref()).unwrap().id()
    }

    /// What a node has logged.
    pub fn log(&self, id: u64) -> String {
        let node = self.nodes.iter().find(|node| node.id == id).unwrap();
        std::fs::read_to_string(node.data.join("log")).unwrap_or_default()
    }

    /// Everything that the nodes wrote to disk, logs included.
    pub fn disks(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn read(path: PathBuf, files: &mut Vec<(PathBuf, Vec<u8>)>) {
            if path.is_dir() {
                std::fs::read_dir(path).unwrap().for_each(|entry| read(entry.unwrap().path(), files));
            } else if let Ok(bytes) = std::fs::read(&path) {
                files.push((path, bytes));
            }
        }
        let mut files = Vec::new();
        self.nodes.iter().for_each(|node| read(node.data.clone(), &mut files));
        files
    }

    /// What a node says about itself at `/metrics`.
    pub async fn metrics(&self, id: u64) -> String {
        let port = self.nodes.iter().find(|node| node.id == id).unwrap().http;
        http_get(port, "/metrics").await.unwrap()
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| endpoint(node.grpc)).collect()
    }

    /// Where a node's HTTP port is.
    pub fn http_address(&self, id: u64) -> String {
        let node = self.nodes.iter().find(|node| node.id == id).unwrap();
        format!("127.0.0.1:{}", node.http)
    }

    /// Where a node answers clients.
    pub fn endpoint_of(&self, id: u64) -> String {
        endpoint(self.nodes.iter().find(|node| node.id == id).unwrap().grpc)
    }

    /// A client of all nodes.
    pub fn client(&self) -> Client {
        Client::with_endpoints(self.endpoints()).unwrap()
    }

    /// A client of one node.
    pub fn client_of(&self, id: u64) -> Client {
        let node = self.nodes.iter().find(|node| node.id == id).unwrap();
        Client::with_endpoints([endpoint(node.grpc)]).unwrap()
    }

    /// What a node's health service says of the whole server; `None` if it does not answer.
    pub async fn health_of(&self, id: u64) -> Option<ServingStatus> {
        let node = self.nodes.iter().find(|node| node.id == id).unwrap();
        let channel = tonic::transport::Endpoint::from_shared(endpoint(node.grpc)).unwrap().connect().await.ok()?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.ok()?;
        Some(answer.into_inner().status())
    }

    /// The node that leads a shard, by what the nodes that are up say.
    pub async fn leader_of(&self, shard: u32) -> u64 {
        let client = self.client();
        eventually(&format!("shard {shard} has a leader"), || async {
            let status = client.cluster_status().await.ok()?;
            let leader = status.shards.iter().find(|status| status.shard == shard)?.leader_node;
            self.nodes.iter().any(|node| node.id == leader && node.child.is_some()).then_some(leader)
        })
        .await
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                child.kill().ok();
                child.wait().ok();
            }
        }
        if std::thread::panicking() {
            for node in &self.nodes {
                let log = std::fs::read_to_string(node.data.join("log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(30).collect();
                eprintln!("--- log of node {}", node.id);
                for line in tail.into_iter().rev() {
                    eprintln!("{line}");
                }
            }
        }
    }
}

fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

async fn http_ok(port: u16, path: &str) -> bool {
    http_get(port, path).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The answer of a server on loopback, with its head.
pub async fn http_get(port: u16, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.ok().flatten()
}

/// Asks until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = tokio::time::timeout(LONG, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("it never came true that {what}"))
}

/// One attempt as its worker saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    pub run_id: String,
    pub step: String,
    pub attempt: u32,
    pub token: u64,
    pub ended: bool,
}

/// Everything that workers executed: the outside record that the cluster is judged by.
#[derive(Clone, Default)]
pub struct Record {
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Record {
    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().clone()
    }

    /// Attempts of each (run, step).
    pub fn counts(&self) -> std::collections::BTreeMap<(String, String), usize> {
        let mut counts = std::collections::BTreeMap::new();
        for attempt in self.attempts.lock().iter() {
            *counts.entry((attempt.run_id.clone(), attempt.step.clone())).or_default() += 1;
        }
        counts
    }

    pub fn begin(&self, context: &TaskContext) -> usize {
        let task = context.task();
        let mut attempts = self.attempts.lock();
        attempts.push(Attempt {
            run_id: task.run_id.clone(),
            step: task.step.clone(),
            attempt: task.attempt,
            token: task.token,
            ended: false,
        });
        attempts.len() - 1
    }

    pub fn end(&self, place: usize) {
        self.attempts.lock()[place].ended = true;
    }
}

/// A worker in this process; it leaves when dropped.
pub struct Working {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Working {
    fn drop(&mut self) {
        if self.stop.take().is_some() {
            self.task.abort();
        }
    }
}

/// A worker whose tasks of type `work` do what `function` says, on the record.
pub fn work<F, Fut>(cluster: &Cluster, name: &str, concurrency: usize, record: &Record, function: F) -> Working
where
    F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Output, TaskError>> + Send + 'static,
{
    let record = record.clone();
    let function = Arc::new(function);
    let worker = Worker::builder(cluster.endpoints())
        .name(name)
        .queue("default")
        .concurrency(concurrency)
        .register("work", move |context: TaskContext| {
            let (record, function) = (record.clone(), function.clone());
            async move {
                let place = record.begin(&context);
                let result = function(context).await;
                record.end(place);
                result
            }
        })
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let shutdown = async move {
            stopped.await.ok();
        };
        worker.run(shutdown).await.unwrap();
    });
    Working { stop: Some(stop), task }
}

/// Applies a definition written as YAML.
pub async fn apply(client: &Client, yaml: &str) -> u64 {
    let source = v1::Source { text: yaml.to_owned(), name: "test.yaml".to_owned() };
    let definition = Some(v1::apply_workflow_request::Definition::Source(source));
    client.apply_workflow(v1::ApplyWorkflowRequest { definition, ..Default::default() }).await.unwrap().revision
}

/// Starts a run; returns it.
pub async fn start(client: &Client, workflow: &str, run_id: &str, revision: u64) -> v1::Run {
    let request = v1::StartRunRequest {
        workflow: workflow.to_owned(),
        run_id: run_id.to_owned(),
        request_id: format!("request-{run_id}"),
        min_revision: revision,
        ..Default::default()
    };
    client.start_run(request).await.unwrap().run.unwrap()
}

/// Waits for a run's end; returns it with its steps.
pub async fn end(client: &Client, run_id: &str) -> v1::Run {
    let get = || client.get_run(v1::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() });
    match tokio::time::timeout(LONG, client.wait_run("default", run_id)).await {
        Ok(ended) => {
            ended.unwrap();
            get().await.unwrap()
        }
        Err(_) => panic!("run {run_id} did not end: {:#?}", get().await),
    }
}

/// A workflow of tasks in a row.
pub fn chain(name: &str, steps: usize) -> String {
    let mut yaml = format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n");
    for step in 0..steps {
        let needs = if step == 0 { String::new() } else { format!(", needs: [s{}]", step - 1) };
        yaml.push_str(&format!("    - {{id: s{step}, task: {{type: work}}{needs}}}\n"));
    }
    yaml
}
