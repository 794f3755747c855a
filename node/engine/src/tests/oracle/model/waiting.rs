//! How signals, people, sleeps and children answer.

use super::super::node::{ChildEnd, Doing, Live, Node, Told, What};
use super::shared::Shared;
use super::step::{Status, Step};

impl Step {
    /// Of a sleep, a signal or an approval.
    pub(super) fn answered(&mut self, node: &Node, instance: &str, told: Told, shared: &mut Shared) {
        let status = match told {
            Told::Succeeded => Status::Succeeded,
            Told::Word { who, yes: true } => {
                let What::Approval { required } = node.kind else { panic!("{instance} asks nobody") };
                if !self.approvals.contains(&who) {
                    self.approvals.push(who);
                }
                if self.approvals.len() < required {
                    return;
                }
                Status::Succeeded
            }
            // Who has spoken has spoken.
            Told::Word { who, yes: false } if self.approvals.contains(&who) => return,
            Told::StepTimedOut | Told::Word { yes: false, .. } => {
                self.fatal = true;
                Status::Failed { handled: node.continue_on_error }
            }
            _ => panic!("{instance} does not end like this: {told:?}"),
        };
        shared.live.remove(instance);
        self.end(status, shared);
    }

    pub(super) fn child_told(&mut self, node: &Node, instance: &str, live: Live, told: Told, shared: &mut Shared) {
        if told == Told::StepTimedOut {
            // It ends when the child has.
            self.timed_out = true;
            shared.live.insert(instance.to_owned(), Live { stopping: true, ..live });
            return;
        }
        shared.live.remove(instance);
        let fatal = match told {
            Told::Succeeded => {
                self.doubt = false;
                return self.end(Status::Succeeded, shared);
            }
            Told::Child(ChildEnd::Failed { fatal }) => fatal,
            Told::Child(ChildEnd::Terminated) => {
                self.doubt = true;
                false
            }
            Told::Child(ChildEnd::Cancelled | ChildEnd::Refused) => false,
            _ => panic!("a child does not end like this: {told:?}"),
        };
        if self.stopped {
            return self.end(Status::Cancelled, shared);
        }
        self.failures += 1;
        self.fatal = fatal || self.timed_out;
        if !self.fatal && self.failures < node.attempts {
            shared.try_again(instance, Doing::Child);
        } else {
            self.end(Status::Failed { handled: node.continue_on_error }, shared);
        }
    }
}
