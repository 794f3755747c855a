//! Where faults happen: a cluster of real processes that can be acted on.
//!
//! - [`plan`] and [`play`]: a cluster of our own with a proxy per directed link, for nodes, clients and workers.
//! - [`network`]: a network of its own for such a cluster, with cables that can be pulled.
//! - [`dev`]: somebody else's `quorusd dev`; only its processes can be acted on.
//! - [`clocks`]: the clocks of its nodes.
//! - [`disks`]: disks of its nodes that can lose power, be full, be slow, and fail.
//! - [`plant`]: both of them as one thing that faults act on.
//! - [`card`]: `stage.json`, by which tools find everything.
//! - [`control`]: the socket by which commands reach the process that owns the cluster, and the client of it.
//! - [`server`]: that process's other end of the socket.
//! - [`target`]: what `--target` means.
//! - [`command`]: the verb `cluster`.
//!
//! Invariants: what a stage started ends with it, however it ends. A fault that lasts is undone by the process that owns the stage, not by the one that
//! asked for it. Start processes from the main thread.

pub mod card;
pub mod clocks;
pub mod command;
pub mod control;
pub mod dev;
pub mod disks;
pub mod network;
pub mod plan;
pub mod plant;
pub mod play;
pub mod server;
pub mod target;

pub use card::Card;
pub use control::Remote;
pub use plan::{DiskKind, Plan};
pub use plant::Plant;
pub use play::Stage;
pub use target::Target;
