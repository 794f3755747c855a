//! A step with scopes in it: a group, items, iterations.

use super::super::node::{Node, What};
use super::scope::{Phase, Scope};
use super::shared::Shared;
use super::step::{Status, Step};

impl Step {
    /// Another item may begin.
    pub(super) fn has_room(&self, node: &Node) -> bool {
        let What::Each { items, parallel, .. } = &node.kind else { return false };
        let open = self.scopes.iter().filter(|scope| !scope.is_closed()).count();
        self.goes_on() && self.scopes.len() < *items && open < *parallel
    }

    /// Nothing has told it to stop.
    pub(super) fn goes_on(&self) -> bool {
        self.status == Status::Open && !self.failing && !self.stopped && !self.unwinding
    }

    pub(super) fn begin_item(&mut self, node: &Node, instance: &str) {
        let item = format!("{instance}[{}]", self.scopes.len());
        self.scopes.push(Scope::new(Some(item.clone()), format!("{item}."), node.body()));
    }

    pub(super) fn run_scopes(&mut self, node: &Node, instance: &str) {
        self.rounds += 1;
        self.scopes.clear();
        self.failed_items = 0;
        (self.failing, self.unwinding, self.undone, self.fatal, self.again) = (false, false, false, false, false);
        if let What::Group(body) = &node.kind {
            // A group puts nothing before the ids in it beyond what is before its own.
            let prefix = instance.rfind('.').map_or("", |dot| &instance[..=dot]);
            self.scopes.push(Scope::new(Some(instance.to_owned()), prefix.to_owned(), body));
        }
    }

    /// Its own time is over.
    pub(super) fn time_out_scopes(&mut self, node: &Node, shared: &mut Shared) {
        if matches!(node.kind, What::Group(_)) {
            return self.scopes[0].fail(node.body(), true, shared);
        }
        self.fail_scopes(node, true, shared);
    }

    fn fail_scopes(&mut self, node: &Node, fatal: bool, shared: &mut Shared) {
        (self.failing, self.fatal) = (true, fatal);
        self.scopes.iter_mut().for_each(|scope| scope.stop(node.body(), shared));
    }

    /// An open container: what its scopes' ends lead to. False if nothing follows.
    pub(super) fn review(&mut self, node: &Node, instance: &str, shared: &mut Shared) -> bool {
        if self.status != Status::Open {
            return false;
        }
        if self.unwinding {
            return self.review_unwinding(node, instance, shared);
        }
        let mut changed = false;
        match &node.kind {
            What::Each { items, .. } => {
                if self.goes_on() && self.scopes.len() == *items && self.scopes.iter().all(Scope::is_closed) {
                    self.end(Status::Succeeded, shared);
                    return true;
                }
            }
            What::Repeat { until, most, .. } => {
                if self.goes_on() && self.scopes.iter().all(Scope::is_closed) {
                    match self.scopes.len() {
                        done if done > 0 && done >= *until => self.end(Status::Succeeded, shared),
                        done if done < *most && shared.waits_for_people() => return false,
                        done if done < *most => self.begin_item(node, instance),
                        _ => self.fail_scopes(node, false, shared),
                    }
                    return true;
                }
            }
            _ => {
                changed = self.scopes[0].review(node.body(), shared);
                match self.scopes[0].phase {
                    Phase::Succeeded if !self.stopped => {
                        self.end(Status::Succeeded, shared);
                        return true;
                    }
                    Phase::Failed if self.scopes[0].failed => {
                        self.failing = true;
                        self.fatal = self.scopes[0].fatal;
                    }
                    _ => {}
                }
            }
        }
        let has_failed = (self.failing || self.stopped) && self.scopes.iter().all(Scope::is_closed);
        if has_failed {
            if self.stopped {
                let status = if self.failing { Status::Failed { handled: false } } else { Status::Cancelled };
                self.end(status, shared);
            } else if self.rounds < node.attempts && !self.fatal || node.continue_on_error {
                self.unwinding = true;
            } else {
                self.end(Status::Failed { handled: false }, shared);
            }
        }
        changed || has_failed
    }

    /// Its failure is handled after it has undone itself, by its own means if it has any.
    fn review_unwinding(&mut self, node: &Node, instance: &str, shared: &mut Shared) -> bool {
        if self.again || self.undo_failed || shared.live.contains_key(&format!("{instance}:compensate")) || self.has_live(node, shared) {
            return false;
        }
        if self.undo_next(node, instance, shared) {
            return true;
        }
        if self.rounds < node.attempts && !self.fatal && !self.stopped {
            self.again = true;
        } else {
            // Nothing is handled in a scope that is being stopped.
            self.end(Status::Failed { handled: node.continue_on_error && !self.stopped }, shared);
        }
        true
    }

    /// An item or iteration: a tolerated one undoes itself, another one fails the step.
    pub(super) fn review_item(&mut self, node: &Node, index: usize, shared: &mut Shared) -> bool {
        if self.status != Status::Open || self.unwinding {
            return false;
        }
        let tolerated = if let What::Each { tolerated, .. } = node.kind { tolerated } else { 0 };
        let scope = &mut self.scopes[index];
        let changed = scope.review(node.body(), shared);
        match scope.phase {
            Phase::Failed if scope.tolerated || self.failing || self.stopped => changed,
            Phase::Failed if self.failed_items < tolerated => {
                self.failed_items += 1;
                scope.tolerated = true;
                scope.phase = Phase::Unwinding;
                true
            }
            Phase::Failed => {
                let fatal = scope.fatal;
                self.fail_scopes(node, fatal, shared);
                true
            }
            Phase::Unwinding => {
                if scope.has_live(node.body(), shared) {
                    return false;
                }
                if !scope.undo_next(node.body(), shared) {
                    scope.close(Phase::Failed, shared);
                }
                true
            }
            Phase::Running | Phase::Stopping | Phase::Observing | Phase::Succeeded => changed,
        }
    }
}
