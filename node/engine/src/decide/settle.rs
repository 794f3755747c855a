//! Goes on until nothing more follows. Iterative: a chain of steps that end at once may have 10,000 of them.

use super::{Decider, reserved};
use crate::{EventKind, Failure, Payload, RunStatus, StepStatus, failure_type};

/// A decision that is larger than this leaves the rest of a fan-out to the next one, so that neither a record of the log nor an actor's
/// turn grows with the width of a plan: thousands of steps with small inputs, one with the largest. Something must be open before it
/// stops, so that the run has a recorded waker.
const DECISION_BYTES_MAX: usize = 1024 * 1024;

impl Decider<'_, '_, '_> {
    /// Starts what is ready, and ends the run once nothing is left to do.
    pub(super) fn settle(&mut self) {
        while self.draft.is_running() {
            let is_large = self.draft.bytes() >= DECISION_BYTES_MAX || self.draft.is_exhausted();
            if is_large && self.draft.open_count() > 0 {
                break;
            }
            let Some(index) = self.draft.take_ready() else { break };
            if is_large {
                self.postpone(index);
            } else {
                self.activate(index);
            }
        }
        match self.draft.head().status {
            RunStatus::Running => {
                if self.draft.head().steps_ended as usize == self.draft.run.plan().steps.len() {
                    self.draft.begin_step();
                    self.finish();
                }
            }
            RunStatus::Failing => self.end_stopped(RunStatus::Failed),
            RunStatus::Cancelling => self.end_stopped(RunStatus::Cancelled),
            _ => {}
        }
    }

    /// Leaves a step to the next decision: it sleeps until now. Nothing else would wake the run.
    fn postpone(&mut self, index: usize) {
        let step = self.draft.run.plan().steps[index].id.clone();
        self.push(EventKind::StepWaiting { step, until: self.context.now, step_deadline: None });
    }

    /// Ends or interrupts everything that was started. Steps without an entry stay without one: in an ended run they show as cancelled.
    pub(super) fn stop_steps(&mut self, reason: &str) {
        let deadline = self.context.now.plus(self.context.cancel_grace);
        for index in self.draft.open_steps() {
            let id = &self.draft.run.plan().steps[index].id;
            let Some(state) = self.draft.step(id) else { continue };
            match state.status {
                StepStatus::Queued | StepStatus::Waiting | StepStatus::BackingOff | StepStatus::Running | StepStatus::Awaiting => self.end_step(id, StepStatus::Cancelled, None),
                StepStatus::Leased => {
                    if state.cancel_deadline.is_none() {
                        self.push(EventKind::StepCancelRequested { step: id.clone(), deadline, reason: reason.to_owned() });
                    }
                }
                StepStatus::Pending | StepStatus::Succeeded | StepStatus::Failed | StepStatus::Skipped | StepStatus::Cancelled => {}
            }
        }
    }

    fn end_stopped(&mut self, status: RunStatus) {
        if self.draft.leased_count() == 0 {
            self.end_run(status, None, None);
        }
    }

    /// Every step ended, and none failed.
    fn finish(&mut self) {
        let output = match &self.draft.run.plan().output {
            None => Ok(None),
            Some(template) => template.render(self.draft).map(|value| Some(Payload::json(&value))),
        };
        match output {
            Ok(Some(output)) if output.data.len() > Payload::BYTES_MAX => {
                let failure = reserved(failure_type::OUTPUT_TOO_LARGE, "the run's output is larger than 2 MiB");
                self.end_run(RunStatus::Failed, None, Some(failure));
            }
            Ok(output) => self.end_run(RunStatus::Succeeded, output, None),
            Err(error) => {
                let mut failure = error.into_failure("output");
                if failure.kind == failure_type::INPUT_TOO_LARGE {
                    failure.kind = failure_type::OUTPUT_TOO_LARGE.to_owned();
                }
                self.end_run(RunStatus::Failed, None, Some(failure));
            }
        }
    }

    fn end_run(&mut self, status: RunStatus, output: Option<Payload>, failure: Option<Failure>) {
        self.push(EventKind::RunEnded { status, output, failure, principal: None, reason: String::new() });
    }
}
