//! What an experiment leaves behind, and all that a verdict is made from.
//!
//! Three witnesses that do not depend on each other: what clients asked and were told ([`operation`]), what workers wrote down before and after they
//! acted ([`quorus_client::LedgerEntry`]), and what every replica has applied ([`replica`]). Beside them: which faults there were ([`fault`]), and what
//! the workflows promise ([`shape`]). [`Evidence`] is all of it; [`folder`] is its form on disk, and [`export`] fetches the replicas of a real cluster.
//!
//! Invariants: all `_us` times are microseconds of one monotonic clock (in a simulation: of simulated time since its start). Nothing here comes from a
//! server's log. A record is only ever added to.

pub mod evidence;
pub mod export;
pub mod fault;
pub mod folder;
pub mod operation;
pub mod replica;
pub mod shape;

pub use evidence::Evidence;
pub use export::{Exported, export_all};
pub use fault::{Fault, FaultPhase};
pub use operation::{Answer, Call, Ending, Operation};
pub use replica::{RecordedRun, Replica};
pub use shape::{Prediction, Shape, StepShape};
