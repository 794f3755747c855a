//! A disk that loses power, is slow, full or fails: a file system of our own under a real node.
//!
//! - [`volume`]: the disk as a data structure over a backing folder; what is durable, and what a loss of power leaves. [`journal`] for data, [`names`] for
//!   folders, [`keep`] for how much is left, [`faults`] for a disk with power.
//! - `kernel`: answers the kernel's requests from the volume (FUSE; Linux only).
//! - `mount`: puts it into the tree of files and takes it out again, however this process ends.
//! - `served`: the process that does it, for a node of a cluster of ours.
//! - [`control`]: orders to a mounted disk, as JSON lines over a Unix socket.

pub mod control;
pub mod faults;
mod journal;
pub mod keep;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
pub mod mount;
mod names;
#[cfg(target_os = "linux")]
pub mod served;
#[cfg(all(test, target_os = "linux"))]
mod tests;
pub mod volume;
