//! Faults of processes, networks, workers and load: what there is, on whom, how they are made and undone.
//!
//! - [`catalogue`]: every kind in one table; [`select`]: who is meant; [`order`]: what is asked for, and what came of it.
//! - [`keeper`]: makes faults and undoes them, within a blast radius and a time; `apply` has how, `disks` and `flips` how for disks, `cuts` which links.
//! - [`proxy`]: a TCP proxy per directed link.
//! - [`overload`]: a thundering herd.
//! - [`view`]: what every node says of the cluster; [`probes`]: yes or no, with a number.
//! - [`nemesis`]: one fault after the other, drawn from a seed.
//! - [`gap`]: measures how long a shard is away when its leader goes.
//! - [`dice`]: chance from a seed.
//! - [`command`]: the verbs `fault`, `heal`, `probe`, `nemesis` and `gap`.

mod apply;
pub mod catalogue;
pub mod command;
mod cuts;
pub mod dice;
mod disks;
mod flips;
pub mod gap;
pub mod keeper;
pub mod nemesis;
pub mod order;
pub mod overload;
pub mod probes;
pub mod proxy;
pub mod select;
#[cfg(test)]
pub(crate) mod testing;
pub mod view;

pub use keeper::Keeper;
pub use nemesis::Nemesis;
pub use order::{Made, Order, Report};
