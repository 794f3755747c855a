//! Brings waiting tasks and workers' room together, for all shards that this node leads.
//!
//! A lock around plain tables, never held across an await or a decision: run actors take credits from it in the middle of a decision, links
//! feed it, the ticker asks it what is overdue. What has to happen to a run leaves as a [`Request`] to the run's actor.
//!
//! Rules (see the leases section of the protocols): only a leader renews, and only while a quorum acknowledged it lately; a lease is pushed
//! again only to the incarnation that it is bound to; credits are spent by the decision that leases, and come back by the outcome.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use quorus_engine::{Command, Credits, WorkerId};
use quorus_proto::{
    peer::{self, LinkResponse, link_response::Message},
    v1,
};
use tokio::time::Instant;

use super::{Credit, Entry, LeaseName, Leases, LinkSender, Overdue, Session, SessionKey, Sessions, Waiting, WaitingTask};
use crate::{
    clock::Clock,
    leader::{Ask, LedShard, LedShards, Reply, Request},
    observe::names,
};

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a lease lives without renewal.
    pub lease: Duration,
    /// How long a worker whose stream closed may take to come back.
    pub reconnect_grace: Duration,
    /// The longest time that an old leader may have believed in itself.
    pub election_max: Duration,
    /// How far two machines' clocks may be apart.
    pub clock_offset_max: Duration,
}

/// The dispatcher of a node. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    times: Times,
    clock: Arc<dyn Clock>,
    shards: LedShards,
    links_opened: AtomicU64,
    draining: AtomicBool,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    sessions: Sessions,
    waiting: Waiting,
    leases: Leases,
    links: BTreeMap<u64, LinkSender>,
    announced: BTreeMap<String, usize>,
}

impl Dispatcher {
    /// A dispatcher that sends requests to the runs of `shards`.
    pub fn new(times: Times, clock: Arc<dyn Clock>, shards: LedShards) -> Self {
        let inner =
            Inner { times, clock, shards, links_opened: AtomicU64::new(0), draining: AtomicBool::new(false), tables: Mutex::default() };
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

    // --- What a leadership brings and takes.

    /// Takes over what a shard's state says is open, begins the leadership, and announces it to every gateway: in one step, so that nobody
    /// asks this leader about a lease that it does not know yet.
    pub fn adopt(&self, led: LedShard, waiting: Vec<WaitingTask>, leases: Vec<Entry>) {
        let (shard, term) = (led.shard, led.term);
        let wall = self.inner.clock.now();
        let until = Instant::now() + self.inner.times.lease.mul_f64(1.1) + self.inner.times.election_max;
        // Another machine's clock set these deadlines.
        let offset = u64::try_from(self.inner.times.clock_offset_max.as_millis()).unwrap_or(0);
        let queues: std::collections::BTreeSet<String> = waiting.iter().map(|task| task.queue.clone()).collect();
        let mut tables = self.inner.tables.lock();
        tables.waiting.remove_shard(shard);
        tables.leases.remove_shard(shard);
        for mut lease in leases {
            lease.inherited_until = Some(until);
            lease.expires_at = until;
            lease.attempt_deadline = lease.attempt_deadline.map(|deadline| deadline.plus(quorus_engine::Millis(offset)));
            tables.leases.insert(lease, wall);
        }
        for mut task in waiting {
            task.expires_at = task.deadline.map(|deadline| deadline.plus(quorus_engine::Millis(offset)));
            tables.waiting.push(task);
        }
        self.inner.shards.begin(led);
        for link in tables.links.values() {
            send(link, Message::Leading(peer::Leading { shard, term }));
        }
        drop(tables);
        // Workers may have had room here all along.
        self.serve(&queues.into_iter().collect::<Vec<_>>());
    }

    /// Ends a leadership and forgets what it brought. One that a newer leadership has replaced brought nothing that is still here.
    pub fn abandon_shard(&self, shard: u32, term: u64) {
        let led = {
            let mut tables = self.inner.tables.lock();
            let Some(led) = self.inner.shards.take(shard, term) else { return };
            tables.waiting.remove_shard(shard);
            tables.leases.remove_shard(shard);
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
    pub fn take(&self, queue: &str) -> Option<Credit> {
        if self.inner.draining.load(Ordering::Acquire) {
            return None;
        }
        let mut tables = self.inner.tables.lock();
        if tables.waiting.len(queue) > 0 {
            return None;
        }
        tables.sessions.take(queue)
    }

    /// Gives back what a decision did not spend.
    pub fn release(&self, credit: Credit) {
        let queues = {
            let mut tables = self.inner.tables.lock();
            let queues = tables.sessions.queues(credit.session);
            let session = credit.session;
            tables.sessions.release(credit);
            tables.pay(session);
            queues
        };
        self.serve(&queues);
    }

    /// A task was queued by an applied decision of this leadership.
    pub fn queued(&self, term: u64, task: WaitingTask) {
        let queue = task.queue.clone();
        {
            let mut tables = self.inner.tables.lock();
            if !self.inner.shards.is_led(task.shard, term) {
                return;
            }
            tables.waiting.push(task);
        }
        self.serve(&[queue]);
    }

    /// A queued task is not waiting any more: it was leased or has ended.
    pub fn dequeued(&self, uid: quorus_engine::RunUid, step: &quorus_engine::StepId) {
        self.inner.tables.lock().waiting.remove(uid, step);
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
        tables.leases.insert(lease, wall);
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
        self.inner.tables.lock().leases.remove(uid, step);
    }

    /// A lease was ended by an applied decision that its worker does not know of: forget it, and tell the worker.
    pub fn cut(&self, uid: quorus_engine::RunUid, step: &quorus_engine::StepId, reason: &str) {
        let mut tables = self.inner.tables.lock();
        if let Some(lease) = tables.leases.remove(uid, step) {
            tables.tell_to_stop(&lease, reason);
        }
    }

    /// A run has ended: what it left is stopped and forgotten.
    pub fn run_ended(&self, uid: quorus_engine::RunUid, reason: &str) {
        let mut tables = self.inner.tables.lock();
        tables.waiting.remove_run(uid);
        for lease in tables.leases.remove_run(uid) {
            tables.tell_to_stop(&lease, reason);
        }
    }

    /// An attempt was asked to stop by an applied decision.
    pub fn cancel(&self, name: &LeaseName, reason: &str, grace: Duration) {
        let tables = self.inner.tables.lock();
        let Some(session) = tables.leases.get(name.uid, &name.attempt).and_then(|lease| lease.session) else { return };
        let Some(known) = tables.sessions.get(session) else { return };
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let cancel = v1::CancelTask { lease: name.encode(), reason: reason.to_owned(), grace_ms };
        send(&known.link, Message::Cancel(peer::CancelPushed { session: session.session, cancel: Some(cancel) }));
    }

    // --- What links bring; see `link`.

    /// Registers a link; tells it what this node leads and what waits.
    pub(super) fn link_opened(&self, link: LinkSender) -> u64 {
        let number = self.inner.links_opened.fetch_add(1, Ordering::Relaxed);
        let mut tables = self.inner.tables.lock();
        for (shard, term) in self.inner.shards.terms() {
            send(&link, Message::Leading(peer::Leading { shard, term }));
        }
        for (queue, waiting) in tables.waiting.lengths() {
            send(&link, Message::Demand(demand(queue, waiting)));
        }
        tables.links.insert(number, link);
        number
    }

    /// Forgets a link: its gateway died or its connection broke.
    pub(super) fn link_closed(&self, link: u64) {
        let mut tables = self.inner.tables.lock();
        tables.links.remove(&link);
        tables.sessions.close_link(link);
        tables.leases.detach_link(link);
    }

    /// Registers a session, matches its inventory with the leases of its incarnation, and gives up those of earlier incarnations.
    pub(super) fn session_opened(&self, key: SessionKey, session: Session, held: &[LeaseName], only_shard: u32) {
        let wall = self.inner.clock.now();
        let mut requests = Vec::new();
        {
            let mut tables = self.inner.tables.lock();
            let worker = session.worker.clone();
            if !tables.sessions.open(key, session) {
                return;
            }
            let known: Vec<_> = tables.leases.of_worker(&worker.name).cloned().collect();
            for lease in known.into_iter().filter(|lease| only_shard == 0 || lease.name.shard == only_shard) {
                let name = &lease.name;
                if lease.worker.incarnation != worker.incarnation {
                    requests.push((name.clone(), Ask::Command(abandon(name, "the worker was started anew"))));
                } else if held.contains(name) {
                    tables.leases.renew(name.uid, &name.attempt, key, self.inner.times.lease, wall);
                } else if lease.session != Some(key) {
                    let (step, token) = (name.attempt.step.clone(), name.attempt.token);
                    requests.push((name.clone(), Ask::Redeliver { step, token, session: key }));
                }
            }
        }
        self.send_all(requests);
    }

    /// A worker's stream closed at a gateway that lives.
    pub(super) fn session_closed(&self, key: SessionKey) {
        let wall = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        tables.sessions.close(key);
        tables.leases.detach(key, self.inner.times.reconnect_grace, wall);
    }

    /// Room for tasks was granted.
    pub(super) fn granted(&self, key: SessionKey, credits: u32) {
        let queues = {
            let mut tables = self.inner.tables.lock();
            tables.sessions.grant(key, credits);
            tables.pay(key);
            tables.sessions.queues(key)
        };
        self.serve(&queues);
    }

    /// Gives unspent credits back to the gateway.
    pub(super) fn recalled(&self, key: SessionKey, most: u32) {
        let mut tables = self.inner.tables.lock();
        let credits = tables.sessions.recall(key, most);
        if let Some(session) = tables.sessions.get(key) {
            send(&session.link, Message::Returned(peer::ReturnCredits { session: key.session, credits }));
        }
    }

    /// Renews the leases that are known; returns the names that are not.
    pub(super) fn renew(&self, key: SessionKey, names: &[LeaseName]) -> (Vec<LeaseName>, Vec<LeaseName>) {
        let wall = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        let lease = self.inner.times.lease;
        names.iter().cloned().partition(|name| tables.leases.renew(name.uid, &name.attempt, key, lease, wall))
    }

    /// Notes progress of the user's code.
    pub(super) fn progress(&self, name: &LeaseName) {
        let wall = self.inner.clock.now();
        self.inner.tables.lock().leases.progress(name.uid, &name.attempt, wall);
    }

    pub(super) fn shards(&self) -> &LedShards {
        &self.inner.shards
    }

    // --- What the clock brings; see `ticker`.

    /// Gives up what is overdue, and tells gateways what waits.
    pub(super) fn tick(&self) {
        let wall = self.inner.clock.now();
        let mut requests = Vec::new();
        let expired;
        let queues: Vec<String>;
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
            queues = tables.waiting.lengths().map(|(queue, _)| queue.to_owned()).collect();
            tables.announce();
            metrics::gauge!(names::LEASES).set(tables.leases.count() as f64);
        }
        for task in expired {
            let deadline = task.deadline.unwrap_or(wall);
            let command = Command::ScheduleTimeout { step: task.step.clone(), deadline };
            self.deliver(&task, Ask::Command(command), None);
        }
        self.send_all(requests);
        self.serve(&queues);
    }

    /// Leases waiting tasks of these queues to whoever has room.
    fn serve(&self, queues: &[String]) {
        if self.inner.draining.load(Ordering::Acquire) {
            return;
        }
        for queue in queues {
            loop {
                let mut tables = self.inner.tables.lock();
                if tables.waiting.len(queue) == 0 {
                    break;
                }
                let Some(credit) = tables.sessions.take(queue) else {
                    tables.announce();
                    break;
                };
                let Some(task) = tables.waiting.pop(queue) else {
                    tables.sessions.release(credit);
                    break;
                };
                drop(tables);
                let command = Command::Lease { step: task.step.clone(), worker: credit.worker.clone() };
                self.deliver(&task, Ask::Command(command), Some(credit));
            }
        }
    }

    fn deliver(&self, task: &WaitingTask, ask: Ask, credit: Option<Credit>) {
        let credit = credit.map(|credit| ReservedCredit { dispatcher: self.clone(), credit: Some(credit) });
        let request = Request { uid: Some(task.uid), ask, credit, reply: Reply::nobody(), permit: None };
        self.inner.shards.deliver(task.shard, &task.key, request);
    }

    fn send_all(&self, requests: Vec<(LeaseName, Ask)>) {
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

impl Tables {
    /// Tells the worker of a lease that is over to stop at once.
    fn tell_to_stop(&self, lease: &Entry, reason: &str) {
        let Some(session) = lease.session else { return };
        let Some(known) = self.sessions.get(session) else { return };
        let cancel = v1::CancelTask { lease: lease.name.encode(), reason: reason.to_owned(), grace_ms: 0 };
        send(&known.link, Message::Cancel(peer::CancelPushed { session: session.session, cancel: Some(cancel) }));
    }

    /// Gives the gateway the credits that a session owes, as far as it has them.
    fn pay(&mut self, key: SessionKey) {
        let credits = self.sessions.pay(key);
        if let Some(session) = self.sessions.get(key).filter(|_| credits > 0) {
            send(&session.link, Message::Returned(peer::ReturnCredits { session: key.session, credits }));
        }
    }

    /// Tells every gateway how many tasks wait, where that has changed.
    fn announce(&mut self) {
        let now: BTreeMap<String, usize> = self.waiting.lengths().map(|(queue, waiting)| (queue.to_owned(), waiting)).collect();
        let ended = self.announced.keys().filter(|queue| !now.contains_key(*queue)).map(|queue| (queue.clone(), 0));
        let changed =
            now.iter().filter(|(queue, waiting)| self.announced.get(*queue) != Some(waiting)).map(|(queue, n)| (queue.clone(), *n));
        for (queue, waiting) in ended.chain(changed).collect::<Vec<_>>() {
            metrics::gauge!(names::QUEUE_DEPTH, "queue" => queue.clone()).set(waiting as f64);
            for link in self.links.values() {
                send(link, Message::Demand(demand(&queue, waiting)));
            }
        }
        self.announced = now;
    }
}

fn demand(queue: &str, waiting: usize) -> peer::Demand {
    peer::Demand { queue: queue.to_owned(), waiting: u32::try_from(waiting).unwrap_or(u32::MAX) }
}

fn abandon(name: &LeaseName, reason: &str) -> Command {
    Command::Abandon { attempt: name.attempt.clone(), reason: reason.to_owned() }
}

fn send(link: &LinkSender, message: Message) {
    // A link that is gone is noticed by its reader, which forgets the sessions.
    link.send(LinkResponse { message: Some(message) }).ok();
}

/// A credit on its way to the decision that is to spend it; given back if it never gets there.
pub struct ReservedCredit {
    dispatcher: Dispatcher,
    credit: Option<Credit>,
}

impl Drop for ReservedCredit {
    fn drop(&mut self) {
        // Not served at once: this may happen in the middle of serving. The ticker does it.
        if let Some(credit) = self.credit.take() {
            let mut tables = self.dispatcher.inner.tables.lock();
            let session = credit.session;
            tables.sessions.release(credit);
            tables.pay(session);
        }
    }
}

/// The credits of one decision: remembers which session each lease is for, and gives back what the decision did not use.
pub struct CreditDraw<'a> {
    dispatcher: &'a Dispatcher,
    taken: Vec<Credit>,
}

impl<'a> CreditDraw<'a> {
    /// Nothing taken yet.
    pub fn new(dispatcher: &'a Dispatcher) -> Self {
        Self { dispatcher, taken: Vec::new() }
    }

    /// Adds a credit that was reserved before.
    pub fn add(&mut self, reserved: Option<ReservedCredit>) {
        self.taken.extend(reserved.and_then(|mut reserved| reserved.credit.take()));
    }

    /// The credit that a lease to this worker spends.
    pub fn spend(&mut self, worker: &WorkerId) -> Option<Credit> {
        let place = self.taken.iter().position(|credit| credit.worker == *worker)?;
        Some(self.taken.remove(place))
    }
}

impl Credits for CreditDraw<'_> {
    fn take(&mut self, queue: &str) -> Option<WorkerId> {
        let credit = self.dispatcher.take(queue)?;
        let worker = credit.worker.clone();
        self.taken.push(credit);
        Some(worker)
    }
}

impl Drop for CreditDraw<'_> {
    fn drop(&mut self) {
        for credit in self.taken.drain(..) {
            self.dispatcher.release(credit);
        }
    }
}
