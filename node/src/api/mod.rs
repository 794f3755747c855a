//! The gRPC face. It checks, brings a request to where it can be answered, and speaks the wire's language; it decides nothing.
//!
//! Invariant: wire types stop at [`from_proto`] and [`to_proto`]; engine types stop there, too.

mod admission;
mod approvals;
mod change;
mod cluster_service;
mod concurrency_service;
mod context;
mod courier_service;
pub mod errors;
mod explain;
mod fan_out;
mod forward;
pub(crate) mod from_proto;
pub(crate) mod history_event;
mod in_use;
mod lifecycle_service;
mod limit_service;
mod limits;
mod list;
mod migrate;
mod node_service;
mod queue_service;
mod run_service;
mod schemas;
mod signal_start;
mod start;
mod steps;
mod system_port;
pub(crate) mod to_proto;
mod watch;
mod worker_admin;
mod worker_service;
mod workflow_service;

pub use admission::Admission;
pub use cluster_service::ClusterView;
pub use concurrency_service::ConcurrencyKeys;
pub use context::ApiContext;
pub use courier_service::Deliveries;
pub use lifecycle_service::Lifecycle;
pub use limit_service::Limits;
pub(crate) use limits::is_name;
pub use limits::{CAPACITY_MAX, LINK_BYTES_MAX, MESSAGE_BYTES_MAX};
pub use node_service::Prober;
pub use queue_service::Queues;
pub use run_service::Runs;
pub use system_port::SystemPort;
pub use worker_admin::WorkerAdmin;
pub use worker_service::Workers;
pub use workflow_service::Workflows;
