//! Faults on real processes, and the proof that they changed nothing.
//!
//! - [`process`] and [`cluster`]: nodes as real processes with their own folders, killed and started again at will.
//! - [`workers`]: workers as real processes, each with a ledger of what it really did.
//! - [`record`]: what an experiment leaves behind: operations, ledgers, faults, replicas.
//! - [`audit`]: joins what the cluster says with what the ledgers say: what was lost, orphaned, duplicated.
//! - [`probe`]: measures for how long a small request could not be completed.
//! - [`experiment`]: experiments as files in the Chaos Toolkit format, and whole game days around them; [`report`]: their report as one page.
//! - [`demo`]: a story made from these, for people: `make demo`.
//!
//! Invariant: nothing here trusts a server's log. Evidence is what clients were told and what workers wrote down outside the system.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
pub mod cli;
pub mod cluster;
pub mod demo;
pub mod experiment;
pub mod probe;
pub mod process;
pub mod record;
pub mod report;
pub mod workers;
