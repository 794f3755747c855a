//! What the tasks of a workload do.
//!
//! A task does what its input says, so that whoever knows the definition knows what comes out: it takes its time, fails when it is told to, writes
//! down each effect before it goes on, and returns a value that depends on nothing but its input.

use std::{sync::Arc, time::Duration};

use quorus_client::{
    CancelReason, Ledger, LedgerEntry, LedgerEvent, Output, TaskContext, TaskError, WorkerBuilder, content_digest, executors,
    v1::{Failure, Payload, Task},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::site::Clock;

/// The task type.
pub const TASK_TYPE: &str = "chaos.work";
/// The type of failures that are planned.
pub const PLANNED: &str = "Planned";
/// Where the workload's tasks wait unless somebody says otherwise.
pub const QUEUE: &str = "chaos";

/// The input of a task. Names that are not known are no mistake: they make inputs differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Input {
    /// How long an attempt takes.
    pub ms: u64,
    /// The first attempts fail, and another one may help.
    pub fail_attempts: u32,
    /// The attempt after those fails, and no other one can help.
    pub fail_for_good: bool,
    /// Failing attempts are sure to have changed nothing.
    pub nothing_done: bool,
    /// The first attempt gives the task back.
    pub release: bool,
    /// A checkpoint half-way.
    pub checkpoint: bool,
    /// How many effects, spread over the time.
    pub effects: u32,
}

/// How an attempt is to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It works.
    Succeed,
    /// It fails so.
    Fail(Failure),
    /// It gives the task back.
    Release,
}

impl Input {
    /// Reads the input of a task.
    pub fn read(payload: Option<&Payload>) -> Result<Self, serde_json::Error> {
        payload.map_or(Ok(Self::default()), |payload| serde_json::from_slice(&payload.data))
    }

    /// How this attempt is to end.
    pub fn verdict(&self, attempt: u32) -> Verdict {
        let failure = |message: &str, non_retryable| {
            Verdict::Fail(Failure {
                r#type: PLANNED.to_owned(),
                message: message.to_owned(),
                non_retryable,
                nothing_done: self.nothing_done,
                ..Failure::default()
            })
        };
        if self.release && attempt == 1 {
            Verdict::Release
        } else if attempt <= self.fail_attempts {
            failure("this attempt fails as planned", false)
        } else if self.fail_for_good {
            failure("this task fails for good as planned", true)
        } else {
            Verdict::Succeed
        }
    }
}

/// The output of a task with this input.
pub fn output(input: Option<&Payload>) -> Payload {
    Payload { data: json!({"of": content_digest(input)}).to_string().into(), encoding: "json".to_owned() }
}

/// Who writes lines of a ledger.
#[derive(Clone)]
pub struct Scribe {
    /// Where they go.
    pub ledger: Ledger,
    /// What stamps them.
    pub clock: Clock,
    /// The worker's name.
    pub worker: Arc<str>,
}

impl Scribe {
    /// A line about an attempt.
    pub fn entry(&self, event: LedgerEvent, task: &Task) -> LedgerEntry {
        LedgerEntry { time_ms: self.clock.wall_ms(), mono_us: self.clock.now_us(), ..LedgerEntry::about(task, event, &self.worker) }
    }

    async fn effect(&self, task: &Task) -> Result<(), TaskError> {
        let written = self.ledger.write(self.entry(LedgerEvent::Effect, task)).await;
        written.map_err(|error| TaskError::failed("LedgerUnavailable", error.to_string()))
    }
}

/// Teaches a worker the tasks of a workload, and those of imported scientific workflows, whose recorded times are multiplied by `time_scale`.
pub fn register(worker: WorkerBuilder, scribe: &Scribe, time_scale: f64) -> WorkerBuilder {
    let scribe = scribe.clone();
    worker
        .ledger(scribe.ledger.clone())
        .register(TASK_TYPE, move |context: TaskContext| work(context, scribe.clone()))
        .register(executors::replay::TASK_TYPE, move |context: TaskContext| executors::replay::replay(context, time_scale))
}

/// Does an attempt of a task.
pub async fn work(context: TaskContext, scribe: Scribe) -> Result<Output, TaskError> {
    let input: Input = context.input()?;
    let parts = u64::from(input.effects) + 1;
    let mut done = false;
    for part in 0..parts {
        // Never after the lease is lost, nor after a request to stop: what is asked to stop has nothing more to do.
        if part > 0 {
            if context.cancellation().is_some() {
                return Err(TaskError::Cancelled { nothing_done: !done });
            }
            scribe.effect(context.task()).await?;
            done = true;
        }
        if input.checkpoint && part == parts / 2 {
            checkpoint(&context, part, done).await?;
        }
        context.progress();
        let pause = Duration::from_millis(input.ms / parts);
        tokio::select! {
            biased;
            stop = context.cancelled() => {
                // A lost lease may have been taken over: who says "nothing was done" must be sure of it.
                let nothing_done = !done && stop.reason != CancelReason::LeaseLost;
                return Err(TaskError::Cancelled { nothing_done });
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    match input.verdict(context.task().attempt) {
        Verdict::Succeed => Ok(output(context.task().input.as_ref()).into()),
        Verdict::Fail(failure) => Err(TaskError::Failed(failure)),
        Verdict::Release => Err(TaskError::Released),
    }
}

async fn checkpoint(context: &TaskContext, part: u64, done: bool) -> Result<(), TaskError> {
    tokio::select! {
        biased;
        _ = context.cancelled() => Err(TaskError::Cancelled { nothing_done: !done }),
        kept = context.checkpoint(json!({"part": part})) => kept.map_err(|_| TaskError::Cancelled { nothing_done: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<Payload> {
        Some(Payload { data: text.to_owned().into(), encoding: "json".to_owned() })
    }

    #[test]
    fn the_input_says_how_an_attempt_ends() {
        let input = Input::read(json(r#"{"ms": 5, "fail_attempts": 2, "fail_for_good": true, "from": "x"}"#).as_ref()).unwrap();
        let retryable = |attempt| match input.verdict(attempt) {
            Verdict::Fail(failure) => Some(!failure.non_retryable),
            _ => None,
        };
        assert_eq!([1, 2, 3].map(retryable), [Some(true), Some(true), Some(false)]);
        let released = Input { release: true, ..Input::default() };
        assert_eq!([released.verdict(1), released.verdict(2)], [Verdict::Release, Verdict::Succeed]);
        assert_eq!(Input::read(None).unwrap(), Input::default());
    }

    #[test]
    fn the_output_depends_on_what_the_input_says_and_on_nothing_else() {
        assert_eq!(output(json(r#"{"a": 1, "b": 2}"#).as_ref()), output(json(r#"{"b":2,"a":1}"#).as_ref()));
        assert_ne!(output(json(r#"{"a": 1}"#).as_ref()), output(json(r#"{"a": 2}"#).as_ref()));
    }
}
