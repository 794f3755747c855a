//! The client of Quorus: talk to a cluster, and execute its tasks.
//!
//! - [`Client`] calls every service of the API; it fails over between nodes, repeats only what is safe to repeat, and tells errors apart.
//! - [`Worker`] registers functions for task types and executes the attempts that nodes hand out, under leases.
//! - [`executors`] are the functions behind `quorus worker exec` and `quorus worker replay`.
//! - [`Ledger`] is the fsynced record of what a worker really did, kept outside the system so that the system can be checked against it.
//!
//! ```no_run
//! use quorus_client::{Client, TaskContext, TaskError, Worker, v1::StartRunRequest};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A worker that executes tasks of type `db.migrate`.
//! let worker = Worker::builder(["127.0.0.1:7401", "127.0.0.1:7402"])
//!     .queue("deploy")
//!     .concurrency(4)
//!     .register("db.migrate", |context: TaskContext| async move {
//!         let version: String = context.input()?;
//!         context.checkpoint(json!({"at": "half-way"})).await.map_err(|_| TaskError::Cancelled { nothing_done: false })?;
//!         Ok(json!({"migrated_to": version}))
//!     })
//!     .build()?;
//! tokio::spawn(worker.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }));
//!
//! // A client that starts a run and waits for its end.
//! let client = Client::with_endpoints(["127.0.0.1:7401", "127.0.0.1:7402"])?;
//! let started = client.start_run(StartRunRequest { workflow: "release".to_owned(), ..Default::default() }).await?;
//! let run = client.wait_run("default", &started.run.unwrap_or_default().run_id).await?;
//! println!("{:?}", run.status());
//! # Ok(())
//! # }
//! ```
//!
//! The messages themselves are in [`quorus_proto::v1`]; their comments are the reference.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backoff;
mod client;
mod endpoint;
mod error;
pub mod executors;
mod ledger;
mod worker;

pub use client::{Client, OnRetry, Options, Retrying, RunWatch, export_replica, is_final};
pub use endpoint::{Connect, DEFAULT_ENDPOINT, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use error::{ApiError, Error, Violation, exit_code};
pub use ledger::{Ledger, LedgerEntry, LedgerError, LedgerEvent, content_digest, monotonic_us};
pub use quorus_proto::v1;
pub use quorus_secrets::Secrets;
pub use worker::{CancelReason, Cancellation, LeaseLost, Output, TaskContext, TaskError, Worker, WorkerBuilder, WorkerError};
