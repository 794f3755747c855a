//! Whole clusters of real processes, with real disks and sockets, judged by what workers outside saw.

mod basics;
mod crashes;
mod harness;
mod imported;
mod outages;
mod refusals;
