//! Children: runs that a step starts, waits for, cancels with itself, and may have undone. Each is asked for through what the run owes, see
//! [`crate::Owed`]; the answers come as commands.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::activate::{bounded_input, output};
use super::{Decider, End, reserved};
use crate::run::{Instance, States, View};
use crate::{
    ChildVersion, EventKind, Failure, Payload, Phase, PlannedChild, PlannedKind, Rejection, RunStatus, RunUid, StepId, StepStatus,
    failure_type,
};

/// The child was accepted. Hearing so again changes nothing.
pub(super) fn started(decider: &mut Decider<'_, '_, '_>, step: &StepId, child: RunUid) -> Result<(), Rejection> {
    let (instance, known) = decider.child(step, child)?;
    // A step that has ended does not wait for it any more.
    let waits = decider.draft.current(&instance).is_some_and(|state| state.status == StepStatus::Running);
    if waits && !known.started && known.ended.is_none() {
        decider.push(EventKind::ChildStarted { step: step.clone() });
        decider.settle();
    }
    Ok(())
}

/// How a child ended, and what it says.
pub(super) struct Ended<'c> {
    pub(super) status: RunStatus,
    pub(super) output: Option<&'c Payload>,
    pub(super) failure: Option<Failure>,
    /// It never began to do what it was asked for.
    pub(super) refused: bool,
}

/// The child ended. Hearing so again changes nothing.
pub(super) fn ended(decider: &mut Decider<'_, '_, '_>, step: &StepId, child: RunUid, ended: Ended<'_>) -> Result<(), Rejection> {
    let (instance, known) = decider.child(step, child)?;
    if known.ended.is_some() {
        return Ok(());
    }
    decider.push(EventKind::ChildEnded { step: step.clone(), status: ended.status, failure: ended.failure.clone() });
    // After a terminate nothing follows but that nothing is owed any more.
    if decider.draft.current(&instance).is_some_and(|state| state.status == StepStatus::Running) {
        decider.after_child(&instance, ended);
    }
    if !decider.draft.head().status.is_final() {
        decider.settle();
    }
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    fn child(&self, step: &StepId, child: RunUid) -> Result<(Instance<'d>, crate::ChildState), Rejection> {
        let instance = self.instance(step)?;
        let known = self.draft.entry(step).and_then(|state| state.child.as_deref()).filter(|known| known.uid == child);
        known.map(|known| (instance, known.clone())).ok_or_else(|| Rejection::UnknownChild(step.clone()))
    }

    /// For its first try, or again: another child.
    pub(super) fn request_child(&mut self, instance: &Instance<'d>, child: &PlannedChild) {
        let input = match &child.input {
            None => Ok(None),
            Some(input) => {
                let value = input.0.render(&self.draft.view(instance)).map_err(|error| error.into_failure("with"));
                value.and_then(|value| bounded_input(Payload::json(&value), "with")).map(Some)
            }
        };
        let input = match input {
            Ok(input) => input,
            Err(failure) => return self.fail_step(instance, failure),
        };
        let info = self.draft.run.info();
        let attempt = self.draft.current(instance).map_or(0, |state| state.attempt) + 1;
        let uid = self.child_uid(instance, attempt);
        self.push(EventKind::ChildRequested {
            step: instance.id.clone(),
            attempt,
            child: uid,
            run_id: format!("child-{uid}"),
            workflow: child.name.clone(),
            version: match child.version {
                ChildVersion::Pinned => info.pinned.get(&child.name).copied(),
                ChildVersion::Latest => None,
                ChildVersion::Number(version) => Some(version),
            },
            input,
            step_deadline: self.step_deadline(instance),
        });
        let is_bound = self.draft.current(instance).is_some_and(|state| state.no_return);
        if instance.step.point_of_no_return && !is_bound {
            self.push(EventKind::NoReturnBound { step: instance.id.clone() });
        }
    }

    /// Derived from what is random already, and recorded: the same for no other run, step and try.
    fn child_uid(&self, instance: &Instance<'d>, attempt: u32) -> RunUid {
        let parent = self.draft.run.info().uid.0;
        let words = [parent as u64, (parent >> 64) as u64, self.context.seed, self.draft.head().seq, u64::from(attempt)];
        let bytes = instance.id.as_str().bytes().map(u64::from);
        let mix = |start: u64| words.into_iter().chain(bytes.clone()).fold(start, |hash, word| super::backoff::splitmix(hash ^ word));
        RunUid(u128::from(mix(1)) << 64 | u128::from(mix(2)))
    }

    pub(super) fn request_child_compensation(&mut self, instance: &Instance<'d>, compensation: &Instance<'d>) {
        let Some(child) = self.draft.current(instance).and_then(|state| state.child.clone()) else { return };
        self.open_generation(compensation);
        self.push(EventKind::ChildCompensationRequested { step: compensation.id.clone(), child: child.uid, run_id: child.run_id });
    }

    /// What follows from the end of a child.
    fn after_child(&mut self, instance: &Instance<'d>, ended: Ended<'_>) {
        let Ended { status, output: value, failure, refused } = ended;
        let failed = |kind: &str, message: String| Failure { message, ..failure.clone().unwrap_or_else(|| reserved(kind, "")) };
        if instance.undoes {
            // What was undone has ended otherwise than well; that is what was asked for.
            return match status {
                RunStatus::Succeeded | RunStatus::Cancelled | RunStatus::Failed if !refused => self.succeed(instance, None),
                _ => {
                    let unable = || failed(failure_type::CHILD_FAILED, "the child run could not undo what it did".to_owned());
                    self.fail_step(instance, failure.clone().filter(|_| refused).unwrap_or_else(unable));
                }
            };
        }
        if status == RunStatus::Succeeded {
            return match self.child_output(instance, value) {
                Ok(output) => self.succeed(instance, output),
                Err(failure) => self.fail_step(instance, failure),
            };
        }
        let cancel = self.draft.current(instance).and_then(|state| state.child.as_ref()).and_then(|child| child.cancel.clone());
        // While people are waited for the run's own steps don't begin, but nothing has stopped them.
        let is_put_off =
            instance.scope.is_none() && self.is_held_back(instance) && matches!(self.phase(&None), Phase::Forward | Phase::Observing);
        let is_stopping = !self.draft.may_begin(instance) && !is_put_off;
        let failure = match (cancel, status) {
            (Some(_), _) if is_stopping => return self.end(instance, End { failure, ..End::of(StepStatus::Cancelled) }),
            // Only its own time could have cancelled it.
            (Some(reason), _) => Failure { non_retryable: true, ..reserved(failure_type::STEP_TIMEOUT, reason) },
            (None, RunStatus::Cancelled) => reserved(failure_type::CHILD_FAILED, "the child run was cancelled"),
            (None, RunStatus::Terminated) => reserved(failure_type::CHILD_FAILED, "the child run was terminated"),
            (None, _) => {
                let message = failure.as_ref().map_or("", |failure| failure.message.as_str());
                failed(failure_type::CHILD_FAILED, format!("the child run failed: {message}"))
            }
        };
        match self.next_try(instance, &failure).filter(|_| !is_stopping) {
            Some(delay) => {
                let retry_at = self.context.now.plus(delay);
                self.push(EventKind::ScopeRetried { step: instance.id.clone(), failure, retry_at });
            }
            None => self.fail_step(instance, failure),
        }
    }

    fn child_output(&self, instance: &Instance<'d>, value: Option<&Payload>) -> Result<Option<Payload>, Failure> {
        let PlannedKind::Workflow(PlannedChild { output: Some(template), .. }) = &instance.step.kind else { return Ok(value.cloned()) };
        self.draft.begin_step();
        let value = self.draft.parse(value, "the output of the child").map_err(|reason| reserved(failure_type::EXPRESSION, reason))?;
        let given = Value::Object(Map::from_iter([("output".to_owned(), (*value).clone())]));
        output(template.0.render(&View { given: Some(Arc::new(given)), ..self.draft.view(instance) }), "workflow.output").map(Some)
    }
}
