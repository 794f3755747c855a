//! Task type `replay`: stands in for a program of an imported scientific workflow by waiting as long as the program once ran, times a scale.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::{Output, TaskContext, TaskError};

/// The task type.
pub const TASK_TYPE: &str = "replay";

/// Ten years. A bound, so that a nonsense input can't overflow a timer.
const SECONDS_MAX: f64 = 315_360_000.0;

#[derive(Debug, Deserialize)]
struct Input {
    #[serde(default)]
    program: String,
    runtime_seconds: f64,
}

/// Waits `runtime_seconds` x `time_scale`, or until it is asked to stop.
pub async fn replay(context: TaskContext, time_scale: f64) -> Result<Output, TaskError> {
    let input: Input = context.input()?;
    let time = slept(input.runtime_seconds, time_scale)?;
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(json!({"program": input.program, "slept_ms": time.as_millis() as u64}).into()),
        _ = context.cancelled() => Err(TaskError::Cancelled { nothing_done: true }),
    }
}

fn slept(runtime_seconds: f64, time_scale: f64) -> Result<Duration, TaskError> {
    let seconds = runtime_seconds * time_scale;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(TaskError::invalid_input(format!("{runtime_seconds} s x {time_scale} is not a time between 0 and {SECONDS_MAX} s")));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_time_is_scaled() {
        assert_eq!(slept(120.0, 0.01).unwrap(), Duration::from_millis(1200));
        assert_eq!(slept(0.0, 0.01).unwrap(), Duration::ZERO);
    }

    #[test]
    fn nonsense_is_refused() {
        for (runtime, scale) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY), (1e300, 1e300)] {
            assert!(slept(runtime, scale).is_err(), "{runtime} x {scale}");
        }
    }
}
