//! The replica against random histories of a small world, and against the cases that fencing is for.

mod agreement;
mod cost;
mod coverage;
mod fencing;
mod indexes;
mod purge;
mod requests;
mod shard;
mod world;
