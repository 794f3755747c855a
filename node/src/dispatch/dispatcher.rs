//! Brings waiting tasks and workers' room together, for all shards that this node leads.
//!
//! A lock around plain tables, never held across an await or a decision: run actors take credits from it in the middle of a decision, links
//! feed it, the ticker asks it what is overdue. What has to happen to a run leaves as a [`Request`] to the run's actor.
//!
//! Rules (see the leases section of the protocols): only a leader renews, and only while a quorum acknowledged it lately; a lease is pushed
//! again only to the incarnation that it is bound to; credits are spent by the decision that leases, and come back by the outcome.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use quorus_engine::Command;
use quorus_mutants::{Mutant, active};
use quorus_proto::{
    peer::{self, link_response::Message},
    v1,
};
use tokio::time::Instant;

use super::{
    Credit, Entry, LeaseName, LimitRefs, Line, Overdue, PermitEnd, SessionKey, WaitingTask,
    tables::{Tables, send},
};
use crate::{
    clock::Clock,
    leader::{Ask, LedShard, LedShards, Reply, Request},
    observe::names,
};

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a lease lives without renewal: longer than the outage that it is to survive, see [`Times::new`].
    pub lease: Duration,
    /// How often workers send heartbeats.
    pub heartbeat: Duration,
    /// The longest time that an old leader may have believed in itself.
    pub election_max: Duration,
    /// How far two machines' clocks may be apart.
    pub clock_offset_max: Duration,
}

impl Times {
    /// What lets the attempts of healthy workers survive an `outage` in which no leader answers.
    ///
    /// When it begins, the last heartbeat may be an interval old, a sixth of the outage; when it is over, workers have another sixth to find the leader.
    pub fn new(outage: Duration, election_max: Duration, clock_offset_max: Duration) -> Self {
        Self { lease: outage + outage / 3, heartbeat: outage / 6, election_max, clock_offset_max }
    }
}

/// The dispatcher of a node. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) times: Times,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shards: LedShards,
    pub(super) links_opened: AtomicU64,
    pub(super) draining: AtomicBool,
    /// There were limits at some time: until then nobody asks for their tables.
    pub(super) limited: AtomicBool,
    pub(super) tables: Mutex<Tables>,
}

impl Dispatcher {
    /// A dispatcher that sends requests to the runs of `shards`.
    pub fn new(times: Times, clock: Arc<dyn Clock>, shards: LedShards) -> Self {
        let inner = Inner {
            times,
            clock,
            shards,
            links_opened: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            tables: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How long things last.
    pub fn times(&self) -> Times {
        self.inner.times
    }

    /// Grants no more leases: the node is about to stop.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Gives up every lease, and waits until that is recorded: what is only asked for would go with the leaderships. Only for
    /// [`Mutant::DroppedDrain`].
    pub async fn give_up_all(&self) {
        let held = self.inner.tables.lock().leases.names();
        let given_up = held.into_iter().map(|name| {
            let (told, answer) = tokio::sync::oneshot::channel();
            let reply = Reply::new(move |_| {
                // Nobody waits any more if it took too long.
                let _ = told.send(());
            });
            let ask = Ask::Command(abandon(&name, "the node drains"));
            let request = Request { uid: Some(name.uid), ask, credit: None, reply, permit: None };
            self.inner.shards.deliver(name.shard, &name.key, request);
            answer
        });
        let all = futures::future::join_all(given_up.collect::<Vec<_>>());
        tokio::time::timeout(self.inner.times.election_max, all).await.ok();
    }

    // --- What a leadership brings and takes.

    /// Takes over what a shard's state says is open, begins the leadership, and announces it to every gateway: in one step, so that nobody
    /// asks this leader about a lease that it does not know yet.
    pub fn adopt(&self, led: LedShard, waiting: Vec<WaitingTask>, leases: Vec<(Entry, LimitRefs)>) {
        let (shard, term) = (led.shard, led.term);
        let wall = self.inner.clock.now();
        let until = Instant::now() + self.inner.times.lease.mul_f64(1.1) + self.inner.times.election_max;
        let until = if active(Mutant::ExpireLeasesAtOnce) { Instant::now() } else { until };
        // Another machine's clock set these deadlines.
        let offset = u64::try_from(self.inner.times.clock_offset_max.as_millis()).unwrap_or(0);
        let lines: std::collections::BTreeSet<Line> = waiting.iter().map(WaitingTask::line).collect();
        let mut tables = self.inner.tables.lock();
        tables.remove_shard(shard, self.permits_linger());
        for (mut lease, limits) in leases {
            tables.permits.inherit(lease.name.uid, lease.name.attempt.step.clone(), shard, limits);
            lease.inherited_until = Some(until);
            lease.expires_at = until;
            lease.attempt_deadline = lease.attempt_deadline.map(|deadline| deadline.plus(quorus_engine::Millis(offset)));
            tables.leases.insert(lease, wall);
        }
        for mut task in waiting {
            task.expires_at = task.deadline.map(|deadline| deadline.plus(quorus_engine::Millis(offset)));
            tables.wait(task);
        }
        self.inner.shards.begin(led);
        for link in tables.links.values() {
            send(&link.sender, Message::Leading(peer::Leading { shard, term }));
        }
        drop(tables);
        // Workers may have had room here all along.
        for line in lines {
            self.serve_line(&line);
        }
        if active(Mutant::ExpireLeasesAtOnce) {
            self.tick();
        }
    }

    /// Ends a leadership and forgets what it brought. One that a newer leadership has replaced brought nothing that is still here.
    pub fn abandon_shard(&self, shard: u32, term: u64) {
        let led = {
            let mut tables = self.inner.tables.lock();
            let Some(led) = self.inner.shards.take(shard, term) else { return };
            tables.remove_shard(shard, self.permits_linger());
            led
        };
        // Without the lock: requests that are dropped give their credits back.
        led.end();
    }

    /// Until when a run has a lease that nothing may end, since its worker may not have found this leader yet.
    pub fn inherited_until(&self, uid: quorus_engine::RunUid) -> Option<Instant> {
        self.inner.tables.lock().leases.inherited_until(uid)
    }

    // --- What run actors ask and tell.

    /// Takes a credit for a decision, unless somebody waits longer.
    pub fn take(&self, line: &Line) -> Option<Credit> {
        if self.inner.draining.load(Ordering::Acquire) {
            return None;
        }
        let mut tables = self.inner.tables.lock();
        if tables.waiting.len(line) > 0 || tables.is_paused(&line.queue) {
            return None;
        }
        tables.sessions.take(line)
    }

    /// Gives back what a decision did not spend.
    pub fn release(&self, credit: Credit) {
        let session = credit.session;
        self.give_back(credit);
        self.serve_session(session);
    }

    /// The same in the middle of serving: the ticker serves.
    pub(super) fn give_back(&self, credit: Credit) {
        let mut tables = self.inner.tables.lock();
        let session = credit.session;
        tables.sessions.release(credit);
        tables.pay(session);
    }

    /// A task was queued by an applied decision of this leadership.
    pub fn queued(&self, term: u64, task: WaitingTask) {
        let line = task.line();
        let first = {
            let mut tables = self.inner.tables.lock();
            if !self.inner.shards.is_led(task.shard, term) {
                return;
            }
            tables.wait(task)
        };
        // Behind others it can't be served before them.
        if first {
            self.serve_line(&line);
        }
    }

    /// A queued task is not waiting any more: it was leased or has ended.
    pub fn dequeued(&self, uid: quorus_engine::RunUid, step: &quorus_engine::StepId) {
        let mut tables = self.inner.tables.lock();
        if tables.waiting.remove(uid, step).is_some() {
            // It stood in its line, so nothing was leased.
            tables.permits.end(uid, step, PermitEnd::Unused);
        }
    }

    /// A lease was granted by an applied decision of this leadership: watch it, and push its task.
    pub fn leased(&self, term: u64, mut lease: Entry, session: SessionKey, task: v1::Task) {
        let wall = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        if !self.inner.shards.is_led(lease.name.shard, term) {
            return;
        }
        // The worker may have come by another stream while the decision was on its way; the credit died with the old one.
        let there = tables.sessions.get(session).map(|known| (session, known));
        if let Some((key, known)) = there.or_else(|| tables.sessions.of_worker(&lease.worker)) {
            lease.session = Some(key);
            let push = peer::PushTask { session: key.session, task: Some(task), again: key != session };
            send(&known.link, Message::Push(push));
        }
        tables.permits.leased(lease.name.uid, &lease.name.attempt.step);
        tables.leases.insert(lease, wall);
    }

    /// How an attempt went, for the limits that it counts against. Before it is closed or cut.
    pub fn attempt_ended(&self, uid: quorus_engine::RunUid, step: &quorus_engine::StepId, how: PermitEnd) {
        if self.inner.limited.load(Ordering::Acquire) {
            self.inner.tables.lock().permits.end(uid, step, how);
        }
    }

    /// Pushes the task of a lease again, if its worker is (still) at that session.
    pub fn redeliver(&self, name: &LeaseName, session: SessionKey, task: v1::Task) {
        let wall = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        let lease = self.inner.times.lease;
        let Some(link) = tables.sessions.get(session).map(|known| known.link.clone()) else { return };
        if tables.leases.renew(name.uid, &name.attempt, session, lease, wall) {
            tracing::info!(run = %name.key, step = %name.attempt.step, attempt = name.attempt.attempt, "task is delivered again");
            send(&link, Message::Push(peer::PushTask { session: session.session, task: Some(task), again: true }));
        }
    }

    /// A lease is over by an applied decision.
    pub fn closed(&self, uid: quorus_engine::RunUid, step: &quorus_engine::StepId) {
        let mut tables = self.inner.tables.lock();
        tables.leases.remove(uid, step);
        tables.permits.end(uid, step, PermitEnd::Neutral);
    }

    /// A lease was ended by an applied decision that its worker does not know of: forget it, and tell the worker.
    pub fn cut(&self, uid: quorus_engine::RunUid, step: &quorus_engine::StepId, reason: &str) {
        let mut tables = self.inner.tables.lock();
        tables.permits.end(uid, step, PermitEnd::Neutral);
        if let Some(lease) = tables.leases.remove(uid, step) {
            tables.tell_to_stop(&lease, reason);
        }
    }

    /// A run has ended: what it left is stopped and forgotten.
    pub fn run_ended(&self, uid: quorus_engine::RunUid, reason: &str) {
        let mut tables = self.inner.tables.lock();
        tables.waiting.remove_run(uid);
        tables.permits.end_run(uid);
        for lease in tables.leases.remove_run(uid) {
            tables.tell_to_stop(&lease, reason);
        }
    }

    /// An attempt was asked to stop by an applied decision.
    pub fn cancel(&self, name: &LeaseName, reason: &str, grace: Duration) {
        let tables = self.inner.tables.lock();
        if let Some(session) = tables.leases.get(name.uid, &name.attempt).and_then(|lease| lease.session) {
            tables.cancel(session, name, reason, grace);
        }
    }

    /// The worker at that session does not have the task of an attempt that was asked to stop: it gives it back, and drops a copy that is still on its way.
    /// The lease is not renewed: a worker that does not answer has lost it when its time is over.
    pub fn take_back(&self, name: &LeaseName, session: SessionKey, grace: Duration) {
        self.inner.tables.lock().cancel(session, name, "the attempt was asked to stop before its task arrived", grace);
    }

    // --- What the clock brings; see `ticker`.

    /// Gives up what is overdue, and tells gateways what waits.
    pub(super) fn tick(&self) {
        let wall = self.inner.clock.now();
        let mut requests = Vec::new();
        let expired;
        {
            let mut tables = self.inner.tables.lock();
            for (why, lease) in tables.leases.overdue(wall) {
                let name = lease.name;
                let attempt = name.attempt.clone();
                let command = match why {
                    Overdue::Lease => abandon(&name, "nobody renewed the lease"),
                    Overdue::Attempt => Command::AttemptTimeout { attempt },
                    Overdue::Heartbeat => Command::HeartbeatTimeout { attempt },
                };
                requests.push((name, Ask::Command(command)));
            }
            expired = tables.waiting.expired(wall);
            self.bring_back(&mut tables);
            tables.announce();
            metrics::gauge!(names::LEASES).set(tables.leases.count() as f64);
        }
        for task in expired {
            let deadline = task.deadline.unwrap_or(wall);
            let command = Command::ScheduleTimeout { step: task.step.clone(), deadline };
            self.deliver(task, Ask::Command(command), None);
        }
        self.send_all(requests);
        self.serve_all();
    }

    pub(super) fn shards(&self) -> &LedShards {
        &self.inner.shards
    }

    /// How long the permits of a lost shard count here: its next leader has opened, and counted them, by then.
    fn permits_linger(&self) -> Duration {
        self.inner.times.election_max * 8
    }

    pub(super) fn send_all(&self, requests: Vec<(LeaseName, Ask)>) {
        for (name, ask) in requests {
            // Without a quorum nothing would be decided, and requests would pile up. What is due stays due.
            if !self.inner.shards.get(name.shard).is_some_and(|led| led.has_quorum(self.inner.times.election_max)) {
                continue;
            }
            let request = Request { uid: Some(name.uid), ask, credit: None, reply: Reply::nobody(), permit: None };
            self.inner.shards.deliver(name.shard, &name.key, request);
        }
    }
}

pub(super) fn abandon(name: &LeaseName, reason: &str) -> Command {
    Command::Abandon { attempt: name.attempt.clone(), reason: reason.to_owned() }
}
