//! Limits: what the whole cluster may do at a time and how fast, and the breakers that stop what keeps failing.
//!
//! Reading order: [`spec`] (what a limit is), [`key`] (whose).

mod key;
mod spec;

pub use key::KeyTemplate;
pub use spec::{BreakerSpec, LimitSpec, LimitTarget, OnExceeded, RateSpec};
