//! What follows in a container or an item after something changed in it: it completes, fails, is tried again, or goes on undoing.

use super::activate::output;
use super::{Decider, End, backoff, reserved};
use crate::run::{Instance, States, in_scope};
use crate::{
    EventKind, Failure, Millis, Payload, Phase, PlannedKind, PlannedRepeat, RetryPolicy, RunOn, ScopeState, StepId, StepStatus,
    failure_type,
};

/// What becomes of a scope that failed.
enum Handling {
    /// It is tried again.
    Retry(Millis),
    /// What needs it goes on, or its siblings do.
    Tolerate,
    /// What is around it fails, too.
    Nothing,
}

impl<'d> Decider<'_, 'd, '_> {
    pub(super) fn review_scope(&mut self, id: &StepId) {
        let Some(instance) = Instance::of(self.draft.run.plan(), id) else { return };
        let Some((status, ScopeState { phase, failure, .. })) =
            self.draft.current(&instance).and_then(|state| Some((state.status, state.scope.clone()?)))
        else {
            return;
        };
        let scope = Some(id.clone());
        if status.is_final() {
            if phase == Phase::Compensating {
                self.unwind(&scope);
            }
            return;
        }
        if status != StepStatus::Running {
            return;
        }
        let is_still = !self.draft.index.has_open(&scope);
        match phase {
            Phase::Forward => self.review_forward(&instance),
            Phase::Closing if is_still => self.complete(&instance),
            Phase::Stopping if is_still && failure.is_some() && self.is_observed(&instance) => self.enter(&instance, Phase::Observing),
            Phase::Stopping if is_still => self.conclude(&instance, failure),
            Phase::Observing if is_still && !self.draft.index.has_ready(&scope) => self.conclude(&instance, failure),
            Phase::Compensating => self.unwind(&scope),
            Phase::Compensated => self.handle(&instance, failure.unwrap_or_default()),
            Phase::Closing | Phase::Stopping | Phase::Observing | Phase::Finally | Phase::Rewinding => {}
        }
    }

    fn enter(&mut self, instance: &Instance<'d>, phase: Phase) {
        self.push(EventKind::PhaseChanged { scope: Some(instance.id.clone()), phase, failure: None, deadline: None });
    }

    fn is_observed(&self, instance: &Instance<'d>) -> bool {
        !instance.has_items() && instance.step.body.iter().any(|&index| self.draft.run.plan().steps[index].run_on != RunOn::Success)
    }

    fn review_forward(&mut self, instance: &Instance<'d>) {
        let scope = Some(instance.id.clone());
        let Some(tally) = self.draft.index.tallies.get(&scope).copied() else { return };
        match &instance.step.kind {
            PlannedKind::ForEach(_) if instance.item.is_none() => {
                let total = self.draft.current(instance).and_then(|state| state.scope.as_ref()).map_or(0, |scope| scope.total);
                if tally.succeeded + tally.failed == total && tally.open == 0 {
                    self.complete(instance);
                }
            }
            PlannedKind::Repeat(repeat) if instance.item.is_none() => {
                if tally.open == 0 {
                    self.review_repeat(instance, repeat, tally.next);
                }
            }
            _ if (tally.ended as usize) < instance.step.body.len() => {}
            // What watches is not part of the work.
            _ if self.draft.index.has_open(&scope) => {
                self.enter(instance, Phase::Closing);
                self.stop_steps(&scope, "the steps of the group have ended");
            }
            _ => self.complete(instance),
        }
    }

    fn review_repeat(&mut self, instance: &Instance<'d>, repeat: &PlannedRepeat, begun: u32) {
        let plan = self.draft.run.plan();
        let last = begun.checked_sub(1).and_then(|last| Instance::of(plan, &instance.id.item(last)));
        if let Some(last) = &last {
            // An iteration that begins again, after a repair, is not over.
            if !self.draft.current(last).is_some_and(|state| state.status.is_final()) {
                if !self.is_held_back(last) {
                    self.activate(last);
                }
                return;
            }
            self.draft.begin_step();
            match repeat.until.0.evaluate_bool(&self.draft.view(last)) {
                Ok(true) => return self.complete(instance),
                Ok(false) => {}
                Err(error) => return self.fail_scope(&Some(instance.id.clone()), error.into_failure("repeat.until")),
            }
        }
        if begun >= repeat.max_iterations {
            let message = format!("the condition did not hold after {begun} iterations");
            return self.fail_scope(&Some(instance.id.clone()), reserved(failure_type::ITERATION_LIMIT, message));
        }
        if let Some(next) = Instance::of(plan, &instance.id.item(begun)).filter(|next| !self.is_held_back(next)) {
            self.start_or_postpone(&next);
        }
    }

    /// Every step ended, and none failed in a way that was not handled.
    fn complete(&mut self, instance: &Instance<'d>) {
        self.draft.begin_step();
        match self.scope_output(instance) {
            Ok(output) => self.succeed(instance, output),
            Err(failure) if self.phase(&Some(instance.id.clone())) == Phase::Stopping => self.conclude(instance, Some(failure)),
            Err(failure) => self.fail_scope(&Some(instance.id.clone()), failure),
        }
    }

    fn scope_output(&self, instance: &Instance<'d>) -> Result<Option<Payload>, Failure> {
        let tally = self.draft.index.tallies.get(&Some(instance.id.clone())).copied().unwrap_or_default();
        match (&instance.step.kind, instance.item) {
            (PlannedKind::Group(group), _) => group.output.as_ref().map(|output| self.render(instance, output, "group.output")).transpose(),
            (PlannedKind::ForEach(items), Some(_)) => {
                items.collect.as_ref().map(|collect| self.render(instance, collect, "for_each.collect")).transpose()
            }
            (PlannedKind::ForEach(items), None) => {
                let mut text = format!(r#"{{"total":{},"succeeded":{},"failed":{}"#, tally.next, tally.succeeded, tally.failed);
                if items.collect.is_some() {
                    self.append_items(instance, tally.next, &mut text);
                }
                text.push('}');
                Ok(Some(Payload { data: text.into(), encoding: String::new() }))
            }
            (PlannedKind::Repeat(repeat), None) => match (&repeat.output, tally.next.checked_sub(1)) {
                (Some(template), Some(last)) => match Instance::of(self.draft.run.plan(), &instance.id.item(last)) {
                    Some(last) => output(template.0.render(&self.draft.view(&last)), "repeat.output").map(Some),
                    None => Ok(None),
                },
                _ => Ok(Some(Payload::json(&serde_json::json!({"iterations": tally.next})))),
            },
            _ => Ok(None),
        }
    }

    /// What was collected, in order; null for items that failed. More than a payload can hold is left out: it is read item by item.
    fn append_items(&self, instance: &Instance<'d>, total: u32, text: &mut String) {
        let before = text.len();
        text.push_str(r#","items":["#);
        for position in 0..total {
            let output = self.draft.entry(&instance.id.item(position)).and_then(|state| state.output.as_ref());
            let value = output.and_then(|output| std::str::from_utf8(&output.data).ok()).unwrap_or("null");
            if text.len() + value.len() + 16 > Payload::BYTES_MAX {
                return text.truncate(before);
            }
            if position > 0 {
                text.push(',');
            }
            text.push_str(value);
        }
        text.push(']');
    }

    /// Everything in the scope has a recorded end. Without a failure it was stopped from outside.
    fn conclude(&mut self, instance: &Instance<'d>, failure: Option<Failure>) {
        let Some(failure) = failure else { return self.end(instance, End::of(StepStatus::Cancelled)) };
        let scope = Some(instance.id.clone());
        if matches!(self.handling(instance, &failure), Handling::Nothing) {
            self.end(instance, End { failure: Some(failure.clone()), ..End::of(StepStatus::Failed) });
            return self.failed(instance, failure);
        }
        let own = instance.item.is_none() && instance.step.compensation.is_some() && self.has_begun(instance);
        match own || self.draft.index.undo_in(&scope).next().is_some() {
            true if self.is_bound(&scope) => self.point_of_no_return(&scope),
            true => self.enter(instance, Phase::Compensating),
            false => self.handle(instance, failure),
        }
    }

    /// A scope that failed has undone what it did, or there was nothing to undo.
    fn handle(&mut self, instance: &Instance<'d>, failure: Failure) {
        match self.handling(instance, &failure) {
            Handling::Retry(delay) => {
                let retry_at = self.context.now.plus(delay);
                self.push(EventKind::ScopeRetried { step: instance.id.clone(), failure, retry_at });
            }
            Handling::Tolerate => self.end(instance, End { failure: Some(failure), handled: true, ..End::of(StepStatus::Failed) }),
            Handling::Nothing => {
                self.end(instance, End { failure: Some(failure.clone()), ..End::of(StepStatus::Failed) });
                self.failed(instance, failure);
            }
        }
    }

    fn handling(&self, instance: &Instance<'d>, failure: &Failure) -> Handling {
        if self.phase(&instance.scope) != Phase::Forward && self.phase(&instance.scope) != Phase::Observing {
            return Handling::Nothing;
        }
        if instance.item.is_some() {
            let PlannedKind::ForEach(items) = &instance.step.kind else { return Handling::Nothing };
            let container = instance.scope.as_ref().and_then(|id| self.draft.entry(id)).and_then(|state| state.scope.as_ref());
            // One that has undone itself is counted already.
            let counted = matches!(self.phase(&Some(instance.id.clone())), Phase::Compensating | Phase::Compensated);
            let failed = self.draft.index.tallies.get(&instance.scope).map_or(0, |tally| tally.failed) + u32::from(!counted);
            let total = container.map_or(0, |scope| scope.total);
            return if items.tolerance.allows(failed.into(), total.into()) { Handling::Tolerate } else { Handling::Nothing };
        }
        if let Some(delay) = self.next_try(instance, failure) {
            return Handling::Retry(delay);
        }
        if instance.step.continue_on_error.matches(&failure.kind) { Handling::Tolerate } else { Handling::Nothing }
    }

    /// How long a container or a child waits before it is tried again, if it is.
    pub(super) fn next_try(&self, instance: &Instance<'d>, failure: &Failure) -> Option<Millis> {
        let policy: &RetryPolicy = instance.step.retry.as_ref()?;
        let failures = self.draft.current(instance)?.failures + 1;
        (super::attempt::is_retryable(policy, failure) && failures < policy.max_attempts).then(|| {
            let delay = backoff::delay(policy, failures, self.context.seed, super::attempt::salt(instance, failures));
            failure.retry_after.map_or(delay, |after| delay.max(after))
        })
    }

    /// True if a point of no return inside of a scope binds the run. Among items any one does.
    pub(super) fn is_bound(&self, scope: &Option<StepId>) -> bool {
        if self.draft.head().no_return == 0 {
            return false;
        }
        let plan = self.draft.run.plan();
        let Some(container) = scope.as_ref().and_then(|id| Instance::of(plan, id)) else { return true };
        let mut inner = container.step.body.clone();
        while let Some(index) = inner.pop() {
            let step = &plan.steps[index];
            if step.point_of_no_return {
                let id = in_scope(scope, step);
                let known = Instance::of(plan, &id).and_then(|inner| self.draft.current(&inner));
                // Below further items there is more than one, and any of them counts.
                if known.is_none_or(|state| state.no_return) {
                    return true;
                }
            }
            inner.extend(&step.body);
        }
        false
    }
}
