//! The replica against random histories of a small world, and against the cases that fencing is for.

mod agreement;
mod fencing;
mod indexes;
mod requests;
mod shard;
mod world;
