//! Ready-made functions for workers.
//!
//! - [`exec`](mod@exec) runs commands: `quorus worker exec`.
//! - [`replay`](mod@replay) waits as long as a recorded program ran: `quorus worker replay`.

mod capture;
pub mod exec;
mod process;
pub mod replay;

pub use exec::{Exec, exec};
pub use replay::replay;
