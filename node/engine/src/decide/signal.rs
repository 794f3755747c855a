//! Signals: kept in order until a step takes them, each once.

use std::ops::Bound;
use std::sync::Arc;

use quorus_mutants::{Mutant, active};
use serde_json::{Value, json};

use super::Decider;
use crate::run::{Instance, View};
use crate::{EventKind, Failure, Payload, PlannedKind, PlannedSignal, Principal, Rejection, SIGNALS_UNREAD_MAX, SignalKey, Timestamp};

/// A signal that was seen before changes nothing.
pub(super) fn signal(
    decider: &mut Decider<'_, '_, '_>,
    name: &str,
    id: &str,
    payload: Option<&Payload>,
    principal: &Principal,
) -> Result<(), Rejection> {
    if decider.draft.index.signal_ids.contains(&id.to_owned()) && !active(Mutant::DoubledSignal) {
        return Ok(());
    }
    decider.alive()?;
    let known = &decider.draft.run.plan().signals;
    if !known.is_empty() && !known.contains_key(name) {
        return Err(Rejection::UnknownSignal(name.to_owned()));
    }
    if decider.draft.head().signals_unread >= SIGNALS_UNREAD_MAX {
        return Err(Rejection::TooManySignals);
    }
    if active(Mutant::LostSignal) && !decider.is_awaited(name) {
        return Ok(());
    }
    let (name_of, id, payload) = (name.to_owned(), id.to_owned(), payload.cloned());
    decider.push(EventKind::SignalReceived { name: name_of, id, payload, principal: principal.clone() });
    let key = SignalKey { name: name.into(), seq: decider.draft.head().seq };
    decider.offer(&key);
    decider.settle();
    Ok(())
}

impl<'d> Decider<'_, 'd, '_> {
    /// Only for [`Mutant::LostSignal`].
    fn is_awaited(&self, name: &str) -> bool {
        let first = (name.to_owned(), 0, "".into());
        self.draft.index.awaiting.from(Bound::Included(&first)).next().is_some_and(|((of, ..), ())| of == name)
    }

    /// The first step in plan order that waits for the signal and whose `match` it meets takes it.
    fn offer(&mut self, key: &SignalKey) {
        let first = (key.name.to_string(), 0, "".into());
        let waiting = self.draft.index.awaiting.from(Bound::Included(&first)).map(|(key, ())| key);
        let waiting: Vec<_> = waiting.take_while(|(name, ..)| *name == first.0).map(|(_, _, step)| step.clone()).collect();
        for step in waiting {
            let Some(instance) = Instance::of(self.draft.run.plan(), &step) else { continue };
            let PlannedKind::Signal(signal) = &instance.step.kind else { continue };
            self.draft.begin_step();
            match self.matches(&instance, signal, key) {
                Ok(true) => return self.take(&instance, key),
                Ok(false) => {}
                Err(failure) => self.fail_step(&instance, failure),
            }
        }
    }

    /// Takes the first signal that is there already, or waits.
    pub(super) fn await_signal(&mut self, instance: &Instance<'d>, signal: &PlannedSignal, step_deadline: Option<Timestamp>) {
        self.push(EventKind::StepAwaiting { step: instance.id.clone(), step_deadline });
        if !signal.buffered {
            return;
        }
        let first = SignalKey { name: signal.name.as_str().into(), seq: 0 };
        let unread = self.draft.index.unread.from(Bound::Included(&first)).map(|(key, ())| key);
        let unread: Vec<_> = unread.take_while(|key| *key.name == *signal.name).cloned().collect();
        for key in unread {
            match self.matches(instance, signal, &key) {
                Ok(true) => return self.take(instance, &key),
                Ok(false) => {}
                Err(failure) => return self.fail_step(instance, failure),
            }
        }
    }

    fn take(&mut self, instance: &Instance<'d>, key: &SignalKey) {
        let payload = self.draft.signal(key).and_then(|signal| signal.payload.clone());
        self.push(EventKind::SignalConsumed { signal: key.clone(), step: instance.id.clone() });
        self.succeed(instance, payload);
    }

    fn matches(&self, instance: &Instance<'d>, signal: &PlannedSignal, key: &SignalKey) -> Result<bool, Failure> {
        let Some(condition) = &signal.matches else { return Ok(true) };
        let Some(received) = self.draft.signal(key) else { return Ok(false) };
        // What is no JSON can be waited for, not looked into.
        let payload =
            self.draft.parse(received.payload.as_ref(), "the payload of the signal").map_or(Value::Null, |value| (*value).clone());
        let given = Some(Arc::new(json!({"id": received.id, "name": *key.name, "payload": payload})));
        condition.0.evaluate_bool(&View { given, ..self.draft.view(instance) }).map_err(|error| error.into_failure("signal.match"))
    }
}
