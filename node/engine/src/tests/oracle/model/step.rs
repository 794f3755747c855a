//! One step of a scope that exists: how it begins, ends, stops and is undone.

use super::super::node::{Doing, Node, What};
use super::scope::{Phase, Scope, stops_slowly};
use super::shared::Shared;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Status {
    Pending,
    Open,
    Succeeded,
    /// `handled`: its scope went on.
    Failed {
        handled: bool,
    },
    /// `by_failure`: something before it failed.
    Skipped {
        upstream: bool,
        by_failure: bool,
    },
    Cancelled,
}

impl Status {
    pub(super) fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Open)
    }
}

#[derive(Debug, Hash)]
pub(super) struct Step {
    pub(super) status: Status,
    /// When it ended, among all ends.
    pub(super) ended: u64,
    pub(super) failures: u32,
    pub(super) preemptions: u32,
    pub(super) doubt: bool,
    /// An attempt did not say that nothing was done.
    pub(super) acted: bool,
    /// It failed in a way that another try can't help.
    pub(super) fatal: bool,
    /// Its own compensation is done.
    pub(super) undone: bool,
    /// Its own compensation failed for good.
    pub(super) undo_failed: bool,
    /// Who approved.
    pub(super) approvals: Vec<u8>,
    /// Of a child: the step's own time is over.
    pub(super) timed_out: bool,
    /// Of a container: how often it was run.
    pub(super) rounds: u32,
    /// Of a group one, of others one per item or iteration that was begun.
    pub(super) scopes: Vec<Scope>,
    pub(super) failed_items: usize,
    /// A scope in it failed, and the container does not tolerate that.
    pub(super) failing: bool,
    /// The scope around it asked it to stop.
    pub(super) stopped: bool,
    /// It undoes all its scopes, since its failure is handled.
    pub(super) unwinding: bool,
    /// It is to be tried again, when nothing else follows.
    pub(super) again: bool,
}

impl Step {
    pub(super) fn new() -> Self {
        Self {
            status: Status::Pending,
            ended: 0,
            failures: 0,
            preemptions: 0,
            doubt: false,
            acted: false,
            fatal: false,
            undone: false,
            undo_failed: false,
            approvals: Vec::new(),
            timed_out: false,
            rounds: 0,
            scopes: Vec::new(),
            failed_items: 0,
            failing: false,
            stopped: false,
            unwinding: false,
            again: false,
        }
    }

    pub(super) fn end(&mut self, status: Status, shared: &mut Shared) {
        self.status = status;
        self.ended = shared.tick();
    }

    pub(super) fn start(&mut self, node: &Node, instance: &str, shared: &mut Shared) {
        self.status = Status::Open;
        match &node.kind {
            What::Task(_) => {
                if node.no_return {
                    shared.no_return.insert(instance.to_owned(), true);
                }
                shared.begin(instance, Doing::Attempt);
            }
            What::Set => self.end(Status::Succeeded, shared),
            What::Fail => {
                self.fatal = true;
                self.end(Status::Failed { handled: node.continue_on_error }, shared);
            }
            What::Wait => shared.begin(instance, Doing::Sleep),
            What::Signal { name, only, buffered } => {
                if *buffered && shared.take(name, *only) {
                    self.end(Status::Succeeded, shared);
                } else {
                    shared.begin(instance, Doing::Signal);
                }
            }
            What::Approval { .. } => shared.begin(instance, Doing::Approval),
            What::Child { .. } => shared.begin(instance, Doing::Child),
            What::Group(_) | What::Each { .. } | What::Repeat { .. } => self.run_scopes(node, instance),
        }
    }

    /// The scope around it stops.
    pub(super) fn stop(&mut self, node: &Node, instance: &str, shared: &mut Shared) {
        self.stopped = true;
        let stays = matches!(node.kind, What::Child { stays: true, .. });
        match shared.live.get_mut(instance) {
            Some(live) if stops_slowly(live.doing) && !stays => live.stopping = true,
            Some(_) => {
                shared.live.remove(instance);
                self.end(Status::Cancelled, shared);
            }
            None if shared.held.remove(instance) || self.again => self.end(Status::Cancelled, shared),
            None => self.scopes.iter_mut().for_each(|scope| scope.stop(node.body(), shared)),
        }
    }

    /// Its own time runs: it is open, and nobody has told it to stop.
    pub(super) fn is_timed(&self, node: &Node, instance: &str, shared: &Shared) -> bool {
        match shared.live.get(instance) {
            Some(live) => !live.stopping,
            None if shared.held.contains(instance) => true,
            None => {
                let is_failing = matches!(node.kind, What::Group(_)) && self.scopes.iter().any(|scope| scope.phase != Phase::Running);
                self.goes_on() && node.is_container() && !is_failing
            }
        }
    }

    /// Begins the next compensation of it; false if nothing is left.
    pub(super) fn undo_next(&mut self, node: &Node, instance: &str, shared: &mut Shared) -> bool {
        let compensation = format!("{instance}:compensate");
        if let What::Child { undoes: true, .. } = node.kind {
            let is_due = !self.undone && self.status == Status::Succeeded;
            if is_due {
                shared.begin(&compensation, Doing::Child);
            }
            return is_due;
        }
        if node.undo.is_some() {
            let is_due = !self.undone && (self.status == Status::Succeeded || self.doubt || self.has_begun(node));
            if is_due {
                shared.undo.remove(&compensation);
                shared.begin(&compensation, Doing::Attempt);
            }
            return is_due;
        }
        self.undo_scopes(node, shared)
    }

    /// Something in it was executed; an item or iteration that was begun is enough.
    fn has_begun(&self, node: &Node) -> bool {
        !self.scopes.is_empty() && (!matches!(node.kind, What::Group(_)) || self.scopes[0].has_begun())
    }

    pub(super) fn undo_scopes(&mut self, node: &Node, shared: &mut Shared) -> bool {
        let mut order: Vec<usize> = (0..self.scopes.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.scopes[*index].ended));
        order.into_iter().any(|index| self.scopes[index].undo_next(node.body(), shared))
    }

    pub(super) fn has_live(&self, node: &Node, shared: &Shared) -> bool {
        self.scopes.iter().any(|scope| scope.has_live(node.body(), shared))
    }
}
