//! FireTimer: a durable timer is due. One that the state no longer has is stale.

use quorus_mutants::{Mutant, active};

use super::schedule::FirstTime;
use super::{Decider, reserved};
use crate::run::{Instance, States};
use crate::{
    AttentionCause, EventKind, Failure, Outcome, PlannedKind, Rejection, RunStatus, StepId, StepState, StepStatus, TimerKind, Timestamp,
    failure_type,
};

pub(super) fn fire_timer(
    decider: &mut Decider<'_, '_, '_>,
    step: Option<&StepId>,
    kind: TimerKind,
    due: Timestamp,
) -> Result<(), Rejection> {
    decider.alive()?;
    let armed = decider.armed(step, kind)?;
    if armed != Some(due) {
        return Err(Rejection::StaleTimer);
    }
    if decider.context.now < due && !active(Mutant::EarlyTimers) {
        return Err(Rejection::TimerNotDue(due));
    }
    // The end of a grace period acts at once: it only stops something.
    if kind != TimerKind::CancelGrace {
        decider.not_paused()?;
    }
    if let Some(step) = step.filter(|_| kind == TimerKind::Due)
        && decider.begins_something(step)
        && decider.is_held_back(&decider.instance(step)?)
    {
        return Err(Rejection::HeldBack(step.clone()));
    }
    decider.fire(step, kind)?;
    decider.settle();
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    /// When the timer is due, if it is armed.
    fn armed(&self, step: Option<&StepId>, kind: TimerKind) -> Result<Option<Timestamp>, Rejection> {
        let Some(step) = step else {
            return Ok(self.draft.head().timers().find(|(of, _)| *of == kind).map(|(_, due)| due));
        };
        let state = self.draft.current(&self.instance(step)?).ok_or(Rejection::StaleTimer)?;
        Ok(state.timers().find(|(of, _)| *of == kind).map(|(_, due)| due))
    }

    /// True if something begins when its sleep is over; that of a wait is only its end.
    pub(super) fn begins_something(&self, step: &StepId) -> bool {
        let Some(state) = self.draft.entry(step) else { return false };
        let is_wait =
            self.instance(step).is_ok_and(|instance| matches!(instance.step.kind, PlannedKind::Wait(_)) && instance.item.is_none());
        !is_wait || is_postponed(state)
    }

    /// A timer that is due acts.
    pub(super) fn fire(&mut self, step: Option<&StepId>, kind: TimerKind) -> Result<(), Rejection> {
        let Some(step) = step else {
            self.fire_of_run(kind);
            return Ok(());
        };
        let instance = self.instance(step)?;
        let state = self.draft.current(&instance).ok_or(Rejection::StaleTimer)?.clone();
        match kind {
            TimerKind::Due => self.wake(&instance, &state),
            TimerKind::StepTimeout => self.time_out(&instance, &state),
            TimerKind::CancelGrace => self.end_attempt(&instance, &state, Outcome::Cancelled { nothing_done: false }),
            TimerKind::RunTimeout | TimerKind::CompensationTimeout | TimerKind::SlotTimeout => {}
        }
        Ok(())
    }

    fn fire_of_run(&mut self, kind: TimerKind) {
        match kind {
            TimerKind::RunTimeout => {
                let failure = reserved(failure_type::RUN_TIMEOUT, "the run took longer than its timeout");
                match self.draft.head().status {
                    RunStatus::Queued => self.deny_slot(failure),
                    _ => self.fail_run(failure),
                }
            }
            TimerKind::CompensationTimeout => {
                let failure = reserved(failure_type::COMPENSATION_TIMEOUT, "the compensation took longer than its timeout");
                self.ask_for_attention(AttentionCause::CompensationTimeout, None, Some(failure));
            }
            TimerKind::SlotTimeout => {
                self.deny_slot(reserved(failure_type::CONCURRENCY, "the run waited too long for others with its concurrency key"));
            }
            TimerKind::Due | TimerKind::StepTimeout | TimerKind::CancelGrace => {}
        }
    }

    /// A wait or a back-off is over, or the turn has come of a step that was postponed, or of an item.
    fn wake(&mut self, instance: &Instance<'d>, state: &StepState) {
        let is_wait = matches!(instance.step.kind, PlannedKind::Wait(_));
        match (state.status, &instance.step.kind) {
            (StepStatus::Waiting, _) if instance.item.is_some() || is_postponed(state) => self.activate(instance),
            (StepStatus::Waiting, _) if is_wait => self.succeed(instance, None),
            (StepStatus::BackingOff, PlannedKind::Task(task)) => self.schedule(instance, task, FirstTime::default()),
            (StepStatus::BackingOff, PlannedKind::Workflow(child)) => self.request_child(instance, child),
            (StepStatus::BackingOff, _) => self.start_scope(instance),
            // Nothing else sleeps.
            _ => {}
        }
    }

    /// The live attempt, if any, is cut; nothing is tried again.
    fn time_out(&mut self, instance: &Instance<'d>, state: &StepState) {
        let failure = reserved(failure_type::STEP_TIMEOUT, "the step took longer than its timeout");
        let failure = Failure { non_retryable: true, ..failure };
        match state.status {
            StepStatus::Leased => {
                let outcome = Outcome::TimedOut(failure.clone());
                self.push(EventKind::AttemptEnded { step: instance.id.clone(), attempt: state.attempt, outcome, retry_at: None });
                self.fail_step(instance, failure);
            }
            // It ends when its child, or what is in it, has ended.
            StepStatus::Running if state.child.is_some() => self.cancel_child(instance, &failure.message),
            StepStatus::Running => self.fail_scope(&Some(instance.id.clone()), failure),
            _ => self.fail_step(instance, failure),
        }
    }
}

/// A wait that was due when it began would have ended at once; so this one is no wait.
fn is_postponed(state: &StepState) -> bool {
    state.due == state.ready_at
}
