//! The built-in worker's session at its own node's gateway: holds leases, keeps them alive, and starts, stops and reports attempts.
//!
//! It follows the rules of every worker (see the leases section of the protocols): a lease's deadline is the send time of the last heartbeat that its leader
//! acknowledged + lease; an attempt that outlives it is stopped; an outcome is kept until it is acknowledged (by the gateway, which repeats it).
//! There is no stream that could break, so there is one session for the life of the process.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quorus_proto::v1::{self, work_request::Message, work_response};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    QUEUE, Services,
    attempt::{self, Attempt, Report, Stop, Strings},
};
use crate::gateway::Gateway;

/// How long attempts may go on when the node stops; then they are given back.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// Leases that are over and remembered, so that a late copy of a task is not executed again.
const OVER_MAX: usize = 4096;
/// Heartbeats in a lease. Enough that one without an answer (its leader has no quorum for a moment) costs nothing.
const BEATS_PER_LEASE: u32 = 6;

/// What the built-in worker starts with.
pub struct Arguments {
    /// This node's gateway.
    pub gateway: Gateway,
    /// What attempts work with.
    pub services: Arc<Services>,
    /// This node.
    pub node_id: u64,
    /// Random, one per process.
    pub incarnation: String,
    /// Attempts at a time.
    pub concurrency: u32,
    /// How long a lease lives.
    pub lease: Duration,
    /// Ends everything at once.
    pub stop: CancellationToken,
}

/// Starts the built-in worker. It ends when the gateway is drained and everything is given back, or at once with `stop`.
pub fn start(arguments: Arguments) {
    tokio::spawn(run(arguments));
}

async fn run(arguments: Arguments) {
    let Arguments { gateway, services, node_id, incarnation, concurrency, lease, stop } = arguments;
    let register = v1::RegisterWorker {
        name: format!("node-{node_id}/builtin"),
        incarnation,
        session: 1,
        queues: vec![QUEUE.to_owned()],
        capacity: concurrency,
        ..Default::default()
    };
    let (worker, mut responses) = unbounded_channel();
    let session = gateway.open(register, worker);
    let (mut desk, mut reports) = Desk::new(services, lease);
    let mut ticker = tokio::time::interval(lease / BEATS_PER_LEASE);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !desk.is_done() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticker.tick() => desk.tick(),
            Some(report) = reports.recv() => desk.report(report),
            response = responses.recv() => match response {
                Some(Ok(v1::WorkResponse { message: Some(message) })) => desk.receive(message),
                Some(_) => {}
                None => break,
            },
        }
        for message in desk.take_outbox() {
            gateway.received(session, message);
        }
    }
    // What is left is stopped by the drop of its strings.
    drop(desk);
    gateway.close(session);
}

/// A lease that is held.
struct Held {
    strings: Strings,
    deadline: Instant,
    /// The newest checkpoint that is not known to be kept.
    checkpoint: Option<(u64, v1::Payload)>,
    progressed: bool,
    ended: bool,
}

/// A heartbeat that was sent.
struct Beat {
    sent_at: Instant,
    checkpoints: BTreeMap<Bytes, u64>,
}

/// The bookkeeping: messages and reports in, messages out.
struct Desk {
    services: Arc<Services>,
    lease: Duration,
    held: BTreeMap<Bytes, Held>,
    beats: BTreeMap<u64, Beat>,
    last_beat: u64,
    reports: UnboundedSender<Report>,
    outbox: Vec<Message>,
    draining: bool,
    over: BTreeSet<Bytes>,
    over_in_order: VecDeque<Bytes>,
}

impl Desk {
    fn new(services: Arc<Services>, lease: Duration) -> (Self, UnboundedReceiver<Report>) {
        // Bounded by its use: an attempt reports a look or a checkpoint at a time.
        let (reports, receiver) = unbounded_channel();
        let desk = Self {
            services,
            lease,
            held: BTreeMap::new(),
            beats: BTreeMap::new(),
            last_beat: 0,
            reports,
            outbox: Vec::new(),
            draining: false,
            over: BTreeSet::new(),
            over_in_order: VecDeque::new(),
        };
        (desk, receiver)
    }

    /// True once everything was given back.
    fn is_done(&self) -> bool {
        self.draining && self.held.is_empty()
    }

    fn take_outbox(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.outbox)
    }

    fn receive(&mut self, message: work_response::Message) {
        use work_response::Message;
        match message {
            Message::Task(task) => self.start(task),
            Message::HeartbeatAck(ack) => self.acknowledged(&ack),
            Message::OutcomeAck(ack) => {
                if !ack.accepted {
                    // Usual after an attempt was cut, for example by its timeout.
                    tracing::debug!(reason = ack.reason, "an outcome of a built-in step came too late");
                }
                self.forget(&ack.lease);
            }
            Message::Cancel(cancel) => {
                let until = Instant::now() + Duration::from_millis(cancel.grace_ms);
                self.stop(&cancel.lease, Stop::Cancelled { until });
                self.give_back_unknown(cancel.lease);
            }
            Message::Drain(_) => self.drain(),
            Message::Registered(_) => {}
        }
    }

    fn start(&mut self, task: v1::Task) {
        let lease = task.lease.clone();
        if self.held.contains_key(&lease) || self.over.contains(&lease) {
            return;
        }
        tracing::debug!(run = task.run_id, step = task.step, attempt = task.attempt, r#type = task.r#type, "built-in attempt begins");
        let (attempt, strings) = Attempt::new(task, self.reports.clone());
        if self.draining {
            strings.stop.send_replace(Some(Stop::Draining { until: Instant::now() }));
        }
        // Nobody knows how long the task was on its way; see the worker's first deadline.
        let deadline = Instant::now() + self.lease * 3 / 4;
        self.held.insert(lease, Held { strings, deadline, checkpoint: None, progressed: false, ended: false });
        tokio::spawn(attempt::run(self.services.clone(), attempt));
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Ended { lease, ending } => {
                // The outcome of a lease that is over counts for nothing.
                let Some(held) = self.held.get_mut(&lease) else { return };
                (held.ended, held.checkpoint) = (true, None);
                self.outbox.push(Message::Outcome(v1::TaskOutcome { lease, result: Some(ending) }));
            }
            Report::Checkpoint { lease, number, payload } => {
                let Some(held) = self.held.get_mut(&lease) else { return };
                held.checkpoint = Some((number, payload));
                self.heartbeat(&[lease]);
            }
            Report::Progress { lease } => {
                if let Some(held) = self.held.get_mut(&lease) {
                    held.progressed = true;
                }
            }
        }
    }

    /// Keeps all leases alive; stops what outlived its own.
    fn tick(&mut self) {
        let now = Instant::now();
        let late: Vec<_> =
            self.held.iter().filter(|(_, held)| !held.ended && held.deadline <= now).map(|(lease, _)| lease.clone()).collect();
        for lease in late {
            tracing::warn!("nobody renewed the lease of a built-in attempt in time: it is stopped");
            self.lose(&lease);
        }
        let lease = self.lease;
        self.beats.retain(|_, beat| beat.sent_at + lease > now);
        let all: Vec<_> = self.held.keys().cloned().collect();
        self.heartbeat(&all);
    }

    fn heartbeat(&mut self, leases: &[Bytes]) {
        if leases.is_empty() {
            return;
        }
        let mut beat = Beat { sent_at: Instant::now(), checkpoints: BTreeMap::new() };
        let mut progress = Vec::new();
        for lease in leases {
            let Some(held) = self.held.get_mut(lease) else { continue };
            if held.checkpoint.is_none() && !held.progressed {
                continue;
            }
            held.progressed = false;
            if let Some((number, _)) = &held.checkpoint {
                beat.checkpoints.insert(lease.clone(), *number);
            }
            let checkpoint = held.checkpoint.as_ref().map(|(_, payload)| payload.clone());
            progress.push(v1::TaskProgress { lease: lease.clone(), checkpoint, logs: Vec::new() });
        }
        self.last_beat += 1;
        self.beats.insert(self.last_beat, beat);
        self.outbox.push(Message::Heartbeat(v1::Heartbeat { id: self.last_beat, leases: leases.to_vec(), progress }));
    }

    fn acknowledged(&mut self, ack: &v1::HeartbeatAck) {
        for lease in &ack.lost {
            self.lose(lease);
        }
        let Some(beat) = self.beats.get(&ack.id) else { return };
        for lease in &ack.renewed {
            let Some(held) = self.held.get_mut(lease) else { continue };
            held.deadline = held.deadline.max(beat.sent_at + self.lease);
            if let Some(number) = beat.checkpoints.get(lease) {
                held.checkpoint.take_if(|(pending, _)| *pending <= *number);
                held.strings.committed.send_replace(*number);
            }
        }
    }

    /// The node is about to stop: attempts end by themselves soon, or are given back.
    fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        self.outbox.push(Message::Capacity(v1::SetCapacity { capacity: 0 }));
        let until = Instant::now() + DRAIN_GRACE;
        for held in self.held.values().filter(|held| !held.ended) {
            held.strings.stop.send_if_modified(|stop| {
                let first = stop.is_none();
                if first {
                    *stop = Some(Stop::Draining { until });
                }
                first
            });
        }
    }

    fn stop(&mut self, lease: &Bytes, stop: Stop) {
        if let Some(held) = self.held.get(lease).filter(|held| !held.ended) {
            held.strings.stop.send_replace(Some(stop));
        }
    }

    /// What is to stop and was never here is given back, and a copy of its task that comes later is dropped. The gateway repeats that until it is acknowledged.
    fn give_back_unknown(&mut self, lease: Bytes) {
        if self.held.contains_key(&lease) || self.over.contains(&lease) {
            return;
        }
        self.remember(lease.clone());
        let result = Some(v1::task_outcome::Result::Released(v1::TaskReleased::default()));
        self.outbox.push(Message::Outcome(v1::TaskOutcome { lease, result }));
    }

    fn lose(&mut self, lease: &Bytes) {
        self.stop(lease, Stop::LeaseLost);
        self.forget(lease);
    }

    fn forget(&mut self, lease: &Bytes) {
        if self.held.remove(lease).is_some() {
            self.remember(lease.clone());
        }
    }

    fn remember(&mut self, lease: Bytes) {
        if self.over.insert(lease.clone()) {
            self.over_in_order.push_back(lease);
        }
        if self.over_in_order.len() > OVER_MAX
            && let Some(oldest) = self.over_in_order.pop_front()
        {
            self.over.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
