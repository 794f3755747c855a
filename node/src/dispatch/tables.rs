//! What a dispatcher knows, behind its lock, and what it tells gateways about it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quorus_proto::{
    peer::{self, LinkResponse, link_response::Message},
    v1,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Entry, LeaseName, Leases, Line, LinkSender, SessionKey, Sessions, Waiting, WaitingTask, permits::Permits};
use crate::{limits::LimitRules, observe::names, system::FlowState};

#[derive(Default)]
pub(super) struct Tables {
    pub(super) sessions: Sessions,
    pub(super) waiting: Waiting,
    pub(super) leases: Leases,
    pub(super) permits: Permits,
    pub(super) links: BTreeMap<u64, Link>,
    /// What gateways were told, where it is not nothing.
    pub(super) announced: BTreeMap<Line, usize>,
    pub(super) flow: Arc<FlowState>,
    pub(super) rules: Arc<LimitRules>,
    /// Tasks that the engine failed on: they come back later, so that a fault is not tried in a loop.
    pub(super) parked: Vec<Parked>,
}

/// A link to a gateway.
pub(super) struct Link {
    pub(super) sender: LinkSender,
    /// The gateway's node, once it has said so.
    pub(super) gateway: Option<u64>,
    /// Ends when the gateway has opened another one.
    pub(super) replaced: CancellationToken,
}

pub(super) struct Parked {
    pub(super) until: Instant,
    pub(super) term: u64,
    pub(super) task: WaitingTask,
}

impl Tables {
    /// True if a queue's tasks are not to be leased.
    pub(super) fn is_paused(&self, queue: &str) -> bool {
        self.flow.paused_queues.contains_key(queue)
    }

    /// A task waits: for a worker, or for permits first. True if it is the first of its line.
    pub(super) fn wait(&mut self, task: WaitingTask) -> bool {
        if task.limits.iter().any(|limit| self.rules.get(&limit.limit).is_some()) {
            self.permits.end(task.uid, &task.step, super::PermitEnd::Unused);
            self.waiting.push_limited(task);
            self.permits.changed().notify_one();
            return false;
        }
        self.waiting.push(task)
    }

    /// Forgets what a shard brought. Its permits count until the next leader has counted them.
    pub(super) fn remove_shard(&mut self, shard: u32, linger: Duration) {
        self.waiting.remove_shard(shard);
        self.leases.remove_shard(shard);
        self.permits.shard_lost(shard, linger);
        self.parked.retain(|parked| parked.task.shard != shard);
    }

    /// Forgets a link, with its sessions. Leases run on: their workers are told to this node again by another link.
    pub(super) fn remove_link(&mut self, link: u64) -> Option<Link> {
        self.sessions.close_link(link);
        self.leases.detach_link(link);
        self.links.remove(&link)
    }

    /// Tells the worker of a lease that is over to stop at once.
    pub(super) fn tell_to_stop(&self, lease: &Entry, reason: &str) {
        if let Some(session) = lease.session {
            self.cancel(session, &lease.name, reason, Duration::ZERO);
        }
    }

    /// Tells a session to stop an attempt, or to give it back if its worker does not have it.
    pub(super) fn cancel(&self, session: SessionKey, name: &LeaseName, reason: &str, grace: Duration) {
        let Some(known) = self.sessions.get(session) else { return };
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let cancel = v1::CancelTask { lease: name.encode(), reason: reason.to_owned(), grace_ms };
        send(&known.link, Message::Cancel(peer::CancelPushed { session: session.session, cancel: Some(cancel) }));
    }

    /// Gives the gateway the credits that a session owes, as far as it has them.
    pub(super) fn pay(&mut self, key: SessionKey) {
        let credits = self.sessions.pay(key);
        if let Some(session) = self.sessions.get(key).filter(|_| credits > 0) {
            send(&session.link, Message::Returned(peer::ReturnCredits { session: key.session, credits }));
        }
    }

    /// Tells every gateway how many tasks wait, in the lines where that has changed.
    pub(super) fn announce(&mut self) {
        for line in self.waiting.take_changed() {
            let waiting = if self.is_paused(&line.queue) { 0 } else { self.waiting.len(&line) };
            let before = self.announced.get(&line).copied().unwrap_or(0);
            if before == waiting {
                continue;
            }
            for link in self.links.values() {
                send(&link.sender, Message::Demand(demand(&line, waiting)));
            }
            metrics::gauge!(names::QUEUE_DEPTH, "queue" => line.queue.clone()).increment(waiting as f64 - before as f64);
            if waiting == 0 {
                self.announced.remove(&line);
            } else {
                self.announced.insert(line, waiting);
            }
        }
    }
}

pub(super) fn demand(line: &Line, waiting: usize) -> peer::Demand {
    peer::Demand {
        queue: line.queue.clone(),
        waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        selectors: BTreeMap::clone(&line.selectors),
    }
}

pub(super) fn send(link: &LinkSender, message: Message) {
    // A link that is gone is noticed by its reader, which forgets the sessions.
    link.send(LinkResponse { message: Some(message) }).ok();
}
