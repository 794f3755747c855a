//! Tells the shard's courier that a run may owe something to others: the short way, beside the index of what is owed.
//!
//! Losing such a note is harmless only for a moment: the index has it, and the courier looks there when a leadership begins.

use quorus_engine::{Event, EventKind, Run, RunUid, StepId};
use tokio::sync::mpsc;

use super::RunKey;

/// A run, or a step of it, owes something: what it is says `RunHead::owes` or `StepState::owes` of the applied state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owing {
    /// Name of the run.
    pub key: RunKey,
    /// The run.
    pub uid: RunUid,
    /// Which step; `None` for the run itself.
    pub step: Option<StepId>,
}

/// The way to a shard's courier. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwingSender(mpsc::UnboundedSender<Owing>);

impl OwingSender {
    /// A way, and where it leads.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Owing>) {
        // What flows here is bounded by what runs owe, which is on disk anyway.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells of everything that the applied events of a run made owed. `run` is the one after them; if it is another one under the same id, what
    /// the events are about is told without looking.
    pub(crate) fn tell(&self, key: &RunKey, run: &Run, uid: RunUid, events: &[Event]) {
        let current = run.info().uid == uid;
        let mut told = Vec::new();
        for event in events {
            let Some(step) = may_owe(event) else { continue };
            let owes = match step {
                _ if !current => true,
                Some(step) => run.step(step).is_some_and(|state| state.owes().is_some()),
                None => run.head().owes().next().is_some(),
            };
            if owes && !told.contains(&step) {
                told.push(step);
                // Without a courier the leadership is about to end; the next one finds it in the index.
                self.0.send(Owing { key: key.clone(), uid, step: step.cloned() }).ok();
            }
        }
    }
}

/// Which place an event may have put into debt, if any.
fn may_owe(event: &Event) -> Option<Option<&StepId>> {
    match &event.kind {
        EventKind::ChildRequested { step, .. }
        | EventKind::ChildCancelRequested { step, .. }
        | EventKind::ChildCompensationRequested { step, .. } => Some(Some(step)),
        EventKind::RunEnded { .. } | EventKind::SlotRequested { .. } => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorus_engine::{Definition, Kind, Millis, RunInfo, RunStatus, StepDefinition, Timestamp, Wait, plan};

    use super::*;

    #[test]
    fn what_an_earlier_run_of_the_id_owes_is_told_too() {
        let nap = Kind::Wait(Wait::For(Millis(1)));
        let step = StepDefinition { id: "nap".into(), kind: Some(nap), ..StepDefinition::default() };
        let plan = plan(&Definition { name: "w".into(), steps: vec![step], ..Definition::default() }).unwrap();
        let run = Run::new(RunInfo { uid: RunUid(2), ..RunInfo::default() }, Arc::new(plan));
        let ended =
            EventKind::RunEnded { status: RunStatus::Terminated, output: None, failure: None, principal: None, reason: String::new() };
        let (sender, mut receiver) = OwingSender::new();
        let key = RunKey::new("default", "r");
        sender.tell(&key, &run, RunUid(1), &[Event { time: Timestamp(1), kind: ended.clone() }]);
        assert_eq!(receiver.try_recv().ok(), Some(Owing { key: key.clone(), uid: RunUid(1), step: None }));
        // The current one owes nothing, since nobody started it and it has no slot.
        sender.tell(&key, &run, RunUid(2), &[Event { time: Timestamp(1), kind: ended }]);
        assert!(receiver.try_recv().is_err());
    }
}
