//! The gateway: workers' streams end here, whichever node leads the runs that they work for.
//!
//! Reading order: [`book`] (what is known and the rules), [`gateway`] (links to leaders), [`session`] (a worker's stream); the gRPC face is
//! [`crate::api`]'s worker service. The leaders' side is [`crate::dispatch`].

mod book;
#[expect(clippy::module_inception, reason = "the noun of the file is the noun of the room")]
mod gateway;
mod session;
mod step_logs;

pub use book::{Book, LeaderSender, SessionView, WorkerSender};
pub use gateway::Gateway;
pub use session::{SessionArguments, WorkerSession};
pub use step_logs::StepLogs;
