//! What follows in the run itself after something changed in it: which way it goes, and how it ends.

use super::Decider;
use super::activate::output;
use crate::run::{Instance, States};
use crate::{AttentionCause, EventKind, Failure, OnFailure, Payload, Phase, RunOn, RunStatus, StepId};

impl Decider<'_, '_, '_> {
    pub(super) fn review_run(&mut self) {
        let head = self.draft.head();
        match head.status {
            RunStatus::Running | RunStatus::Failing | RunStatus::Cancelling | RunStatus::Compensating => {}
            RunStatus::Queued
            | RunStatus::NeedsAttention
            | RunStatus::Succeeded
            | RunStatus::Failed
            | RunStatus::Cancelled
            | RunStatus::Terminated => return,
        }
        let is_still = !self.draft.index.has_open(&None);
        let cancelled = head.cancelled_by.is_some();
        match head.phase() {
            Phase::Forward => self.review_run_forward(),
            // It was reopened after its end, and goes no further without its slot.
            Phase::Compensating | Phase::Compensated | Phase::Finally | Phase::Rewinding if self.has_no_slot() => self.finish(),
            Phase::Stopping if is_still && !cancelled && self.run_is_observed() => self.enter_run(Phase::Observing),
            Phase::Stopping if is_still => self.turn_back(),
            Phase::Observing if is_still && !self.draft.index.has_ready(&None) => self.turn_back(),
            Phase::Compensating => self.unwind(&None),
            Phase::Compensated => self.come_to_the_end(),
            Phase::Finally => {
                let plan = self.draft.run.plan();
                if plan.finally.iter().all(|&index| self.has_ended(&plan.steps[index].id)) {
                    self.finish();
                }
            }
            Phase::Rewinding => self.rewind(),
            Phase::Stopping | Phase::Observing | Phase::Closing => {}
        }
    }

    fn enter_run(&mut self, phase: Phase) {
        let deadline = match phase {
            Phase::Compensating => self.draft.run.plan().compensation_timeout.map(|timeout| self.context.now.plus(timeout)),
            _ => None,
        };
        self.push(EventKind::PhaseChanged { scope: None, phase, failure: None, deadline });
    }

    fn run_is_observed(&self) -> bool {
        let plan = self.draft.run.plan();
        plan.body.iter().any(|&index| plan.steps[index].run_on != RunOn::Success)
    }

    fn has_ended(&self, id: &StepId) -> bool {
        let instance = Instance::of(self.draft.run.plan(), id);
        instance.and_then(|instance| self.draft.current(&instance)).is_some_and(|state| state.status.is_final())
    }

    fn review_run_forward(&mut self) {
        let ended = self.draft.index.tallies.get(&None).map_or(0, |tally| tally.ended);
        if (ended as usize) < self.draft.run.plan().body.len() || self.draft.head().seq == 0 {
            return;
        }
        self.draft.begin_step();
        match self.run_output() {
            Err(failure) if self.draft.run.plan().finally.is_empty() && self.draft.index.undo_in(&None).next().is_none() => {
                self.end_run(RunStatus::Failed, None, Some(failure));
            }
            Err(failure) => self.fail_run(failure),
            Ok(_) => self.come_to_the_end(),
        }
    }

    /// What was executing has stopped: what was done is undone, or held, or stays.
    fn turn_back(&mut self) {
        let head = self.draft.head();
        let cancelled = head.cancelled_by.is_some();
        if self.has_no_slot() {
            return self.finish();
        }
        if !cancelled && self.draft.run.plan().on_failure == OnFailure::Hold {
            let failure = head.failure.clone();
            return self.ask_for_attention(AttentionCause::Hold, None, failure);
        }
        if !cancelled || head.cancel_compensates {
            if head.no_return > 0 {
                return self.point_of_no_return(&None);
            }
            if self.draft.index.undo_in(&None).next().is_some() {
                return self.enter_run(Phase::Compensating);
            }
        }
        self.come_to_the_end();
    }

    /// Only `finally` is left, if there is one.
    pub(super) fn come_to_the_end(&mut self) {
        if self.draft.run.plan().finally.is_empty() { self.finish() } else { self.enter_run(Phase::Finally) }
    }

    fn finish(&mut self) {
        // What nobody waits for, such as the steps of `on_attention`, is stopped first.
        if self.draft.index.has_open(&None) {
            return self.stop_steps(&None, "the run has ended");
        }
        let head = self.draft.head();
        if head.cancelled_by.is_some() {
            return self.end_run(RunStatus::Cancelled, None, None);
        }
        if head.failure.is_some() {
            return self.end_run(RunStatus::Failed, None, None);
        }
        match self.run_output() {
            Ok(output) => self.end_run(RunStatus::Succeeded, output, None),
            Err(failure) => self.end_run(RunStatus::Failed, None, Some(failure)),
        }
    }

    fn run_output(&self) -> Result<Option<Payload>, Failure> {
        let Some(template) = &self.draft.run.plan().output else { return Ok(None) };
        let value = template.render(&self.draft.view_of_run());
        if matches!(value, Err(crate::EvaluationError::TooLarge)) {
            return Err(Failure {
                kind: crate::failure_type::OUTPUT_TOO_LARGE.to_owned(),
                message: "the run's output is larger than 2 MiB".to_owned(),
                ..Failure::default()
            });
        }
        output(value, "output").map(Some)
    }

    fn end_run(&mut self, status: RunStatus, output: Option<Payload>, failure: Option<Failure>) {
        self.push(EventKind::RunEnded { status, output, failure, principal: None, reason: String::new() });
    }
}
