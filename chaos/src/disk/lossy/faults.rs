//! What can be wrong with a disk that has power.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The faults in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// Each sync takes this much longer, in milliseconds.
    pub slow_fsync_ms: u64,
    /// Each write takes this much longer, in milliseconds.
    pub slow_write_ms: u64,
    /// Writes that would make all files together longer than this, in bytes, fail for want of space.
    pub full_at: Option<u64>,
    /// Each sync fails, and what it should have covered will be lost with the power, whatever later syncs say.
    pub eio_on_fsync: bool,
}

impl Faults {
    pub(super) fn fsync_delay(&self) -> Duration {
        Duration::from_millis(self.slow_fsync_ms)
    }

    pub(super) fn write_delay(&self) -> Duration {
        Duration::from_millis(self.slow_write_ms)
    }
}
