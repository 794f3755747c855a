//! Work for a cluster under test: known beforehand, and checked afterwards.
//!
//! ```text
//!  seed ─ plan ─ model ─┬─ render ─ definitions ─▶ cluster
//!                       ├─ shape ──┐
//!                       └─ oracle ─┴─ what must come out ─▶ checkers
//!  seed ─ runs ─ driver ─ wire ─▶ cluster ─▶ tasks, misbehaving ─▶ ledger
//! ```
//!
//! - [`plan`] draws workflows from a seed ([`random`], [`mix`], [`model`]); [`render`], [`shape`] and [`oracle`] say what they are and what comes out,
//!   [`pace`] how long it takes.
//! - [`runs`] draws which runs are started when and what is done to them; [`driver`] does it, by clients ([`wire`]) whose calls [`recorder`] takes down; [`owed`] is
//!   what is sent again.
//! - [`tasks`] is what workers do; [`misbehaving`] are workers that break the rules of the protocol on purpose.
//! - [`imported`] makes workflows of recorded scientific ones.
//! - [`site`] is the world around: real nodes, or simulated ones. [`worker`] and [`verb`] are the command line.
//!
//! Invariants: the same seed means the same workload. No wall clock, threads or randomness of the process: all of it works in simulated time.

pub mod driver;
pub mod imported;
pub mod misbehaving;
pub mod mix;
pub mod model;
pub mod oracle;
pub mod owed;
pub mod pace;
pub mod plan;
pub mod random;
pub mod recorder;
pub mod render;
pub mod runs;
pub mod shape;
pub mod site;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod verb;
pub mod verify;
pub mod wire;
pub mod worker;
