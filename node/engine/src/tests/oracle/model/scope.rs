//! Steps that begin, stop and are undone together.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::node::{Doing, Node, Run};
use super::join::{Join, join};
use super::shared::Shared;
use super::step::{Status, Step};

#[derive(Debug, Hash)]
pub(super) struct Scope {
    /// Its container or item; `None` for the run.
    id: Option<String>,
    /// What is put before the ids of its steps.
    pub(super) prefix: String,
    pub(super) phase: Phase,
    steps: Vec<Step>,
    pub(super) ended: u64,
    /// Of an item: its failure is tolerated.
    pub(super) tolerated: bool,
    /// Something in it failed. Otherwise it was stopped from outside, which nothing in it observes.
    pub(super) failed: bool,
    /// What failed it can't be helped by another try.
    pub(super) fatal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Running,
    /// Waits for the ends of what is live.
    Stopping,
    /// Runs the steps that observe failures.
    Observing,
    /// Undoes itself.
    Unwinding,
    Succeeded,
    Failed,
}

/// A scope, and a position in it.
pub(super) type Place = (Option<String>, usize);

impl Scope {
    pub(super) fn new(id: Option<String>, prefix: String, nodes: &[Node]) -> Self {
        Self {
            id,
            prefix,
            phase: Phase::Running,
            steps: nodes.iter().map(|_| Step::new()).collect(),
            ended: 0,
            tolerated: false,
            failed: false,
            fatal: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The step of an instance, wherever it is.
    pub(super) fn find<'s, 'n>(&'s mut self, nodes: &'n [Node], instance: &str) -> Option<(&'s mut Step, &'n Node)> {
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            if format!("{}{}", self.prefix, node.id) == instance {
                return Some((step, node));
            }
            for scope in &mut step.scopes {
                if let Some(found) = scope.find(node.body(), instance) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Steps of it whose own time runs, wherever they are.
    pub(super) fn timed(&self, nodes: &[Node], shared: &Shared, found: &mut BTreeSet<String>) {
        for (step, node) in self.steps.iter().zip(nodes) {
            let instance = format!("{}{}", self.prefix, node.id);
            if node.timeout && step.is_timed(node, &instance, shared) {
                found.insert(instance);
            }
            step.scopes.iter().for_each(|scope| scope.timed(node.body(), shared, found));
        }
    }

    /// Scopes in which something failed stop what is in them.
    pub(super) fn stop_failed(&mut self, nodes: &[Node], shared: &mut Shared) {
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            for scope in &mut step.scopes {
                scope.stop_failed(node.body(), shared);
            }
        }
        let waits = self.id.is_none() && shared.waits_for_people();
        if self.phase == Phase::Running && !waits {
            let failed = self.steps.iter().filter(|step| step.status == Status::Failed { handled: false });
            if let Some(first) = failed.min_by_key(|step| step.ended) {
                let fatal = first.fatal;
                self.fail(nodes, fatal, shared);
            }
        }
    }

    /// Something in it failed, or its time is over.
    pub(super) fn fail(&mut self, nodes: &[Node], fatal: bool, shared: &mut Shared) {
        if self.phase == Phase::Running {
            (self.failed, self.fatal) = (true, fatal);
            self.stop(nodes, shared);
        }
    }

    /// Where the next step is that can begin. What has begun goes on before something else begins: inner scopes first, each in plan order.
    pub(super) fn first_ready(&self, nodes: &[Node]) -> Option<Place> {
        let own = (0..nodes.len()).find(|index| self.is_ready(nodes, *index)).map(|index| (self.id.clone(), index));
        let inner =
            self.steps.iter().zip(nodes).flat_map(|(step, node)| step.scopes.iter().filter_map(|scope| scope.first_ready(node.body())));
        let items = self.steps.iter().zip(nodes).filter(|(step, node)| step.has_room(node));
        let items = items.map(|(step, node)| (Some(format!("{}{}", self.prefix, node.id)), step.scopes.len()));
        own.into_iter().chain(inner).chain(items).min_by_key(|(scope, index)| (Reverse(scope.clone()), *index))
    }

    fn is_ready(&self, nodes: &[Node], index: usize) -> bool {
        matches!(self.phase, Phase::Running | Phase::Observing)
            && self.steps[index].status == Status::Pending
            && nodes[index].needs.iter().all(|need| self.steps[*need].status.has_ended())
    }

    pub(super) fn start(&mut self, nodes: &[Node], place: &Place, shared: &mut Shared) {
        if self.id == place.0 {
            return self.start_step(&nodes[place.1], place.1, shared);
        }
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            let instance = format!("{}{}", self.prefix, node.id);
            if place.0.as_ref() == Some(&instance) && step.has_room(node) {
                return step.begin_item(node, &instance);
            }
            for scope in &mut step.scopes {
                scope.start(node.body(), place, shared);
            }
        }
    }

    /// Starts or skips a step that is ready.
    fn start_step(&mut self, node: &Node, index: usize, shared: &mut Shared) {
        let needs: Vec<Status> = node.needs.iter().map(|need| self.steps[*need].status).collect();
        let instance = format!("{}{}", self.prefix, node.id);
        let step = &mut self.steps[index];
        match join(node.run_on, &needs) {
            // Forward work is over.
            Join::Start if self.phase == Phase::Observing && node.run_on == Run::Success => step.end(Status::Cancelled, shared),
            Join::Start if node.off => step.end(Status::Skipped { upstream: false, by_failure: false }, shared),
            Join::Start => step.start(node, &instance, shared),
            Join::Skip { upstream, by_failure } => step.end(Status::Skipped { upstream, by_failure }, shared),
        }
    }

    /// Containers and items below it that are open.
    pub(super) fn collect_open(&self, nodes: &[Node], found: &mut Vec<String>) {
        for (step, node) in self.steps.iter().zip(nodes).filter(|(step, _)| step.status == Status::Open) {
            let instance = format!("{}{}", self.prefix, node.id);
            found.extend(step.scopes.iter().filter_map(|scope| scope.id.clone()).filter(|id| *id != instance));
            step.scopes.iter().for_each(|scope| scope.collect_open(node.body(), found));
            if node.is_container() {
                found.push(instance);
            }
        }
    }

    /// Nothing can begin: what follows from the ends of its steps. False if nothing does.
    pub(super) fn review(&mut self, nodes: &[Node], shared: &mut Shared) -> bool {
        let is_still = self.steps.iter().all(|step| step.status != Status::Open);
        let is_idle = is_still && !(0..nodes.len()).any(|index| self.is_ready(nodes, index));
        let has_failed = self.steps.iter().any(|step| step.status == Status::Failed { handled: false });
        match self.phase {
            Phase::Running if has_failed => return false,
            Phase::Running if self.steps.iter().all(|step| step.status.has_ended()) => self.close(Phase::Succeeded, shared),
            Phase::Stopping if is_still && self.failed && nodes.iter().any(|node| node.run_on != Run::Success) => {
                self.phase = Phase::Observing;
            }
            Phase::Stopping | Phase::Observing if is_idle => self.close(Phase::Failed, shared),
            Phase::Running | Phase::Stopping | Phase::Observing | Phase::Unwinding | Phase::Succeeded | Phase::Failed => return false,
        }
        true
    }

    pub(super) fn close(&mut self, phase: Phase, shared: &mut Shared) {
        self.phase = phase;
        self.ended = shared.tick();
    }

    /// Asks everything in it to stop.
    pub(super) fn stop(&mut self, nodes: &[Node], shared: &mut Shared) {
        match self.phase {
            Phase::Running => self.phase = Phase::Stopping,
            // What observes a failure is stopped by the scope around it only.
            Phase::Observing => self.phase = Phase::Stopping,
            // It stops already; what observes a failure further inside did not stop for that.
            Phase::Stopping => {}
            Phase::Unwinding | Phase::Succeeded | Phase::Failed => return,
        }
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            if step.status == Status::Open {
                step.stop(node, &format!("{}{}", self.prefix, node.id), shared);
            }
        }
    }

    /// Begins the next compensation of it, the last end first; false if nothing is left.
    pub(super) fn undo_next(&mut self, nodes: &[Node], shared: &mut Shared) -> bool {
        let mut order: Vec<usize> = (0..self.steps.len()).filter(|index| self.steps[*index].status.has_ended()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.steps[*index].ended));
        let Self { steps, prefix, .. } = self;
        order.into_iter().any(|index| steps[index].undo_next(&nodes[index], &format!("{prefix}{}", nodes[index].id), shared))
    }

    /// Something in it was executed; a container that was begun is enough.
    pub(super) fn has_begun(&self) -> bool {
        self.steps.iter().any(|step| step.status == Status::Succeeded || step.doubt || step.rounds > 0)
    }

    pub(super) fn has_live(&self, nodes: &[Node], shared: &Shared) -> bool {
        self.steps.iter().zip(nodes).any(|(step, node)| {
            let instance = format!("{}{}", self.prefix, node.id);
            shared.live.contains_key(&instance)
                || shared.live.contains_key(&format!("{instance}:compensate"))
                || step.undo_failed
                || step.has_live(node, shared)
        })
    }
}

/// True if it can be asked to stop, and goes on until it has.
pub(super) fn stops_slowly(doing: Doing) -> bool {
    matches!(doing, Doing::Attempt | Doing::Child)
}
