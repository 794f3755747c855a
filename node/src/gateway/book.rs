//! The gateway's book: which workers have streams here, what each holds, and to which leader each bit of their room is granted.
//!
//! Invariants, for each session:
//! `idle credits at all leaders + tasks being executed <= capacity` (but for tasks that are delivered again), so that no two leaders can fill the
//! same room; `held` has a lease from when its task was sent to the worker until its outcome was acknowledged; an outcome's room becomes a credit of
//! the leader that it is first reported to, so that a chain of steps keeps its worker, unless tasks wait at a leader that has no room at all:
//! then somebody's room goes there, and leaders take turns.
//!
//! Pure but for the channels that it writes to: no await, no lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use quorus_proto::{
    peer::{self, LinkRequest, link_request::Message},
    v1::{self, WorkResponse, work_response},
};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use tonic::Status;

use crate::dispatch::{LeaseName, Selectors};

mod room;
mod session;

pub use session::SessionView;
use session::{Held, Session};

/// Where messages to a worker go. What flows is bounded by its capacity and its own requests.
pub type WorkerSender = UnboundedSender<Result<WorkResponse, Status>>;
/// Where messages to a leader go.
pub type LeaderSender = UnboundedSender<LinkRequest>;

/// How many tasks wait at a leader: by queue, then by the labels that the worker must have.
type Demands = BTreeMap<String, BTreeMap<Selectors, u32>>;

/// An outcome that no leader acknowledged is reported again after this time.
const REPORT_AGAIN: Duration = Duration::from_secs(2);

/// The book.
#[derive(Default)]
pub struct Book {
    sessions: BTreeMap<u64, Session>,
    sessions_opened: u64,
    links: BTreeMap<u64, LeaderSender>,
    leaders: BTreeMap<u32, (u64, u64)>,
    demand: BTreeMap<u64, Demands>,
    drained: BTreeSet<String>,
}

impl Book {
    // --- Workers.

    /// A worker's stream began; returns the session's number.
    pub fn open(&mut self, register: v1::RegisterWorker, worker: WorkerSender) -> u64 {
        self.sessions_opened += 1;
        let id = self.sessions_opened;
        let leases = register.held.clone();
        let mut session = Session {
            capacity: register.capacity,
            drained: self.drained.contains(&register.name),
            since: Instant::now(),
            register,
            held: BTreeMap::new(),
            executing: BTreeMap::new(),
            idle: BTreeMap::new(),
            recalled: BTreeMap::new(),
            last_granted: 0,
            worker,
        };
        for lease in leases {
            session.hold(lease, Held::Executing(None));
        }
        for link in self.links.values() {
            link.send(session.opened(id, 0)).ok();
        }
        self.sessions.insert(id, session);
        self.distribute(id);
        id
    }

    /// A worker's stream ended.
    pub fn close(&mut self, id: u64) {
        if self.sessions.remove(&id).is_some() {
            self.tell_all(&Message::SessionClosed(peer::SessionClosed { session: id }));
        }
    }

    /// A worker wants another number of tasks at a time.
    pub fn set_capacity(&mut self, id: u64, capacity: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.capacity = capacity;
        self.distribute(id);
        self.shrink(id);
    }

    /// The workers, by name, that operators have stopped.
    pub fn set_drained(&mut self, names: BTreeSet<String>) {
        self.drained = names;
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let drained = self.drained.contains(&session.register.name);
            if drained != session.drained {
                session.drained = drained;
                self.distribute(id);
                self.shrink(id);
            }
        }
    }

    /// True if the worker holds the lease.
    pub fn holds(&self, id: u64, lease: &Bytes) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.held.contains_key(lease))
    }

    /// A worker showed a sign of life: its leases are renewed by their leaders, and by nobody else.
    pub fn heartbeat(&mut self, id: u64, heartbeat: v1::Heartbeat) {
        let mut by_leader: BTreeMap<u64, peer::RenewLeases> = BTreeMap::new();
        for lease in heartbeat.leases {
            let Some(leader) = self.leader_of(&lease) else { continue };
            let renew = by_leader.entry(leader).or_default();
            renew.leases.push(lease);
        }
        for progress in heartbeat.progress {
            let Some(leader) = self.leader_of(&progress.lease) else { continue };
            by_leader.entry(leader).or_default().progress.push(progress);
        }
        for (leader, renew) in by_leader {
            let renew = peer::RenewLeases { session: id, heartbeat_id: heartbeat.id, ..renew };
            self.tell(leader, Message::Renew(renew));
        }
    }

    /// A worker reports an outcome.
    pub fn outcome(&mut self, id: u64, outcome: v1::TaskOutcome) {
        let leader = self.leader_of(&outcome.lease);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if LeaseName::decode(&outcome.lease).is_none() {
            let reason = "this is not the name of a lease".to_owned();
            let ack = v1::OutcomeAck { lease: outcome.lease, accepted: false, reason };
            send(&session.worker, work_response::Message::OutcomeAck(ack));
            return;
        }
        let known = session.hold(outcome.lease.clone(), Held::Reported { outcome: outcome.clone(), at: Instant::now() });
        let executing = matches!(known, None | Some(Held::Executing(_)));
        if let Some(Held::Executing(Some(by))) = known
            && leader != Some(by)
        {
            // The room that it was asked for comes free elsewhere.
            session.recalled.remove(&by);
        }
        // More tasks than the worker has room for were sent to it: the room that came free is not there.
        let credit = executing && session.free() > 0;
        match leader {
            Some(leader) => {
                if credit {
                    *session.idle.entry(leader).or_default() += 1;
                }
                self.tell(leader, Message::Outcome(peer::ReportOutcome { session: id, outcome: Some(outcome), credit }));
            }
            None => self.distribute(id),
        }
    }

    /// Reports outcomes again that nobody acknowledged.
    pub fn report_again(&mut self) {
        let now = Instant::now();
        let mut late = Vec::new();
        for (id, session) in &mut self.sessions {
            for (lease, held) in &mut session.held {
                if let Held::Reported { outcome, at } = held
                    && now >= *at + REPORT_AGAIN
                {
                    *at = now;
                    late.push((*id, lease.clone(), outcome.clone()));
                }
            }
        }
        for (session, lease, outcome) in late {
            if let Some(leader) = self.leader_of(&lease) {
                self.tell(leader, Message::Outcome(peer::ReportOutcome { session, outcome: Some(outcome), credit: false }));
            }
        }
    }

    // --- Leaders.

    /// A link to a node is up.
    pub fn link_up(&mut self, node: u64, link: LeaderSender) {
        self.link_down(node);
        for (id, session) in &self.sessions {
            link.send(session.opened(*id, 0)).ok();
        }
        self.links.insert(node, link);
        self.distribute_all();
    }

    /// The link to a node is down: what it had of the workers' room is free again.
    pub fn link_down(&mut self, node: u64) {
        if self.links.remove(&node).is_none() {
            return;
        }
        self.demand.remove(&node);
        self.leaders.retain(|_, (_, leader)| *leader != node);
        for session in self.sessions.values_mut() {
            session.idle.remove(&node);
            session.recalled.remove(&node);
            for held in session.held.values_mut() {
                if matches!(held, Held::Executing(by) if *by == Some(node)) {
                    *held = Held::Executing(None);
                }
            }
            let orphaned = session.executing.remove(&Some(node)).unwrap_or(0);
            *session.executing.entry(None).or_default() += orphaned;
        }
        self.distribute_all();
    }

    /// A node leads a shard: tell it about the workers, and about outcomes that no leader acknowledged.
    pub fn leading(&mut self, node: u64, leading: peer::Leading) {
        if self.leaders.get(&leading.shard).is_some_and(|(term, _)| *term > leading.term) {
            return;
        }
        self.leaders.insert(leading.shard, (leading.term, node));
        let Some(link) = self.links.get(&node).cloned() else { return };
        for (id, session) in &mut self.sessions {
            link.send(session.opened(*id, leading.shard)).ok();
            for (lease, held) in &mut session.held {
                if let Held::Reported { outcome, at } = held
                    && LeaseName::decode(lease).is_some_and(|name| name.shard == leading.shard)
                {
                    *at = Instant::now();
                    let report = peer::ReportOutcome { session: *id, outcome: Some(outcome.clone()), credit: false };
                    link.send(LinkRequest { message: Some(Message::Outcome(report)) }).ok();
                }
            }
        }
    }

    /// A leader sends a task.
    pub fn push(&mut self, node: u64, push: peer::PushTask) {
        let Some(session) = self.sessions.get_mut(&push.session) else { return };
        if !push.again
            && let Some(idle) = session.idle.get_mut(&node)
        {
            *idle = idle.saturating_sub(1);
        }
        let Some(task) = push.task else { return };
        if matches!(session.held.get(&task.lease), Some(Held::Reported { .. })) {
            return;
        }
        session.hold(task.lease.clone(), Held::Executing(Some(node)));
        send(&session.worker, work_response::Message::Task(task));
        self.shrink(push.session);
    }

    /// A leader answers a heartbeat.
    pub fn renewed(&mut self, renewed: peer::RenewedLeases) {
        let Some(session) = self.sessions.get_mut(&renewed.session) else { return };
        for lease in &renewed.lost {
            if let Some(Held::Executing(Some(by))) = session.let_go(lease) {
                session.recalled.remove(&by);
            }
        }
        let any_lost = !renewed.lost.is_empty();
        let ack = v1::HeartbeatAck { id: renewed.heartbeat_id, renewed: renewed.renewed, lost: renewed.lost };
        send(&session.worker, work_response::Message::HeartbeatAck(ack));
        if any_lost {
            self.distribute(renewed.session);
        }
    }

    /// A leader answers an outcome.
    pub fn reported(&mut self, reported: peer::ReportedOutcome) {
        let Some(ack) = reported.ack else { return };
        let Some(session) = self.sessions.get_mut(&reported.session) else { return };
        session.let_go(&ack.lease);
        send(&session.worker, work_response::Message::OutcomeAck(ack));
    }

    /// A leader wants an attempt to stop.
    pub fn cancel(&mut self, cancel: peer::CancelPushed) {
        let Some(session) = self.sessions.get(&cancel.session) else { return };
        if let Some(cancel) = cancel.cancel {
            send(&session.worker, work_response::Message::Cancel(cancel));
        }
    }

    /// A leader gives credits back.
    pub fn returned(&mut self, node: u64, returned: peer::ReturnCredits) {
        let Some(session) = self.sessions.get_mut(&returned.session) else { return };
        // Some may come later: when outcomes free the room that they were spent on.
        if let Some(recalled) = session.recalled.get_mut(&node) {
            *recalled = recalled.saturating_sub(returned.credits);
            if *recalled == 0 {
                session.recalled.remove(&node);
            }
        }
        if let Some(idle) = session.idle.get_mut(&node) {
            *idle = idle.saturating_sub(returned.credits);
        }
        self.distribute(returned.session);
    }

    /// Tasks wait at a leader, or no longer do.
    pub fn demanded(&mut self, node: u64, demand: peer::Demand) {
        let demands = self.demand.entry(node).or_default();
        if demand.waiting > 0 {
            demands.entry(demand.queue).or_default().insert(demand.selectors.into(), demand.waiting);
        } else if let Some(of_queue) = demands.get_mut(&demand.queue) {
            of_queue.remove(&demand.selectors);
            if of_queue.is_empty() {
                demands.remove(&demand.queue);
            }
        }
        self.meet_demand();
    }

    /// Looks again where tasks wait: an answer to a recall, or a demand, may have crossed another on its way.
    pub fn meet_demand(&mut self) {
        if self.demand.values().all(BTreeMap::is_empty) {
            return;
        }
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.distribute(id);
            self.recall(id);
        }
    }

    // --- All.

    /// Tells every worker to go to another node.
    pub fn drain(&self) {
        for session in self.sessions.values() {
            send(&session.worker, work_response::Message::Drain(v1::Drain {}));
        }
    }

    /// Sessions, for operators.
    pub fn view(&self) -> Vec<SessionView> {
        self.sessions.values().map(Session::view).collect()
    }

    fn leader_of(&self, lease: &Bytes) -> Option<u64> {
        let (_, node) = self.leaders.get(&LeaseName::decode(lease)?.shard)?;
        Some(*node)
    }

    fn tell(&self, node: u64, message: Message) {
        if let Some(link) = self.links.get(&node) {
            link.send(LinkRequest { message: Some(message) }).ok();
        }
    }

    fn tell_all(&self, message: &Message) {
        for link in self.links.values() {
            link.send(LinkRequest { message: Some(message.clone()) }).ok();
        }
    }
}

fn send(worker: &WorkerSender, message: work_response::Message) {
    // A stream that is gone is noticed by its reader, which closes the session.
    worker.send(Ok(WorkResponse { message: Some(message) })).ok();
}

#[cfg(test)]
mod tests;
