//! The one loop of a worker: feeds the rules of [`Leases`] with messages, reports and time, and carries out what they say.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use quorus_proto::v1::{
    RegisterWorker, SetCapacity, Task, TaskOutcome, TaskReleased, WorkRequest, WorkerRegistered, task_outcome, work_request,
    work_response::Message,
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::Instant,
};
use tokio_util::task::TaskTracker;
use tonic::Code;
use tracing::{debug, info, warn};

use super::{
    CancelReason, Cancellation, TaskContext, WorkerError,
    attempt::{self, Shared},
    context::{Report, Signal},
    leases::{Action, Leases, Moment, StopReason},
    link::{Link, LinkEvent},
};
use crate::ApiError;

/// How long an attempt may take to stop when the worker does.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long the last outcomes may take to be acknowledged after that.
const FLUSH_GRACE: Duration = Duration::from_secs(3);
/// How long the node may take to see the end of the stream.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What a worker tells nodes about itself.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) incarnation: String,
    pub(super) queues: Vec<String>,
    pub(super) concurrency: u32,
    pub(super) labels: BTreeMap<String, String>,
}

struct Running {
    signal: Signal,
    committed: watch::Sender<u64>,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// Takes nothing new; attempts may end by themselves until then.
    Draining(Instant),
    /// Attempts were told to stop; what is not acknowledged by then stays so.
    Stopping(Instant),
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    identity: Identity,
    shutdown_grace: Duration,
    session: u64,
    /// A node accepted this worker at least once, so that its configuration is known to be good.
    accepted: bool,
    /// The last thing that the log says about the connection, so that an outage is told once.
    outage_told: bool,
    leases: Leases,
    running: BTreeMap<Bytes, Running>,
    /// Attempts that have not reported their end, also those whose lease is over already.
    live: usize,
    tracker: TaskTracker,
    reports: UnboundedSender<Report>,
    began: Instant,
    phase: Phase,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, identity: Identity, shutdown_grace: Duration) -> (Self, UnboundedReceiver<Report>) {
        // Unbounded, but bounded by its use: an attempt has at most one checkpoint and one end under way.
        let (reports, receiver) = unbounded_channel();
        let driver = Self {
            shared,
            identity,
            shutdown_grace,
            session: 0,
            accepted: false,
            outage_told: false,
            leases: Leases::new(),
            running: BTreeMap::new(),
            live: 0,
            tracker: TaskTracker::new(),
            reports,
            began: Instant::now(),
            phase: Phase::Working,
        };
        (driver, receiver)
    }

    /// Works until the shutdown signal and everything after it.
    pub(super) async fn run(
        mut self,
        mut link: Link,
        mut reports: UnboundedReceiver<Report>,
        shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Result<(), WorkerError> {
        let mut shutdown = pin!(shutdown);
        while !self.finished() {
            let tick = self.leases.next_tick();
            let phase_end = match self.phase {
                Phase::Working => None,
                Phase::Draining(until) | Phase::Stopping(until) => Some(until),
            };
            tokio::select! {
                // Time first: a flood of messages must not delay the stop of what outlived its lease.
                biased;
                () = until(tick.map(|tick| self.began + tick)) => {
                    let actions = self.leases.tick(self.now());
                    self.carry_out(&mut link, actions);
                }
                () = until(phase_end) => self.next_phase(),
                Some(report) = reports.recv() => self.on_report(&mut link, report),
                event = link.next() => self.on_link(&mut link, event)?,
                () = &mut shutdown, if self.phase == Phase::Working => self.begin_shutdown(&link),
            }
        }
        let _ = tokio::time::timeout(CLOSE_GRACE, link.close()).await;
        self.tracker.close();
        let _ = tokio::time::timeout(STOP_GRACE, self.tracker.wait()).await;
        info!(worker = self.identity.name, "worker stopped");
        Ok(())
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn finished(&self) -> bool {
        match self.phase {
            Phase::Working => false,
            Phase::Draining(_) => self.leases.is_empty() && self.live == 0,
            Phase::Stopping(until) => (self.leases.is_empty() && self.live == 0) || until <= Instant::now(),
        }
    }

    fn on_link(&mut self, link: &mut Link, event: LinkEvent) -> Result<(), WorkerError> {
        match event {
            LinkEvent::Due => {
                self.session += 1;
                debug!(node = link.address(), session = self.session, "registering");
                link.open(self.register());
            }
            LinkEvent::Opened(registered) => self.on_registered(link, &registered),
            LinkEvent::Message(message) => self.on_message(link, *message),
            LinkEvent::Closed(error) => self.on_closed(link, &error)?,
        }
        Ok(())
    }

    fn register(&self) -> RegisterWorker {
        RegisterWorker {
            name: self.identity.name.clone(),
            incarnation: self.identity.incarnation.clone(),
            session: self.session,
            queues: self.identity.queues.clone(),
            capacity: self.identity.concurrency,
            labels: self.identity.labels.clone(),
            held: self.leases.inventory(),
            task_types: self.shared.registry.task_types(),
        }
    }

    fn on_registered(&mut self, link: &mut Link, registered: &WorkerRegistered) {
        info!(worker = self.identity.name, node = registered.node, queues = ?self.identity.queues, "worker registered");
        (self.accepted, self.outage_told) = (true, false);
        if self.phase != Phase::Working {
            link.send(capacity(0));
        }
        let millis = Duration::from_millis;
        let actions = self.leases.registered(self.now(), millis(registered.lease_ms), millis(registered.heartbeat_interval_ms));
        self.carry_out(link, actions);
    }

    fn on_message(&mut self, link: &mut Link, message: Message) {
        let actions = match message {
            Message::Task(task) => self.leases.task(self.now(), task),
            Message::HeartbeatAck(ack) => self.leases.heartbeat_ack(self.now(), ack),
            Message::OutcomeAck(ack) => {
                if !ack.accepted {
                    warn!(reason = ack.reason, "an outcome was refused: its lease was no longer valid");
                }
                self.leases.outcome_ack(&ack);
                Vec::new()
            }
            Message::Cancel(cancel) => self.leases.cancel(self.now(), cancel),
            Message::Drain(_) => {
                info!(node = link.address(), "the node is about to stop, going to another one");
                self.leases.disconnected();
                link.leave();
                Vec::new()
            }
            // A node that registers twice changes nothing.
            Message::Registered(_) => Vec::new(),
        };
        self.carry_out(link, actions);
    }

    fn on_closed(&mut self, link: &Link, error: &ApiError) -> Result<(), WorkerError> {
        self.leases.disconnected();
        let hopeless = matches!(error.code, Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented);
        if hopeless && !self.accepted && !error.from_transport {
            return Err(WorkerError::Refused(Box::new(error.clone())));
        }
        if self.outage_told {
            debug!(%error, next = link.address(), "no connection");
        } else {
            warn!(%error, next = link.address(), held = self.leases.inventory().len(), "no connection, trying the next node");
            self.outage_told = true;
        }
        Ok(())
    }

    fn on_report(&mut self, link: &mut Link, report: Report) {
        let actions = match report {
            Report::Ended(outcome) => {
                self.live -= 1;
                self.running.remove(&outcome.lease);
                self.leases.ended(outcome)
            }
            Report::Checkpoint { lease, number, payload } => self.leases.checkpoint(self.now(), &lease, number, payload),
            Report::Log { lease, line } => self.leases.log(self.now(), &lease, line),
            Report::Progress { lease } => self.leases.progress(self.now(), &lease),
        };
        self.carry_out(link, actions);
    }

    fn carry_out(&mut self, link: &mut Link, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(task) if self.phase == Phase::Working => self.start(*task),
                Action::Start(task) => {
                    let result = Some(task_outcome::Result::Released(TaskReleased { checkpoint: task.checkpoint }));
                    let actions = self.leases.ended(TaskOutcome { lease: task.lease, result });
                    self.carry_out(link, actions);
                }
                Action::Send(request) => link.send(request),
                Action::Cancel { lease, reason, grace } => {
                    if let Some(running) = self.running.get(&lease) {
                        running.signal.cancel(Cancellation { reason: CancelReason::Requested(reason), grace });
                    }
                }
                Action::Stop { lease, grace, why } => self.stop(&lease, grace, why),
                Action::Committed { lease, number } => {
                    if let Some(running) = self.running.get(&lease) {
                        running.committed.send_modify(|committed| *committed = number.max(*committed));
                    }
                }
                Action::LeaveNode => {
                    warn!(node = link.address(), "the node does not answer heartbeats, trying the next one");
                    self.leases.disconnected();
                    link.leave();
                }
            }
        }
    }

    fn start(&mut self, task: Task) {
        let (signal, committed) = (Signal::new(), watch::Sender::new(0));
        let context = TaskContext {
            signal: signal.clone(),
            reports: self.reports.clone(),
            committed: committed.subscribe(),
            numbers: Arc::new(AtomicU64::new(0)),
            checkpoint: Arc::new(Mutex::new(task.checkpoint.clone())),
            secrets: Arc::default(),
            task: Arc::new(task),
        };
        self.running.insert(context.task.lease.clone(), Running { signal, committed });
        self.live += 1;
        self.tracker.spawn(attempt::execute(self.shared.clone(), context));
    }

    /// Dropping the entry also ends every wait for a checkpoint of that attempt.
    fn stop(&mut self, lease: &Bytes, grace: Duration, why: StopReason) {
        let Some(running) = self.running.remove(lease) else { return };
        match why {
            StopReason::Lost => info!("a lease is over, stopping its attempt"),
            StopReason::Deadline => warn!("no node renewed a lease in time, stopping its attempt"),
        }
        running.signal.cancel(Cancellation { reason: CancelReason::LeaseLost, grace });
    }

    fn begin_shutdown(&mut self, link: &Link) {
        info!(worker = self.identity.name, running = self.running.len(), "worker stops: takes no more tasks");
        self.phase = Phase::Draining(Instant::now() + self.shutdown_grace);
        link.send(capacity(0));
    }

    fn next_phase(&mut self) {
        if matches!(self.phase, Phase::Draining(_)) {
            self.phase = Phase::Stopping(Instant::now() + STOP_GRACE + FLUSH_GRACE);
            for running in self.running.values() {
                running.signal.cancel(Cancellation { reason: CancelReason::Shutdown, grace: STOP_GRACE });
            }
        }
    }
}

fn capacity(capacity: u32) -> WorkRequest {
    WorkRequest { message: Some(work_request::Message::Capacity(SetCapacity { capacity })) }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
