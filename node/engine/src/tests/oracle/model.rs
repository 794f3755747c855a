//! A small model of how scopes fail, unwind and end, written from the language's documentation and sharing nothing with the engine.
//!
//! It knows no events, no log and no timers: a tree of steps, a set of live attempts, and what each outcome leads to. What it says is live
//! after each outcome must be what the engine holds leases on, and what it says of the end must be how the run ends.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::node::{Live, Node, Run, Told, Verdict, What};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
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
    fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Open)
    }
}

/// A step of a scope that exists.
#[derive(Debug, Hash)]
struct Step {
    status: Status,
    /// When it ended, among all ends.
    ended: u64,
    failures: u32,
    preemptions: u32,
    doubt: bool,
    /// It failed in a way that another try can't help.
    fatal: bool,
    /// Of a task: it was undone.
    undone: bool,
    /// Of a container: how often it was run.
    rounds: u32,
    /// Of a group one, of a for_each one per item that was begun.
    scopes: Vec<Scope>,
    failed_items: usize,
    /// A scope in it failed, and the container does not tolerate that.
    failing: bool,
    /// The scope around it asked it to stop.
    stopped: bool,
    /// It undoes all its scopes, since its failure is handled.
    unwinding: bool,
}

#[derive(Debug, Hash)]
struct Scope {
    /// Its container or item; `None` for the run.
    id: Option<String>,
    /// What is put before the ids of its steps.
    prefix: String,
    phase: Phase,
    steps: Vec<Step>,
    ended: u64,
    /// Of an item: its failure is tolerated.
    tolerated: bool,
    /// Something in it failed. Otherwise it was stopped from outside, which nothing in it observes.
    failed: bool,
    /// What failed it can't be helped by another try.
    fatal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
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

/// The model of one run.
#[derive(Debug)]
pub(super) struct Model<'n> {
    nodes: &'n [Node],
    root: Scope,
    shared: Shared,
}

/// What all scopes of a run share.
#[derive(Debug, Default, Hash)]
struct Shared {
    live: BTreeMap<String, Live>,
    clock: u64,
    /// How the compensations went, by instance.
    undo: BTreeMap<String, Count>,
    /// Points of no return that were passed, and whether they bind.
    no_return: BTreeMap<String, bool>,
    verdict: Option<Verdict>,
}

#[derive(Debug, Default, Hash)]
struct Count {
    failures: u32,
    preemptions: u32,
}

const PREEMPTIONS_MAX: u32 = 10;

impl<'n> Model<'n> {
    pub(super) fn new(nodes: &'n [Node]) -> Self {
        let mut model = Self { nodes, root: Scope::new(None, String::new(), nodes), shared: Shared::default() };
        model.settle();
        model
    }

    pub(super) fn live(&self) -> &BTreeMap<String, Live> {
        &self.shared.live
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.shared.verdict
    }

    /// An attempt ends.
    pub(super) fn tell(&mut self, instance: &str, told: Told) {
        let Some(live) = self.shared.live.remove(instance) else { panic!("{instance} is not live") };
        let (of, undoing) = instance.strip_suffix(":compensate").map_or((instance, false), |of| (of, true));
        let Some((step, node)) = self.root.find(self.nodes, of) else { panic!("there is no {of}") };
        if undoing {
            step.undo_ended(node, instance, told, &mut self.shared);
        } else {
            step.attempt_ended(node, instance, live.stopping, told, &mut self.shared);
        }
        self.settle();
    }

    /// What ends in one scope may start something in another: until nothing changes.
    fn settle(&mut self) {
        while self.shared.verdict.is_none() {
            let before = self.fingerprint();
            self.root.stop_failed(self.nodes, &mut self.shared);
            match self.root.first_ready(self.nodes) {
                Some(place) => self.root.start(self.nodes, &place, &mut self.shared),
                None => {
                    self.root.review(self.nodes, &mut self.shared);
                    self.settle_root();
                }
            }
            if self.fingerprint() == before {
                return;
            }
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.root, &self.shared).hash(&mut hasher);
        hasher.finish()
    }

    fn settle_root(&mut self) {
        match self.root.phase {
            Phase::Succeeded => self.shared.verdict = Some(Verdict::Succeeded),
            Phase::Failed if self.shared.no_return.values().any(|binds| *binds) => self.shared.verdict = Some(Verdict::NeedsAttention),
            Phase::Failed => self.root.phase = Phase::Unwinding,
            Phase::Unwinding => {
                if self.shared.live.is_empty() && !self.root.undo_next(self.nodes, &mut self.shared) {
                    self.shared.verdict = Some(Verdict::Failed);
                }
            }
            Phase::Running | Phase::Stopping | Phase::Observing => {}
        }
    }
}

impl Shared {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn begin(&mut self, instance: &str) {
        self.live.insert(instance.to_owned(), Live { stopping: false });
    }
}

impl Scope {
    fn new(id: Option<String>, prefix: String, nodes: &[Node]) -> Self {
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

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The step of an instance, wherever it is.
    fn find<'s, 'n>(&'s mut self, nodes: &'n [Node], instance: &str) -> Option<(&'s mut Step, &'n Node)> {
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

    /// Scopes in which something failed stop what is in them.
    fn stop_failed(&mut self, nodes: &[Node], shared: &mut Shared) {
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            for scope in &mut step.scopes {
                scope.stop_failed(node.body(), shared);
            }
        }
        if self.phase == Phase::Running {
            let failed = self.steps.iter().filter(|step| step.status == Status::Failed { handled: false });
            if let Some(first) = failed.min_by_key(|step| step.ended) {
                (self.failed, self.fatal) = (true, first.fatal);
                self.stop(nodes, shared);
            }
        }
    }

    /// Where the next step is that can begin: outer scopes first, then by name and place.
    fn first_ready(&self, nodes: &[Node]) -> Option<Place> {
        let own = (0..nodes.len()).find(|index| self.is_ready(nodes, *index)).map(|index| (self.id.clone(), index));
        let inner =
            self.steps.iter().zip(nodes).flat_map(|(step, node)| step.scopes.iter().filter_map(|scope| scope.first_ready(node.body())));
        let items = self.steps.iter().zip(nodes).filter(|(step, node)| step.has_room(node));
        let items = items.map(|(step, node)| (Some(format!("{}{}", self.prefix, node.id)), step.scopes.len()));
        own.into_iter().chain(inner).chain(items).min()
    }

    fn is_ready(&self, nodes: &[Node], index: usize) -> bool {
        matches!(self.phase, Phase::Running | Phase::Observing)
            && self.steps[index].status == Status::Pending
            && nodes[index].needs.iter().all(|need| self.steps[*need].status.has_ended())
    }

    fn start(&mut self, nodes: &[Node], place: &Place, shared: &mut Shared) {
        if self.id == place.0 {
            return self.start_step(&nodes[place.1], place.1, shared);
        }
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            let instance = format!("{}{}", self.prefix, node.id);
            if place.0.as_ref() == Some(&instance) && step.has_room(node) {
                let item = format!("{instance}[{}]", place.1);
                step.scopes.push(Scope::new(Some(item.clone()), format!("{item}."), node.body()));
                return;
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
        match decide(node.run_on, &needs) {
            // Forward work is over.
            Decision::Start if self.phase == Phase::Observing && node.run_on == Run::Success => step.end(Status::Cancelled, shared),
            Decision::Start => step.start(node, &instance, shared),
            Decision::Skip { upstream, by_failure } => step.end(Status::Skipped { upstream, by_failure }, shared),
        }
    }

    /// Nothing can begin: what follows from the ends.
    fn review(&mut self, nodes: &[Node], shared: &mut Shared) {
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            if step.status == Status::Open && !node.body().is_empty() {
                step.review(node, &format!("{}{}", self.prefix, node.id), shared);
            }
        }
        let is_still = self.steps.iter().all(|step| step.status != Status::Open);
        let is_idle = is_still && !(0..nodes.len()).any(|index| self.is_ready(nodes, index));
        let has_failed = self.steps.iter().any(|step| step.status == Status::Failed { handled: false });
        match self.phase {
            Phase::Running if has_failed => {}
            Phase::Running if self.steps.iter().all(|step| step.status.has_ended()) => self.close(Phase::Succeeded, shared),
            Phase::Stopping if is_still && self.failed => self.phase = Phase::Observing,
            Phase::Stopping | Phase::Observing if is_idle => self.close(Phase::Failed, shared),
            Phase::Running | Phase::Stopping | Phase::Observing | Phase::Unwinding | Phase::Succeeded | Phase::Failed => {}
        }
    }

    fn close(&mut self, phase: Phase, shared: &mut Shared) {
        self.phase = phase;
        self.ended = shared.tick();
    }

    /// Asks everything in it to stop.
    fn stop(&mut self, nodes: &[Node], shared: &mut Shared) {
        match self.phase {
            Phase::Running => self.phase = Phase::Stopping,
            // What observes a failure is stopped by the scope around it only.
            Phase::Observing => self.phase = Phase::Stopping,
            Phase::Stopping | Phase::Unwinding | Phase::Succeeded | Phase::Failed => return,
        }
        for (step, node) in self.steps.iter_mut().zip(nodes) {
            if step.status != Status::Open {
                continue;
            }
            step.stopped = true;
            match shared.live.get_mut(&format!("{}{}", self.prefix, node.id)) {
                Some(live) => live.stopping = true,
                None => step.scopes.iter_mut().for_each(|scope| scope.stop(node.body(), shared)),
            }
        }
    }

    /// Begins the next compensation of it, the last end first; false if nothing is left.
    fn undo_next(&mut self, nodes: &[Node], shared: &mut Shared) -> bool {
        let mut order: Vec<usize> = (0..self.steps.len()).filter(|index| self.steps[*index].status.has_ended()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.steps[*index].ended));
        let Self { steps, prefix, .. } = self;
        order.into_iter().any(|index| steps[index].undo_next(&nodes[index], &format!("{prefix}{}", nodes[index].id), shared))
    }
}

/// A scope, and a position in it.
type Place = (Option<String>, usize);

enum Decision {
    Start,
    Skip { upstream: bool, by_failure: bool },
}

fn decide(run_on: Run, needs: &[Status]) -> Decision {
    let accepted =
        |need: &Status| matches!(need, Status::Succeeded | Status::Failed { handled: true } | Status::Skipped { upstream: false, .. });
    let by_failure = |need: &Status| matches!(need, Status::Failed { .. } | Status::Skipped { by_failure: true, .. });
    let blocks = |need: &Status| !accepted(need) && (by_failure(need) || *need == Status::Cancelled);
    match run_on {
        Run::Always => Decision::Start,
        Run::Failure if needs.iter().any(by_failure) => Decision::Start,
        Run::Failure => Decision::Skip { upstream: true, by_failure: false },
        Run::Success if needs.iter().all(accepted) => Decision::Start,
        Run::Success => Decision::Skip { upstream: true, by_failure: needs.iter().any(blocks) },
    }
}

impl Step {
    fn new() -> Self {
        Self {
            status: Status::Pending,
            ended: 0,
            failures: 0,
            preemptions: 0,
            doubt: false,
            fatal: false,
            undone: false,
            rounds: 0,
            scopes: Vec::new(),
            failed_items: 0,
            failing: false,
            stopped: false,
            unwinding: false,
        }
    }

    fn end(&mut self, status: Status, shared: &mut Shared) {
        self.status = status;
        self.ended = shared.tick();
    }

    fn start(&mut self, node: &Node, instance: &str, shared: &mut Shared) {
        self.status = Status::Open;
        match &node.kind {
            What::Task => {
                if node.no_return {
                    shared.no_return.insert(instance.to_owned(), true);
                }
                shared.begin(instance);
            }
            What::Set => self.end(Status::Succeeded, shared),
            What::Group(_) | What::Each { .. } => self.run_scopes(node, instance),
        }
    }

    /// Another item may begin.
    fn has_room(&self, node: &Node) -> bool {
        let What::Each { items, parallel, .. } = &node.kind else { return false };
        let open = self.scopes.iter().filter(|scope| !scope.is_closed()).count();
        let goes_on = self.status == Status::Open && !self.failing && !self.stopped && !self.unwinding;
        goes_on && self.scopes.len() < *items && open < *parallel
    }

    fn run_scopes(&mut self, node: &Node, instance: &str) {
        self.rounds += 1;
        self.scopes.clear();
        (self.failed_items, self.failing, self.unwinding) = (0, false, false);
        if let What::Group(body) = &node.kind {
            // A group puts nothing before the ids in it beyond what is before its own.
            let prefix = instance.rfind('.').map_or("", |dot| &instance[..=dot]);
            self.scopes.push(Scope::new(Some(instance.to_owned()), prefix.to_owned(), body));
        }
    }

    /// An open container: what its scopes' ends lead to.
    fn review(&mut self, node: &Node, instance: &str, shared: &mut Shared) {
        for scope in &mut self.scopes {
            scope.review(node.body(), shared);
        }
        if self.unwinding {
            if !self.has_live(node, shared) && !self.undo_scopes(node, shared) {
                if self.rounds < node.attempts && !self.fatal && !self.stopped {
                    self.run_scopes(node, instance);
                } else {
                    // Nothing is handled in a scope that is being stopped.
                    self.end(Status::Failed { handled: node.continue_on_error && !self.stopped }, shared);
                }
            }
            return;
        }
        if let What::Each { items, tolerated, .. } = &node.kind {
            self.settle_items(node, *tolerated, shared);
            if !self.failing && !self.stopped {
                if self.scopes.len() == *items && self.scopes.iter().all(Scope::is_closed) {
                    self.end(Status::Succeeded, shared);
                }
                return;
            }
        } else {
            match self.scopes[0].phase {
                Phase::Succeeded if !self.stopped => return self.end(Status::Succeeded, shared),
                Phase::Failed if self.scopes[0].failed => {
                    self.failing = true;
                    self.fatal = self.scopes[0].fatal;
                }
                _ => {}
            }
        }
        if (self.failing || self.stopped) && self.scopes.iter().all(Scope::is_closed) {
            if self.stopped {
                let status = if self.failing { Status::Failed { handled: false } } else { Status::Cancelled };
                self.end(status, shared);
            } else if self.rounds < node.attempts && !self.fatal || node.continue_on_error {
                self.unwinding = true;
            } else {
                self.end(Status::Failed { handled: false }, shared);
            }
        }
    }

    /// Items that failed: tolerated ones undo themselves, another one fails the step.
    fn settle_items(&mut self, node: &Node, tolerated: usize, shared: &mut Shared) {
        for index in 0..self.scopes.len() {
            let scope = &mut self.scopes[index];
            match scope.phase {
                Phase::Failed if scope.tolerated => {}
                Phase::Failed if self.failing || self.stopped => {}
                Phase::Failed if self.failed_items < tolerated => {
                    self.failed_items += 1;
                    scope.tolerated = true;
                    scope.phase = Phase::Unwinding;
                }
                Phase::Failed => {
                    self.failing = true;
                    self.fatal = scope.fatal;
                    for other in &mut self.scopes {
                        other.stop(node.body(), shared);
                    }
                }
                Phase::Unwinding => {
                    let busy = scope.has_live(node.body(), shared);
                    if !busy && !scope.undo_next(node.body(), shared) {
                        scope.close(Phase::Failed, shared);
                    }
                }
                Phase::Running | Phase::Stopping | Phase::Observing | Phase::Succeeded => {}
            }
        }
    }

    fn has_live(&self, node: &Node, shared: &Shared) -> bool {
        self.scopes.iter().any(|scope| scope.has_live(node.body(), shared))
    }

    /// Begins the next compensation of it; false if nothing is left.
    fn undo_next(&mut self, node: &Node, instance: &str, shared: &mut Shared) -> bool {
        match node.undo {
            Some(_) if !self.undone && (self.status == Status::Succeeded || self.doubt) => {
                let compensation = format!("{instance}:compensate");
                shared.undo.remove(&compensation);
                shared.begin(&compensation);
                true
            }
            _ => self.undo_scopes(node, shared),
        }
    }

    fn undo_scopes(&mut self, node: &Node, shared: &mut Shared) -> bool {
        let mut order: Vec<usize> = (0..self.scopes.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.scopes[*index].ended));
        order.into_iter().any(|index| self.scopes[index].undo_next(node.body(), shared))
    }

    fn attempt_ended(&mut self, node: &Node, instance: &str, stopping: bool, told: Told, shared: &mut Shared) {
        let handled = node.continue_on_error;
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
            Told::Abandoned => {
                self.doubt = true;
                self.preemptions += 1;
                self.fatal = self.preemptions > PREEMPTIONS_MAX;
                !self.fatal
            }
            Told::Stopped { nothing_done } => {
                self.doubt |= !nothing_done;
                return self.end(Status::Cancelled, shared);
            }
        };
        if !self.doubt && shared.no_return.contains_key(instance) {
            shared.no_return.insert(instance.to_owned(), retried && !stopping);
        }
        match (retried, stopping) {
            (true, false) => shared.begin(instance),
            (true, true) => self.end(Status::Cancelled, shared),
            (false, _) => self.end(Status::Failed { handled }, shared),
        }
    }

    fn undo_ended(&mut self, node: &Node, instance: &str, told: Told, shared: &mut Shared) {
        let count = shared.undo.entry(instance.to_owned()).or_default();
        let again = match told {
            Told::Succeeded => {
                self.undone = true;
                return;
            }
            Told::Failed { fatal, .. } => {
                count.failures += 1;
                !fatal && count.failures < node.undo.unwrap_or(1)
            }
            Told::TimedOut => {
                count.failures += 1;
                count.failures < node.undo.unwrap_or(1)
            }
            Told::Abandoned => {
                count.preemptions += 1;
                count.preemptions <= PREEMPTIONS_MAX
            }
            Told::Stopped { .. } => panic!("nobody stops a compensation"),
        };
        if again { shared.begin(instance) } else { shared.verdict = Some(Verdict::NeedsAttention) }
    }
}

impl Scope {
    fn has_live(&self, nodes: &[Node], shared: &Shared) -> bool {
        self.steps.iter().zip(nodes).any(|(step, node)| {
            let instance = format!("{}{}", self.prefix, node.id);
            shared.live.contains_key(&instance)
                || shared.live.contains_key(&format!("{instance}:compensate"))
                || step.has_live(node, shared)
        })
    }
}
