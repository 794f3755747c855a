//! Faults on real processes, and the proof that they changed nothing.
//!
//! - [`process`] and [`cluster`]: nodes as real processes with their own folders, killed and started again at will.
//! - [`workers`]: workers as real processes, each with a ledger of what it really did.
//! - [`workload`]: random workflows with what must come out of them, the clients that drive them, and the workers that do them.
//! - [`stage`]: a cluster with a proxy on each link, owned by one process; [`fault`]: what can be done to it, and how it is undone.
//! - [`record`]: what an experiment leaves behind: operations, ledgers, faults, replicas.
//! - [`mutants`]: bugs that are planted on purpose, and which invariant caught each.
//! - [`audit`]: joins what the cluster says with what the ledgers say: what was lost, orphaned, duplicated.
//! - [`check`]: judges what an experiment left behind: one file per invariant, verdicts with counterexamples.
//! - [`probe`]: measures for how long a small request could not be completed.
//! - [`sim`]: whole clusters in a deterministic simulation, one run per seed.
//! - [`disk`]: faults of disks and clocks.
//! - [`experiment`]: experiments as files in the Chaos Toolkit format, and whole game days around them; [`report`]: their report as one page.
//! - [`demo`]: a story made from these, for people: `make demo`.
//!
//! Invariant: nothing here trusts a server's log. Evidence is what clients were told and what workers wrote down outside the system.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod demo;
pub mod disk;
pub mod experiment;
pub mod fault;
pub mod mutants;
pub mod probe;
pub mod process;
pub mod record;
pub mod report;
pub mod sim;
pub mod stage;
pub mod workers;
pub mod workload;
