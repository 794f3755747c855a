//! Schedules: runs that start by the clock.
//!
//! ```text
//! definition (checked, compiled)      timing: which times there are
//!        \                              /
//!         decide(state, now, what ended)  -> what fires, what is skipped and why
//!                     |
//!         driver: records the decision in group 0, then starts what was recorded
//! ```
//!
//! Only the leader of group 0 fires. It records a firing before it starts its run, under a run id and a request id that are functions of the
//! schedule and the nominal time: a leader that dies in between leaves a firing that is still `starting`, which the next one starts again, and the
//! run's shard knows the request. So no firing is lost, and none happens twice.
//!
//! [`definition`], [`timing`] and [`mod@decide`] are pure; [`driver`] and [`firing`] act.

pub(crate) mod decide;
pub(crate) mod definition;
mod driver;
mod firing;
pub(crate) mod timing;

#[cfg(test)]
mod tests;

pub use driver::start;
