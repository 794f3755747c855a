//! What applied events owe to the world: tasks to push, queues to stand in, attempts to stop, timers to arm.
//!
//! Everything here can be derived from the state, too, which is what a new leader does; this is the short way for the leader that decided.

use std::time::Duration;

use quorus_engine::{AttemptRef, Event, EventKind, Outcome, Run, RunStatus, RunUid, StepId, StepStatus, TimerKind, Timestamp, Token};
use ractor::ActorRef;

use super::{RunKey, task, timers::TimerMessage};
use crate::{
    dispatch::{CreditDraw, Dispatcher, Entry, LeaseName, PermitEnd, SessionKey},
    observe::names,
    store::Timer,
};

pub(super) struct Effects<'a> {
    pub shard: u32,
    pub term: u64,
    pub key: &'a RunKey,
    pub run: &'a Run,
    pub dispatcher: &'a Dispatcher,
    pub timers: &'a ActorRef<TimerMessage>,
    pub cancel_grace: Duration,
}

impl Effects<'_> {
    /// Acts on the events of a batch. The state is the one after all of them, so what they opened and closed again is not acted on.
    pub(super) fn of_events(&self, uid: RunUid, events: &[Event], draw: &mut CreditDraw<'_>) {
        let current = uid == self.run.info().uid;
        for event in events {
            match &event.kind {
                EventKind::RunStarted(info) => self.arm(uid, None, TimerKind::RunTimeout, info.deadline),
                EventKind::StepQueued { step, step_deadline, .. } => {
                    self.arm(uid, Some(step), TimerKind::StepTimeout, *step_deadline);
                    self.dispatcher.closed(uid, step);
                    if current {
                        self.queue(step);
                    }
                }
                EventKind::StepLeased { step, attempt, token, worker, step_deadline, .. } => {
                    self.arm(uid, Some(step), TimerKind::StepTimeout, *step_deadline);
                    self.dispatcher.dequeued(uid, step);
                    let credit = draw.spend(worker);
                    let attempt = AttemptRef { step: step.clone(), attempt: *attempt, token: *token };
                    match credit {
                        Some(credit) if current && self.is_leased(step, *token) => self.lease(attempt, credit.session),
                        Some(credit) => self.dispatcher.release(credit),
                        None => {}
                    }
                }
                EventKind::ScopeRetried { step, retry_at, .. } => self.arm(uid, Some(step), TimerKind::Due, Some(*retry_at)),
                EventKind::ScopeStarted { step, step_deadline, .. }
                | EventKind::StepAwaiting { step, step_deadline }
                | EventKind::ChildRequested { step, step_deadline, .. } => {
                    self.arm(uid, Some(step), TimerKind::StepTimeout, *step_deadline)
                }
                EventKind::SlotRequested { deadline, .. } => self.arm(uid, None, TimerKind::SlotTimeout, *deadline),
                EventKind::PhaseChanged { scope: None, .. } | EventKind::RunReopened { .. } => {
                    if current {
                        self.arm_run(uid);
                    }
                    if current && matches!(event.kind, EventKind::RunReopened { .. }) {
                        self.each_queued(|step| self.queue(step));
                    }
                }
                EventKind::RunPaused { .. } | EventKind::AttentionRequested { .. } if current => {
                    self.each_queued(|step| {
                        if self.run.holds_back(step) {
                            self.dispatcher.dequeued(uid, step);
                        }
                    });
                }
                EventKind::RunResumed { .. } if current => self.each_queued(|step| self.queue(step)),
                EventKind::RunPaused { .. } | EventKind::AttentionRequested { .. } | EventKind::RunResumed { .. } => {}
                // What these lead to is in other events, or owed to others: see `owing`.
                EventKind::StepCheckpointed { .. }
                | EventKind::RunFailing { .. }
                | EventKind::RunCancelRequested { .. }
                | EventKind::PhaseChanged { scope: Some(_), .. }
                | EventKind::StepReopened { .. }
                | EventKind::ScopeReopened { .. }
                | EventKind::SignalReceived { .. }
                | EventKind::SignalConsumed { .. }
                | EventKind::ApprovalRecorded { .. }
                | EventKind::ChildStarted { .. }
                | EventKind::ChildCancelRequested { .. }
                | EventKind::ChildCompensationRequested { .. }
                | EventKind::ChildEnded { .. }
                | EventKind::ParentNotified
                | EventKind::SlotGranted
                | EventKind::SlotReleased
                | EventKind::NoReturnBound { .. }
                | EventKind::NoReturnLifted { .. }
                | EventKind::Repaired { .. }
                | EventKind::RunMigrated { .. }
                | EventKind::RunAnnotated { .. }
                | EventKind::PoolChanged { .. } => {}
                EventKind::AttemptEnded { step, outcome, retry_at, .. } => {
                    self.dispatcher.attempt_ended(uid, step, permit_end(outcome));
                    match not_from_the_worker(outcome) {
                        Some(reason) => self.dispatcher.cut(uid, step, reason),
                        None => self.dispatcher.closed(uid, step),
                    }
                    self.arm(uid, Some(step), TimerKind::Due, *retry_at);
                    metrics::counter!(names::ATTEMPTS, "outcome" => label(outcome)).increment(1);
                }
                EventKind::StepWaiting { step, until, step_deadline } => {
                    self.arm(uid, Some(step), TimerKind::Due, Some(*until));
                    self.arm(uid, Some(step), TimerKind::StepTimeout, *step_deadline);
                }
                EventKind::StepCancelRequested { step, deadline, reason } => {
                    self.arm(uid, Some(step), TimerKind::CancelGrace, Some(*deadline));
                    if let Some(name) = self.lease_name(step).filter(|_| current) {
                        self.dispatcher.cancel(&name, reason, self.cancel_grace);
                    }
                }
                EventKind::StepEnded { step, status, .. } => {
                    self.dispatcher.closed(uid, step);
                    self.dispatcher.dequeued(uid, step);
                    self.measure(step, *status);
                }
                EventKind::RunEnded { status, reason, .. } => {
                    metrics::counter!(names::RUNS_ENDED, "status" => run_status(*status)).increment(1);
                    self.dispatcher.run_ended(uid, reason);
                }
            }
        }
    }

    /// Pushes the task of a lease again, if it is still this lease. An attempt that was asked to stop must not begin: its task is taken back.
    pub(super) fn redeliver(&self, step: &StepId, token: Token, session: SessionKey) {
        let Some(name) = self.lease_name(step).filter(|name| name.attempt.token == token) else { return };
        let Some(state) = self.run.step(step) else { return };
        if state.cancel_deadline.is_some() {
            self.dispatcher.take_back(&name, session, self.cancel_grace);
        } else if let Some(task) = task::task(self.run.plan(), self.run.info(), state, &name) {
            self.dispatcher.redeliver(&name, session, task);
        }
    }

    fn each_queued(&self, mut act: impl FnMut(&StepId)) {
        for (step, _) in self.run.open_steps().filter(|(_, state)| state.status == StepStatus::Queued) {
            act(step);
        }
    }

    /// A step stands in its queue; one that is held back does when its run is resumed or repaired.
    pub(super) fn queue(&self, step: &StepId) {
        if self.run.holds_back(step) {
            return;
        }
        let Some(state) = self.run.step(step).filter(|state| state.status == StepStatus::Queued) else { return };
        let place = task::Place { shard: self.shard, key: self.key.clone(), uid: self.run.info().uid, step: step.clone() };
        let info = || Some(std::borrow::Cow::Borrowed(self.run.info()));
        self.dispatcher.queued(self.term, task::waiting(self.dispatcher, Some(self.run.plan()), place, state, info));
    }

    fn lease(&self, attempt: AttemptRef, session: SessionKey) {
        let name = LeaseName { shard: self.shard, key: self.key.clone(), uid: self.run.info().uid, attempt };
        let Some(state) = self.run.step(&name.attempt.step) else { return };
        let Some((lease, worker)) = state.lease.as_ref().zip(state.worker.clone()) else { return };
        let Some(task) = task::task(self.run.plan(), self.run.info(), state, &name) else { return };
        if let Some((ready, started)) = state.ready_at.zip(state.started_at) {
            metrics::histogram!(names::SCHEDULE_TO_START).record(seconds_between(ready, started));
        }
        let heartbeat = task::heartbeat_timeout(self.run.plan(), &name.attempt.step);
        let duration = Duration::from_millis(lease.duration.0);
        let entry = Entry::new(name, worker, duration, lease.attempt_deadline, heartbeat);
        self.dispatcher.leased(self.term, entry, session, task);
    }

    fn is_leased(&self, step: &StepId, token: Token) -> bool {
        self.run.step(step).and_then(|state| state.lease.as_ref()).is_some_and(|lease| lease.token == token)
    }

    fn lease_name(&self, step: &StepId) -> Option<LeaseName> {
        let state = self.run.step(step)?;
        let token = state.lease.as_ref()?.token;
        let attempt = AttemptRef { step: step.clone(), attempt: state.attempt, token };
        Some(LeaseName { shard: self.shard, key: self.key.clone(), uid: self.run.info().uid, attempt })
    }

    fn arm(&self, uid: RunUid, step: Option<&StepId>, kind: TimerKind, due: Option<Timestamp>) {
        if let Some(due) = due {
            let timer = Timer { due, uid, kind, step: step.cloned() };
            // A shard whose timers are gone is about to end its leadership; the next leader finds the timer in the index.
            self.timers.cast(TimerMessage::Armed(timer)).ok();
        }
    }

    /// The run's own timers, as they stand.
    fn arm_run(&self, uid: RunUid) {
        for (kind, due) in self.run.head().timers() {
            self.arm(uid, None, kind, Some(due));
        }
    }

    fn measure(&self, step: &StepId, status: StepStatus) {
        let kind = task::planned(self.run.plan(), step).map_or("unknown", |step| step.kind.name());
        metrics::counter!(names::STEPS_ENDED, "status" => status.name(), "kind" => kind).increment(1);
        let state = self.run.step(step);
        if let Some((ready, ended)) = state.and_then(|state| state.ready_at.zip(state.ended_at)) {
            metrics::histogram!(names::STEP_DURATION, "kind" => kind).record(seconds_between(ready, ended));
        }
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    (to.0.saturating_sub(from.0)) as f64 / 1000.0
}

/// Why an attempt is over if its worker did not say so itself, and so has to be told. (One that stopped because it was asked to ignores it.)
fn not_from_the_worker(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Succeeded(_) | Outcome::Failed(_) | Outcome::Released(_) => None,
        Outcome::TimedOut(_) => Some("the attempt timed out"),
        Outcome::Abandoned(_) => Some("the lease was lost"),
        Outcome::Cancelled { .. } => Some("the attempt was cancelled"),
    }
}

/// What an outcome says about what was called.
fn permit_end(outcome: &Outcome) -> PermitEnd {
    match outcome {
        Outcome::Succeeded(_) => PermitEnd::Succeeded,
        Outcome::Failed(_) | Outcome::TimedOut(_) => PermitEnd::Failed,
        Outcome::Abandoned(_) | Outcome::Released(_) | Outcome::Cancelled { .. } => PermitEnd::Neutral,
    }
}

fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded(_) => "succeeded",
        Outcome::Failed(_) => "failed",
        Outcome::TimedOut(_) => "timed_out",
        Outcome::Abandoned(_) => "abandoned",
        Outcome::Released(_) => "released",
        Outcome::Cancelled { .. } => "cancelled",
    }
}

fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "running",
        RunStatus::Failing => "failing",
        RunStatus::Cancelling => "cancelling",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
        RunStatus::Terminated => "terminated",
        RunStatus::Queued => "queued",
        RunStatus::Compensating => "compensating",
        RunStatus::NeedsAttention => "needs_attention",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorus_engine::{Definition, Kind, Millis, RunInfo, StepDefinition, TaskDefinition, WorkerId, plan};
    use quorus_proto::peer::{LinkRequest, SessionOpened, link_request, link_response::Message};
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::mpsc::unbounded_channel;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::{
        clock::SystemClock,
        dispatch::{Times, serve_link},
        leader::LedShards,
    };

    struct NoTimers;

    impl Actor for NoTimers {
        type Msg = TimerMessage;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _myself: ActorRef<TimerMessage>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    fn apply(run: &mut Run, kind: EventKind) {
        run.apply(&Event { time: Timestamp(1), kind });
    }

    /// Found by the simulation: a run was cancelled while the push of its task was lost, and the next leader delivered the task again. The worker began it
    /// twelve seconds after the cancel was acknowledged.
    #[tokio::test]
    async fn the_task_of_an_attempt_that_was_asked_to_stop_is_taken_back_instead_of_delivered_again() {
        let second = Duration::from_secs(1);
        let dispatcher = Dispatcher::new(Times::new(30 * second, second, second), Arc::new(SystemClock), LedShards::default());
        let (requests, from_gateway) = unbounded_channel();
        let (to_gateway, mut responses) = unbounded_channel();
        tokio::spawn(serve_link(dispatcher.clone(), UnboundedReceiverStream::new(from_gateway), to_gateway));
        let opened = SessionOpened { session: 1, worker: "w".into(), incarnation: "i".into(), ..SessionOpened::default() };
        requests.send(LinkRequest { message: Some(link_request::Message::SessionOpened(opened)) }).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }

        let step = StepId::from("s");
        let task = Kind::Task(TaskDefinition { task_type: "t".into(), ..TaskDefinition::default() });
        let definition = StepDefinition { id: step.to_string(), kind: Some(task), ..StepDefinition::default() };
        let plan = plan(&Definition { name: "w".into(), steps: vec![definition], ..Definition::default() }).unwrap();
        let info = RunInfo { uid: RunUid(1), ..RunInfo::default() };
        let mut run = Run::new(info.clone(), Arc::new(plan));
        apply(&mut run, EventKind::RunStarted(Box::new(info)));
        let leased = EventKind::StepLeased {
            step: step.clone(),
            attempt: 1,
            token: Token(2),
            worker: WorkerId { name: "w".into(), incarnation: "i".into() },
            queue: "default".into(),
            priority: 3,
            lease: Millis(40_000),
            input: None,
            step_deadline: None,
            attempt_deadline: None,
        };
        apply(&mut run, leased);
        apply(&mut run, EventKind::StepCancelRequested { step: step.clone(), deadline: Timestamp(9), reason: "cancelled".into() });

        let (timers, _) = Actor::spawn(None, NoTimers, ()).await.unwrap();
        let key = RunKey::new("default", "r");
        let effects =
            Effects { shard: 1, term: 1, key: &key, run: &run, dispatcher: &dispatcher, timers: &timers, cancel_grace: 10 * second };
        effects.redeliver(&step, Token(2), SessionKey { link: 0, session: 1 });
        let told = responses.try_recv().ok().and_then(|response| response.message);
        let Some(Message::Cancel(cancel)) = &told else { panic!("{told:?}") };
        let attempt = AttemptRef { step: step.clone(), attempt: 1, token: Token(2) };
        let name = LeaseName { shard: 1, key: key.clone(), uid: RunUid(1), attempt };
        assert_eq!(LeaseName::decode(&cancel.cancel.clone().unwrap().lease), Some(name));
        assert!(responses.try_recv().is_err(), "and nothing is pushed");
        timers.stop(None);
    }
}
