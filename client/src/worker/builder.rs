//! How a worker is put together.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use quorus_secrets::Secrets;
use tokio::sync::Semaphore;

use super::{
    Output, TaskContext, TaskError,
    attempt::Shared,
    driver::{Driver, Identity},
    link::Link,
    registry::Registry,
};
use crate::{ApiError, Connect, Error, Ledger, endpoint::Node};

/// Bound of what a worker takes at a time; far above what one process can do something about.
const CONCURRENCY_MAX: usize = 100_000;

/// Why a worker can't work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It is put together wrongly.
    #[error("{0}")]
    Invalid(String),
    /// An address that can't be one.
    #[error(transparent)]
    Endpoint(#[from] Error),
    /// The first node that was reached refused it for good.
    #[error("the node refused the worker: {0}")]
    Refused(Box<ApiError>),
}

/// A process that executes tasks. See the module.
#[derive(Debug)]
pub struct Worker {
    nodes: Arc<Vec<Node>>,
    shared: Arc<Shared>,
    identity: Identity,
    shutdown_grace: Duration,
}

/// Puts a [`Worker`] together.
#[derive(Debug)]
pub struct WorkerBuilder {
    endpoints: Vec<String>,
    name: Option<String>,
    queues: Vec<String>,
    concurrency: usize,
    labels: BTreeMap<String, String>,
    registry: Registry,
    ledger: Option<Ledger>,
    secrets: Secrets,
    shutdown_grace: Duration,
    connector: Option<Arc<dyn Connect>>,
}

impl Worker {
    /// Begins with the addresses of the nodes; none means the default. One is enough, more allow failover.
    pub fn builder<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> WorkerBuilder {
        WorkerBuilder {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            name: None,
            queues: Vec::new(),
            concurrency: 1,
            labels: BTreeMap::new(),
            registry: Registry::default(),
            ledger: None,
            secrets: Secrets::from_environment(),
            shutdown_grace: Duration::from_secs(30),
            connector: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Works until `shutdown` completes, then takes nothing new, lets attempts end for the shutdown grace, gives back what is left, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), WorkerError> {
        // Workers that start together spread over the nodes.
        let first = rand::random_range(0..self.nodes.len());
        let (driver, reports) = Driver::new(self.shared, self.identity, self.shutdown_grace);
        driver.run(Link::new(self.nodes, first), reports, Box::pin(shutdown)).await
    }
}

impl WorkerBuilder {
    /// A name for people, which must be unique: a worker that registers under a name takes the place of the one that had it. Default: made
    /// from the process id and a random part.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Takes tasks from this queue, too. Without any: `default`.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// How many attempts it executes at a time. Default: 1.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// A label for people and selectors.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Executes tasks of this type by calling the function. A panic in it is a failure of the attempt.
    pub fn register<F, Fut, O>(mut self, task_type: impl Into<String>, function: F) -> Self
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, TaskError>> + Send + 'static,
        O: Into<Output>,
    {
        self.registry.insert(task_type.into(), function);
        self
    }

    /// Writes the begin and end of each attempt there, durably.
    pub fn ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Where secrets come from that tasks refer to. Default: `QUORUS_SECRET_<NAME>` in the environment.
    ///
    /// Functions find the values in their input. In what an attempt returns, keeps or fails with, they are masked again.
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// How long running attempts may take to end by themselves when the worker stops. Default: 30 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Opens connections in another way than TCP.
    pub fn connector(mut self, connector: Arc<dyn Connect>) -> Self {
        self.connector = Some(connector);
        self
    }

    /// Checks everything. Connects to nothing yet.
    pub fn build(self) -> Result<Worker, WorkerError> {
        if self.concurrency == 0 || self.concurrency > CONCURRENCY_MAX {
            return Err(WorkerError::Invalid(format!("the concurrency is {}, expected 1 to {CONCURRENCY_MAX}", self.concurrency)));
        }
        if self.registry.task_types().is_empty() {
            return Err(WorkerError::Invalid("no function is registered".to_owned()));
        }
        let incarnation = uuid::Uuid::new_v4().simple().to_string();
        let name = self.name.unwrap_or_else(|| format!("worker-{}-{}", std::process::id(), &incarnation[..6]));
        if name.is_empty() {
            return Err(WorkerError::Invalid("the name is empty".to_owned()));
        }
        let mut queues = self.queues;
        if queues.is_empty() {
            queues.push("default".to_owned());
        }
        let shared = Shared {
            registry: self.registry,
            ledger: self.ledger,
            secrets: self.secrets,
            worker: format!("{name}/{incarnation}"),
            slots: Arc::new(Semaphore::new(self.concurrency)),
        };
        let concurrency = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        let nodes = Node::parse_all(&self.endpoints)?;
        Ok(Worker {
            nodes: Arc::new(nodes.into_iter().map(|node| node.connected_by(self.connector.clone())).collect()),
            shared: Arc::new(shared),
            identity: Identity { name, incarnation, queues, concurrency, labels: self.labels },
            shutdown_grace: self.shutdown_grace,
        })
    }
}
