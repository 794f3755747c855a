//! A small model of how scopes fail, unwind and end, written from the language's documentation and sharing nothing with the engine.
//!
//! It knows no events, no log and no timers: a tree of steps, a set of what is live, and what each outcome leads to. What it says is live
//! after each outcome must be what the engine has open, and what it says of the end must be how the run ends.
//!
//! - [`scope`]: steps that begin, stop and are undone together;
//! - [`step`]: one step of a scope that exists; [`task`] is how its attempts end, [`waiting`] how signals, people and children answer;
//! - [`container`]: a step with scopes in it;
//! - [`join`]: what needs mean; [`shared`]: what all scopes share.

mod container;
mod join;
mod scope;
mod shared;
mod step;
mod task;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use self::scope::{Phase, Scope};
use self::shared::Shared;
use super::node::{Doing, Live, Node, Told, Verdict, What};

/// The model of one run.
#[derive(Debug)]
pub(super) struct Model<'n> {
    nodes: &'n [Node],
    root: Scope,
    /// Whether what was done is undone.
    cancelled: Option<bool>,
    shared: Shared,
}

impl<'n> Model<'n> {
    pub(super) fn new(nodes: &'n [Node]) -> Self {
        let mut model = Self { nodes, root: Scope::new(None, String::new(), nodes), cancelled: None, shared: Shared::default() };
        model.settle();
        model
    }

    pub(super) fn live(&self) -> &BTreeMap<String, Live> {
        &self.shared.live
    }

    /// Steps whose own time runs.
    pub(super) fn timed(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.root.timed(self.nodes, &self.shared, &mut found);
        found
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.shared.verdict
    }

    /// What is live ends, or what has a time of its own runs out of it.
    pub(super) fn tell(&mut self, instance: &str, told: Told) {
        let (of, undoing) = instance.strip_suffix(":compensate").map_or((instance, false), |of| (of, true));
        let Some((step, node)) = self.root.find(self.nodes, of) else { panic!("there is no {of}") };
        let live = self.shared.live.get(instance).copied();
        match live {
            None if self.shared.held.contains(instance) => step.held_too_long(node, instance, &mut self.shared),
            None if node.is_container() => step.time_out_scopes(node, &mut self.shared),
            None => panic!("{instance} is not live"),
            Some(_) if undoing => step.undo_ended(node, instance, told, &mut self.shared),
            Some(live) => match live.doing {
                Doing::Attempt => step.attempt_ended(node, instance, live, told, &mut self.shared),
                Doing::Child => step.child_told(node, instance, live, told, &mut self.shared),
                Doing::Sleep | Doing::Signal | Doing::Approval => step.answered(node, instance, told, &mut self.shared),
            },
        }
        self.settle();
    }

    /// A signal arrives: the first step in plan order that waits for it takes it.
    pub(super) fn signal(&mut self, name: &'static str, number: u8) {
        let waiting: Vec<String> =
            self.shared.live.iter().filter(|(_, live)| live.doing == Doing::Signal).map(|(id, _)| id.clone()).collect();
        let mut takers: Vec<(usize, String)> = Vec::new();
        for id in waiting {
            let Some((_, node)) = self.root.find(self.nodes, &id) else { continue };
            if let What::Signal { name: of, only, .. } = &node.kind
                && *of == name
                && only.is_none_or(|only| only == number)
            {
                let place = node.id[1..].parse().expect("steps are numbered in plan order");
                takers.push((place, id));
            }
        }
        match takers.into_iter().min() {
            Some((_, id)) => self.tell(&id, Told::Succeeded),
            None => self.shared.unread.entry(name).or_default().push(number),
        }
    }

    /// Nothing new if the run is on its way to an end already.
    pub(super) fn cancel(&mut self, compensate: bool) {
        if self.root.phase == Phase::Running && self.shared.verdict.is_none() {
            self.cancelled = Some(compensate);
            self.root.stop(self.nodes, &mut self.shared);
            self.settle();
        }
    }

    /// What ends in one scope may start something in another: until nothing changes.
    fn settle(&mut self) {
        while self.shared.verdict.is_none() || self.shared.waits_for_people() {
            let before = self.fingerprint();
            self.root.stop_failed(self.nodes, &mut self.shared);
            match self.root.first_ready(self.nodes).filter(|_| !self.shared.waits_for_people()) {
                Some(place) => self.root.start(self.nodes, &place, &mut self.shared),
                None => self.review(),
            }
            if self.fingerprint() == before && !self.try_again() {
                return;
            }
        }
    }

    /// Of what follows at one instant, inner scopes come first, and of those the later ones.
    fn review(&mut self) {
        let mut scopes = Vec::new();
        self.root.collect_open(self.nodes, &mut scopes);
        scopes.sort_unstable_by(|one, other| other.cmp(one));
        for id in scopes {
            let (container, item) = match id.strip_suffix(']').and_then(|id| id.rsplit_once('[')) {
                Some((container, item)) => (container, item.parse().ok()),
                None => (id.as_str(), None),
            };
            let Some((step, node)) = self.root.find(self.nodes, container) else { continue };
            let follows = match item {
                Some(item) => step.review_item(node, item, &mut self.shared),
                None => step.review(node, container, &mut self.shared),
            };
            if follows {
                return;
            }
        }
        // The run itself waits for people.
        if !self.shared.waits_for_people() && !self.root.review(self.nodes, &mut self.shared) {
            self.settle_root();
        }
    }

    /// Begins a container again that is to be.
    fn try_again(&mut self) -> bool {
        if self.shared.waits_for_people() {
            return false;
        }
        let mut scopes = Vec::new();
        self.root.collect_open(self.nodes, &mut scopes);
        scopes.sort_unstable();
        for id in scopes.iter().filter(|id| !id.ends_with(']')) {
            let Some((step, node)) = self.root.find(self.nodes, id) else { continue };
            if step.again {
                step.run_scopes(node, id);
                return true;
            }
        }
        false
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.root, &self.shared).hash(&mut hasher);
        hasher.finish()
    }

    fn settle_root(&mut self) {
        let ended = if self.cancelled.is_some() { Verdict::Cancelled } else { Verdict::Failed };
        match self.root.phase {
            Phase::Succeeded => self.shared.verdict = Some(Verdict::Succeeded),
            Phase::Failed if self.cancelled == Some(false) => self.shared.verdict = Some(ended),
            Phase::Failed if self.shared.is_bound() => self.shared.verdict = Some(Verdict::NeedsAttention),
            Phase::Failed => self.root.phase = Phase::Unwinding,
            Phase::Unwinding => {
                if self.shared.live.is_empty() && !self.root.undo_next(self.nodes, &mut self.shared) {
                    self.shared.verdict = Some(ended);
                }
            }
            Phase::Running | Phase::Stopping | Phase::Observing => {}
        }
    }
}
