//! What the worker holds, until when, and what it has to say: the rules of leases without IO, clock or randomness.
//!
//! The shell tells what happened and when ([`Moment`], the worker's monotonic clock); the answer is a list of [`Action`]s.
//!
//! | state of a lease | in `held` | in heartbeats | leaves it by |
//! |---|---|---|---|
//! | running | yes | yes | outcome, loss, deadline |
//! | ended (its outcome is not acknowledged yet) | yes | yes | acknowledgement, loss |
//! | over | no; remembered so that a copy of the task is dropped | no | |
//!
//! A lease's deadline is the send time of the last acknowledged heartbeat + lease; before the first acknowledgement it is receipt + three quarters of
//! a lease, because nobody knows how long the task was on its way. A running attempt begins to be stopped a little before ([`stop_margin`]), so that
//! it is gone *by* the deadline: from then on somebody else may hold a lease on the same step.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use quorus_proto::v1::{
    CancelTask, Heartbeat, HeartbeatAck, LogLine, OutcomeAck, Payload, Task, TaskOutcome, TaskProgress, TaskReleased, WorkRequest,
    task_outcome, work_request::Message,
};

use super::over::Over;

/// Time since the worker began, on its monotonic clock.
pub(super) type Moment = Duration;

/// Lines of an attempt beyond this many bytes are dropped: nodes would not keep them.
const LOG_BYTES_MAX: usize = 256 * 1024;
/// What a line counts beside its text.
const LOG_LINE_OVERHEAD: usize = 32;
/// Lines wait this long for others to go along with them.
const LOGS_AFTER: Duration = Duration::from_secs(1);

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Execute this attempt.
    Start(Box<Task>),
    /// Send this.
    Send(WorkRequest),
    /// The cluster wants this attempt to stop; its outcome is to be sent.
    Cancel { lease: Bytes, reason: String, grace: Duration },
    /// The lease is over or about to be: stop the attempt within `grace`, and forget it.
    Stop { lease: Bytes, grace: Duration, why: StopReason },
    /// The checkpoint with this number, and all before, are kept.
    Committed { lease: Bytes, number: u64 },
    /// The node does not answer heartbeats: go to another one.
    LeaveNode,
}

/// Why a lease is over before its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The shard's leader said so.
    Lost,
    /// No heartbeat was acknowledged in time.
    Deadline,
}

#[derive(Debug)]
struct Held {
    deadline: Moment,
    /// Set once the attempt has ended; sent until it is acknowledged.
    outcome: Option<TaskOutcome>,
    heartbeat_timeout: Duration,
    /// The last checkpoint that is not known to be kept, and its number.
    checkpoint: Option<(u64, Payload)>,
    /// It was sent on this session; send it again only when it was not decided.
    checkpoint_sent: bool,
    progressed: bool,
    progress_sent_at: Moment,
    /// Lines that were not sent yet. What is sent is forgotten: a lost line is no harm.
    logs: Vec<LogLine>,
    /// Bytes of lines so far.
    logged: usize,
}

#[derive(Debug)]
struct Beat {
    sent_at: Moment,
    answered: bool,
    undecided: BTreeSet<Bytes>,
    checkpoints: BTreeMap<Bytes, u64>,
}

/// The bookkeeping. See the module.
#[derive(Debug)]
pub(super) struct Leases {
    lease: Duration,
    interval: Duration,
    /// True between `registered` and `disconnected`.
    connected: bool,
    held: BTreeMap<Bytes, Held>,
    /// Leases to heartbeat about before the regular time.
    urgent: BTreeSet<Bytes>,
    beats: BTreeMap<u64, Beat>,
    last_beat: u64,
    regular_at: Option<Moment>,
    soon_at: Option<Moment>,
    /// No running lease has to be stopped before this.
    earliest_stop: Moment,
    over: Over,
}

/// How long before its deadline an attempt begins to be stopped.
pub(super) fn stop_margin(lease: Duration) -> Duration {
    (lease / 30).min(Duration::from_secs(1))
}

impl Leases {
    pub(super) fn new() -> Self {
        let lease = Duration::from_secs(30);
        Self {
            lease,
            interval: lease / 3,
            connected: false,
            held: BTreeMap::new(),
            urgent: BTreeSet::new(),
            beats: BTreeMap::new(),
            last_beat: 0,
            regular_at: None,
            soon_at: None,
            earliest_stop: Moment::MAX,
            over: Over::default(),
        }
    }

    /// The inventory that a new session begins with.
    pub(super) fn inventory(&self) -> Vec<Bytes> {
        self.held.keys().cloned().collect()
    }

    /// True if nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A session began: outcomes that are not acknowledged are repeated, and leases are heartbeat about at once.
    pub(super) fn registered(&mut self, now: Moment, lease: Duration, interval: Duration) -> Vec<Action> {
        self.lease = if lease.is_zero() { self.lease } else { lease };
        self.interval = if interval.is_zero() { self.lease / 3 } else { interval.min(self.lease / 2) };
        self.connected = true;
        let outcomes = self.held.values().filter_map(|held| held.outcome.clone());
        let mut actions: Vec<_> = outcomes.map(|outcome| send(Message::Outcome(outcome))).collect();
        if !self.held.is_empty() {
            self.regular_at = Some(now);
            actions.extend(self.heartbeat(now));
        }
        actions
    }

    /// The stream is gone. Nothing is sent until the next `registered`; deadlines go on.
    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        self.beats.clear();
        self.regular_at = None;
        self.soon_at = None;
        for (lease, held) in &mut self.held {
            held.checkpoint_sent = false;
            if held.checkpoint.is_some() {
                self.urgent.insert(lease.clone());
            }
        }
    }

    /// A task arrived. A lease that is known is not executed again; if it has ended, its outcome is repeated.
    pub(super) fn task(&mut self, now: Moment, task: Task) -> Vec<Action> {
        if let Some(held) = self.held.get(&task.lease) {
            return held.outcome.clone().map(|outcome| send(Message::Outcome(outcome))).into_iter().collect();
        }
        if self.over.contains(&task.lease) {
            return Vec::new();
        }
        self.hold(now, task.lease.clone(), Duration::from_millis(task.heartbeat_timeout_ms));
        vec![Action::Start(Box::new(task))]
    }

    /// From now on it is kept alive.
    fn hold(&mut self, now: Moment, lease: Bytes, heartbeat_timeout: Duration) {
        let deadline = now + self.lease * 3 / 4;
        self.held.insert(
            lease,
            Held {
                deadline,
                outcome: None,
                heartbeat_timeout,
                checkpoint: None,
                checkpoint_sent: false,
                progressed: false,
                progress_sent_at: now,
                logs: Vec::new(),
                logged: 0,
            },
        );
        self.earliest_stop = self.earliest_stop.min(deadline.saturating_sub(stop_margin(self.lease)));
        // Half an interval, not a whole one: there must be time for a second try on another node before the short first deadline.
        let first = now + self.interval / 2;
        self.regular_at = Some(self.regular_at.map_or(first, |at| at.min(first)));
    }

    /// An attempt ended. An outcome of a lease that is over counts for nothing and is dropped.
    pub(super) fn ended(&mut self, outcome: TaskOutcome) -> Vec<Action> {
        let Some(held) = self.held.get_mut(&outcome.lease) else { return Vec::new() };
        held.checkpoint = None;
        held.progressed = false;
        held.outcome = Some(outcome.clone());
        let logs = std::mem::take(&mut held.logs);
        self.urgent.remove(&outcome.lease);
        if !self.connected {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if !logs.is_empty() {
            // Its last words, before the outcome after which nobody listens. Nothing depends on the answer.
            self.last_beat += 1;
            let progress = TaskProgress { lease: outcome.lease.clone(), checkpoint: None, logs };
            let beat = Heartbeat { id: self.last_beat, leases: vec![outcome.lease.clone()], progress: vec![progress] };
            actions.push(send(Message::Heartbeat(beat)));
        }
        actions.push(send(Message::Outcome(outcome)));
        actions
    }

    /// The attempt wrote a line. Lines beyond the bound of an attempt are dropped.
    pub(super) fn log(&mut self, now: Moment, lease: &Bytes, line: LogLine) -> Vec<Action> {
        let Some(held) = self.held.get_mut(lease).filter(|held| held.outcome.is_none()) else { return Vec::new() };
        if held.logged > LOG_BYTES_MAX {
            return Vec::new();
        }
        held.logged += line.text.len() + LOG_LINE_OVERHEAD;
        held.logs.push(line);
        self.hurry(lease.clone(), now + LOGS_AFTER);
        self.heartbeat_if_due(now)
    }

    /// The attempt made a checkpoint. It replaces an older one that was not sent yet.
    pub(super) fn checkpoint(&mut self, now: Moment, lease: &Bytes, number: u64, payload: Payload) -> Vec<Action> {
        let Some(held) = self.held.get_mut(lease).filter(|held| held.outcome.is_none()) else { return Vec::new() };
        held.checkpoint = Some((number, payload));
        held.checkpoint_sent = false;
        self.hurry(lease.clone(), now);
        self.heartbeat_if_due(now)
    }

    /// The attempt showed a sign of life. It goes out with the next heartbeat, or earlier if the step's heartbeat timeout needs it.
    pub(super) fn progress(&mut self, now: Moment, lease: &Bytes) -> Vec<Action> {
        let Some(held) = self.held.get_mut(lease).filter(|held| held.outcome.is_none()) else { return Vec::new() };
        held.progressed = true;
        if !held.heartbeat_timeout.is_zero() {
            let at = held.progress_sent_at + held.heartbeat_timeout / 3;
            self.hurry(lease.clone(), at.max(now));
        }
        self.heartbeat_if_due(now)
    }

    /// The leader decided about a heartbeat, or about a part of it.
    pub(super) fn heartbeat_ack(&mut self, now: Moment, ack: HeartbeatAck) -> Vec<Action> {
        let mut actions = Vec::new();
        for lease in ack.lost {
            actions.extend(self.stop(&lease, Duration::ZERO, StopReason::Lost));
        }
        if !self.beats.contains_key(&ack.id) {
            return actions;
        }
        // A node that answers this one is not silent, whatever became of older ones; their leases have been asked about again. Not so the checkpoints
        // that went along with them: each is acknowledged after its commit, which may take longer than the answer to a newer heartbeat.
        self.beats.retain(|id, beat| *id >= ack.id || beat.answered || !beat.checkpoints.is_empty());
        self.beats.range_mut(..ack.id).for_each(|(_, beat)| beat.answered = true);
        let Some(beat) = self.beats.get_mut(&ack.id) else { return actions };
        beat.answered = true;
        for lease in ack.renewed {
            beat.undecided.remove(&lease);
            self.urgent.remove(&lease);
            let Some(held) = self.held.get_mut(&lease) else { continue };
            held.deadline = held.deadline.max(beat.sent_at + self.lease);
            if let Some(&number) = beat.checkpoints.get(&lease) {
                if held.checkpoint.as_ref().is_some_and(|(pending, _)| *pending <= number) {
                    held.checkpoint = None;
                }
                actions.push(Action::Committed { lease: lease.clone(), number });
            }
            if held.checkpoint.is_some() && !held.checkpoint_sent {
                self.urgent.insert(lease);
            }
        }
        beat.undecided.retain(|lease| self.held.contains_key(lease));
        let undecided: Vec<_> = beat.undecided.iter().cloned().collect();
        if undecided.is_empty() {
            self.beats.remove(&ack.id);
        }
        for lease in undecided {
            if let Some(held) = self.held.get_mut(&lease) {
                held.checkpoint_sent = false;
            }
            self.hurry(lease, now + self.ask_again_after());
        }
        if self.urgent.is_empty() {
            self.soon_at = None;
        }
        actions
    }

    /// A node recorded an outcome, or refused it for good.
    pub(super) fn outcome_ack(&mut self, ack: &OutcomeAck) {
        // An acknowledgement of something that has not ended would be a broken node; forgetting a running attempt would orphan it.
        if self.held.get(&ack.lease).is_some_and(|held| held.outcome.is_some()) {
            self.forget(&ack.lease);
        }
    }

    /// The cluster wants an attempt to stop. One that never came here is given back, held until that is acknowledged like any other that has ended, so that
    /// a copy of its task is not executed.
    pub(super) fn cancel(&mut self, now: Moment, cancel: CancelTask) -> Vec<Action> {
        let CancelTask { lease, reason, grace_ms } = cancel;
        match self.held.get(&lease) {
            Some(Held { outcome: None, .. }) => vec![Action::Cancel { lease, reason, grace: Duration::from_millis(grace_ms) }],
            Some(Held { outcome: Some(outcome), .. }) => vec![send(Message::Outcome(outcome.clone()))],
            None if self.over.contains(&lease) => Vec::new(),
            None => {
                self.hold(now, lease.clone(), Duration::ZERO);
                self.ended(TaskOutcome { lease, result: Some(task_outcome::Result::Released(TaskReleased::default())) })
            }
        }
    }

    /// Time passed: stops what is about to outlive its lease, sends heartbeats that are due, gives up on a silent node.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = self.stop_expired(now);
        actions.extend(self.heartbeat_if_due(now));
        if self.beats.values().any(|beat| !beat.answered && beat.sent_at + self.silence_max() <= now) {
            actions.push(Action::LeaveNode);
        }
        actions
    }

    /// When `tick` has something to do next.
    pub(super) fn next_tick(&self) -> Option<Moment> {
        let silent = self.beats.values().filter(|beat| !beat.answered).map(|beat| beat.sent_at + self.silence_max()).min();
        let beats = [self.regular_at, self.soon_at, silent].into_iter().flatten().filter(|_| self.connected);
        beats.chain((self.earliest_stop != Moment::MAX).then_some(self.earliest_stop)).min()
    }

    /// How long to wait for a decision about a lease before asking again: its shard may just be choosing a leader.
    fn ask_again_after(&self) -> Duration {
        self.interval / 5
    }

    /// How long a heartbeat may stay without any answer before another node is tried: short enough for a second try in each lease.
    fn silence_max(&self) -> Duration {
        self.interval / 2
    }

    fn stop_expired(&mut self, now: Moment) -> Vec<Action> {
        if now < self.earliest_stop {
            return Vec::new();
        }
        let margin = stop_margin(self.lease);
        let running = || self.held.iter().filter(|(_, held)| held.outcome.is_none());
        let expired: Vec<_> =
            running().filter(|(_, held)| held.deadline <= now + margin).map(|(lease, held)| (lease.clone(), held.deadline)).collect();
        let actions = expired
            .into_iter()
            .flat_map(|(lease, deadline)| self.stop(&lease, deadline.saturating_sub(now), StopReason::Deadline))
            .collect();
        let running = self.held.values().filter(|held| held.outcome.is_none());
        self.earliest_stop = running.map(|held| held.deadline.saturating_sub(margin)).min().unwrap_or(Moment::MAX);
        actions
    }

    fn stop(&mut self, lease: &Bytes, grace: Duration, why: StopReason) -> Option<Action> {
        let held = self.held.get(lease)?;
        let running = held.outcome.is_none();
        self.forget(lease);
        running.then(|| Action::Stop { lease: lease.clone(), grace, why })
    }

    fn forget(&mut self, lease: &Bytes) {
        self.held.remove(lease);
        self.urgent.remove(lease);
        self.over.remember(lease.clone());
        if self.held.is_empty() {
            self.beats.clear();
            (self.regular_at, self.soon_at, self.earliest_stop) = (None, None, Moment::MAX);
        }
    }

    fn hurry(&mut self, lease: Bytes, at: Moment) {
        self.urgent.insert(lease);
        self.soon_at = Some(self.soon_at.map_or(at, |soon| soon.min(at)));
    }

    fn heartbeat_if_due(&mut self, now: Moment) -> Vec<Action> {
        let due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if self.connected && (due(self.regular_at) || due(self.soon_at)) { self.heartbeat(now).into_iter().collect() } else { Vec::new() }
    }

    /// A heartbeat about everything if the regular time has come, else about what is urgent.
    fn heartbeat(&mut self, now: Moment) -> Option<Action> {
        // A checkpoint that went along with a heartbeat and was not acknowledged since goes along again.
        let after = self.ask_again_after();
        let earlier = self.beats.values().filter(|beat| beat.sent_at + after <= now);
        for (lease, number) in earlier.flat_map(|beat| &beat.checkpoints) {
            if let Some(held) = self.held.get_mut(lease)
                && held.checkpoint.as_ref().is_some_and(|(pending, _)| pending == number)
            {
                held.checkpoint_sent = false;
            }
        }
        let leases: Vec<Bytes> = if self.regular_at.is_some_and(|at| at <= now) {
            self.regular_at = Some(now + self.interval);
            self.held.keys().cloned().collect()
        } else {
            self.urgent.iter().filter(|lease| self.held.contains_key(*lease)).cloned().collect()
        };
        self.urgent.clear();
        self.soon_at = None;
        if leases.is_empty() {
            return None;
        }
        // Until the answer takes them out again.
        for lease in &leases {
            self.hurry(lease.clone(), now + self.ask_again_after());
        }
        let mut beat = Beat { sent_at: now, answered: false, undecided: leases.iter().cloned().collect(), checkpoints: BTreeMap::new() };
        let mut progress = Vec::new();
        for lease in &leases {
            let Some(held) = self.held.get_mut(lease) else { continue };
            let checkpoint = held.checkpoint.clone().filter(|_| !held.checkpoint_sent);
            if checkpoint.is_none() && !held.progressed && held.logs.is_empty() {
                continue;
            }
            held.progressed = false;
            held.progress_sent_at = now;
            if let Some((number, _)) = &checkpoint {
                held.checkpoint_sent = true;
                beat.checkpoints.insert(lease.clone(), *number);
            }
            let (checkpoint, logs) = (checkpoint.map(|(_, payload)| payload), std::mem::take(&mut held.logs));
            progress.push(TaskProgress { lease: lease.clone(), checkpoint, logs });
        }
        self.last_beat += 1;
        // What a lease ago was not decided was asked again since.
        self.beats.retain(|_, beat| !beat.answered || beat.sent_at + self.lease > now);
        self.beats.insert(self.last_beat, beat);
        Some(send(Message::Heartbeat(Heartbeat { id: self.last_beat, leases, progress })))
    }
}

fn send(message: Message) -> Action {
    Action::Send(WorkRequest { message: Some(message) })
}
