//! Limits: what the whole cluster may do at a time and how fast, and the breakers that stop what keeps failing.
//!
//! Reading order: [`spec`] (what a limit is), [`key`] (whose), [`rules`] (which limits a task counts against), [`breaker`], [`keeper`] (who gets
//! permits), [`port`] (the way to it). What a node's leaders hold of limits is in [`crate::dispatch`].

mod breaker;
mod keeper;
mod key;
mod port;
mod rules;
mod spec;

pub use breaker::{Breaker, BreakerState};
pub use keeper::{Grant, Keeper, KeeperTimes, LimitUse, NodeReport};
pub use key::KeyTemplate;
pub use port::{PermitPort, PermitPortParts};
pub use rules::LimitRules;
pub use spec::{BreakerSpec, LimitSpec, LimitTarget, OnExceeded, RateSpec};
