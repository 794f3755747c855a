//! Whole clusters in a deterministic simulation: real nodes, real clients and real workers on simulated hosts, with one seed for everything.
//!
//! - [`command`]: the verb `sim`. Each seed runs in a process of its own, so that it finds the same process every time. `regressions`: seeds that found
//!   something once.
//! - `seed`: one seed from beginning to verdict; `shrink` makes a failing one smaller.
//! - `scene` and `plan`: what a seed draws before it begins. `dice`: how it draws.
//! - `world`: the hosts, with `net`, `links`, `node` and `chance`, which make them ours. `nemesis` does to them what the plan says.
//! - `work`: the load that every seed has; `random`, with `site`: random workflows with a foreseen end, which most seeds have, too. `reader`: clients that
//!   stay at their node; `crowd`: far too many clients. `seen`: what came of them. `story`: what happened. `harvest`: what the replicas have. What must hold is
//!   what [`crate::check`] says.
//!
//! Invariant: nothing that is written about a run depends on the machine or on its time.

pub mod command;

mod chance;
mod crowd;
mod dice;
mod harvest;
mod links;
mod nemesis;
mod net;
mod node;
mod plan;
mod random;
mod reader;
mod regressions;
mod scene;
mod seed;
mod seen;
mod shrink;
mod site;
mod story;
mod work;
mod world;
