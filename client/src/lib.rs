//! The client of Quorus: talk to a cluster, and execute its tasks.
//!
//! - [`Client`] calls every service of the API; it fails over between nodes, repeats only what is safe to repeat, and tells errors apart.
//! - [`Worker`] registers functions for task types and executes the attempts that nodes hand out, under leases.
//! - [`executors`] are the functions behind `quorus worker exec` and `quorus worker replay`.
//! - [`Ledger`] is the fsynced record of what a worker really did, kept outside the system so that the system can be checked against it.
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

pub use client::{Client, OnRetry, Options, Retrying, RunWatch, is_final};
pub use endpoint::{DEFAULT_ENDPOINT, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use error::{ApiError, Error, Violation, exit_code};
pub use ledger::{Ledger, LedgerEntry, LedgerError, LedgerEvent};
pub use quorus_proto::v1;
pub use worker::{CancelReason, Cancellation, LeaseLost, Output, TaskContext, TaskError, Worker, WorkerBuilder, WorkerError};
