//! How attempts end: those of tasks, and those of compensations.

use super::super::node::{ChildEnd, Doing, Live, Node, Told, Verdict};
use super::shared::Shared;
use super::step::{Status, Step};

const PREEMPTIONS_MAX: u32 = 10;

impl Step {
    pub(super) fn attempt_ended(&mut self, node: &Node, instance: &str, live: Live, told: Told, shared: &mut Shared) {
        shared.live.remove(instance);
        let stopping = live.stopping;
        let handled = node.continue_on_error;
        let nothing_done = matches!(told, Told::Failed { nothing_done: true, .. } | Told::Stopped { nothing_done: true });
        self.acted |= !nothing_done;
        let retried = match told {
            Told::Succeeded => {
                self.doubt = false;
                return self.end(Status::Succeeded, shared);
            }
            Told::Failed { fatal, nothing_done } => {
                self.doubt |= !nothing_done;
                self.failures += 1;
                self.fatal = fatal;
                !fatal && self.failures < node.attempts
            }
            Told::TimedOut => {
                self.fatal = false;
                self.doubt = true;
                self.failures += 1;
                self.failures < node.attempts
            }
            Told::StepTimedOut => {
                (self.fatal, self.doubt) = (true, true);
                false
            }
            Told::Abandoned | Told::Released => {
                self.doubt |= told == Told::Abandoned;
                self.preemptions += 1;
                self.fatal = self.preemptions > PREEMPTIONS_MAX;
                !self.fatal
            }
            Told::Stopped { nothing_done } => {
                self.doubt |= !nothing_done;
                return self.end_and_lift(Status::Cancelled, instance, shared);
            }
            Told::Cut => {
                self.doubt = true;
                return self.end(Status::Cancelled, shared);
            }
            Told::Child(_) | Told::Word { .. } => panic!("an attempt does not end like this: {told:?}"),
        };
        match (retried, stopping) {
            (true, false) => shared.try_again(instance, Doing::Attempt),
            (true, true) => self.end_and_lift(Status::Cancelled, instance, shared),
            (false, _) => self.end_and_lift(Status::Failed { handled }, instance, shared),
        }
    }

    /// Its own time is over while it is not tried again for the sake of people.
    pub(super) fn held_too_long(&mut self, node: &Node, instance: &str, shared: &mut Shared) {
        shared.held.remove(instance);
        self.fatal = true;
        self.end(Status::Failed { handled: node.continue_on_error }, shared);
    }

    /// A point of no return binds no more if every attempt said that nothing was done.
    fn end_and_lift(&mut self, status: Status, instance: &str, shared: &mut Shared) {
        if !self.acted
            && let Some(binds) = shared.no_return.get_mut(instance)
        {
            *binds = false;
        }
        self.end(status, shared);
    }

    pub(super) fn undo_ended(&mut self, node: &Node, instance: &str, told: Told, shared: &mut Shared) {
        shared.live.remove(instance);
        let count = shared.undo.entry(instance.to_owned()).or_default();
        let again = match told {
            // A child that was asked to undo itself has ended otherwise than well.
            Told::Succeeded | Told::Child(ChildEnd::Failed { .. } | ChildEnd::Cancelled) => {
                self.undone = true;
                return;
            }
            Told::Child(ChildEnd::Terminated | ChildEnd::Refused) => false,
            Told::Failed { fatal, .. } => {
                count.failures += 1;
                !fatal && count.failures < node.undo.unwrap_or(1)
            }
            Told::TimedOut => {
                count.failures += 1;
                count.failures < node.undo.unwrap_or(1)
            }
            Told::Abandoned | Told::Released => {
                count.preemptions += 1;
                count.preemptions <= PREEMPTIONS_MAX
            }
            Told::Stopped { .. } | Told::Cut | Told::StepTimedOut | Told::Word { .. } => panic!("nobody stops a compensation"),
        };
        if again {
            shared.begin(instance, Doing::Attempt);
        } else {
            self.undo_failed = true;
            shared.verdict = Some(Verdict::NeedsAttention);
        }
    }
}
