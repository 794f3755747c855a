//! Whole clusters of real processes, with real disks and sockets, judged by what workers outside saw.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that can't go on says so by panicking")]

mod audit;
mod basics;
mod builtin;
mod children;
mod crashes;
mod definitions;
mod examples;
mod flow;
mod harness;
mod imported;
mod index;
mod lifecycle;
mod outages;
mod paused_workflow;
mod refusals;
mod schedules;
