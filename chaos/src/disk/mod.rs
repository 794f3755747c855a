//! Faults of disks and clocks, for real nodes.
//!
//! - [`lossy`]: a mounted disk that loses power, tears writes, is slow, full, or fails to sync.
//! - [`full`]: the cheaper full disk, in memory.
//! - [`flip`]: bit flips and other damage in a stopped node's files.
//! - [`wipe`]: a data folder that is lost.
//! - [`clock`]: the clock of one node.
//! - [`trial`]: one fault, many times, on a small cluster under load: what came of it.
//! - [`verb`]: all of them as subcommands.
//!
//! Invariant: what is chosen is chosen by a seed ([`chance`]), and whatever is mounted is unmounted ([`mounts`]).

pub mod chance;
pub mod clock;
#[cfg(target_os = "linux")]
pub mod flip;
#[cfg(target_os = "linux")]
pub mod full;
#[cfg(target_os = "linux")]
pub mod lossy;
#[cfg(target_os = "linux")]
pub mod mounts;
#[cfg(target_os = "linux")]
mod stopped;
#[cfg(target_os = "linux")]
pub mod trial;
#[cfg(target_os = "linux")]
pub mod verb;
#[cfg(target_os = "linux")]
pub mod wipe;
