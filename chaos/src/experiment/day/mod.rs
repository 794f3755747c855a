//! A whole game day around an experiment: stage, workload, method, healing, export, verdict, report.
//!
//! - [`target`]: whom it is held on, and that it is somebody who may be broken.
//! - [`tools`]: the command lines of this program's other parts; the only place that knows them.
//! - `suits`: whether an experiment can be held on somebody's cluster at all.
//! - [`stages`]: the order of things, and that everything is taken down however it ends.
//! - [`collect`]: what the results folder says about its making: commit, hashes, logs, data of a failure.
//! - [`show`]: what people see.
//!
//! Invariants: the day ends within its bound. Faults are healed before anything is judged, also after an interruption. A step of the day itself that fails
//! is written into `harness.jsonl`, so that the verdict can be no better than unknown.

pub mod collect;
pub mod show;
pub mod stages;
mod suits;
pub mod target;
pub mod tools;
