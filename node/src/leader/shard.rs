//! A leadership of a shard: opens its epoch, then activates runs, and dies with its term.
//!
//! Invariants: no actor of the term acts before the record that opens the epoch is applied, so every event of older terms is in the state that
//! they load, and none can come after; when the leadership ends, all of them are killed, and what they had on its way is *outcome unknown*.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use quorus_engine::StepStatus;
use quorus_mutants::{Mutant, active};
use quorus_proto::log;
use quorus_raft::{Group, Peers, disk::Disk};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use super::{
    LedShard, OwingSender, PlanCache, PlanError, RunKey,
    courier::{Courier, CourierArguments, Post},
    pauses::{Learning, Pauses},
    proposer::Proposer,
    retention::{Purger, PurgerState, Retention},
    run_actor::{RunActor, RunArguments, Wake},
    timers::{TimerMessage, Timers, TimersArguments},
};
use crate::{
    api::SystemPort,
    clock::Clock,
    dispatch::{Dispatcher, Entry, LeaseName, LimitRefs, WaitingTask},
    observe::names,
    replica::RecordAnswer,
    store::{OpenStep, ShardStore},
    system::SystemStore,
};

/// A run that nobody asked anything of for this long is passivated.
const IDLE: Duration = Duration::from_secs(10);
/// How often idle runs are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Runs passivated in one sweep.
const SWEPT_AT_ONCE: usize = 5_000;

/// What every leadership on this node works with.
pub struct LeaderContext {
    /// This node.
    pub node_id: u64,
    /// Random, one per process.
    pub boot_id: String,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Storage.
    pub disk: Arc<dyn Disk>,
    /// Workers.
    pub dispatcher: Dispatcher,
    /// Compiled plans.
    pub plans: PlanCache,
    /// What the cluster is made of, and its settings.
    pub system: SystemStore,
    /// How long a cancelled attempt may take to stop.
    pub cancel_grace: Duration,
    /// How long runs are kept.
    pub retention: Retention,
    /// The way to group 0's leader.
    pub port: SystemPort,
    /// Ways to nodes.
    pub peers: Arc<Peers>,
    /// Source of seeds for decisions.
    pub seeds: AtomicU64,
}

impl LeaderContext {
    /// Whether people may approve for whom nobody vouches.
    pub(crate) fn allows_unverified_approvals(&self) -> bool {
        self.system.cluster().is_some_and(|cluster| cluster.allow_unverified_approvals)
    }

    /// Chance for a decision: recorded through the times that it leads to.
    pub(crate) fn next_seed(&self) -> u64 {
        self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

/// A message to a shard's supervisor.
pub enum ShardMessage {
    /// Open the epoch.
    Open,
    /// A run has requests and no actor.
    Activate(RunKey),
    /// Look for idle runs.
    Sweep,
}

/// The actor.
pub struct ShardSupervisor;

/// What the actor starts with.
pub struct ShardArguments {
    /// Which shard.
    pub shard: u32,
    /// In which term.
    pub term: u64,
    /// Its replication group.
    pub group: Group,
    /// The node's.
    pub context: Arc<LeaderContext>,
}

/// The actor's memory.
pub struct ShardState {
    shard: u32,
    term: u64,
    group: Group,
    context: Arc<LeaderContext>,
    open: Option<Open>,
    runs: BTreeMap<ActorId, RunKey>,
}

/// Tasks that wait for a worker, and leases with the limits that they count against.
type Outstanding = (Vec<WaitingTask>, Vec<(Entry, LimitRefs)>);

/// What exists once the epoch is open.
struct Open {
    led: LedShard,
    proposer: Proposer,
    timers: ActorRef<TimerMessage>,
    owing: OwingSender,
    pauses: Pauses,
    _learning: Learning,
}

impl Drop for ShardState {
    /// However the actor ends, its leadership ends with it.
    fn drop(&mut self) {
        self.context.dispatcher.abandon_shard(self.shard, self.term);
        metrics::gauge!(names::RUN_ACTORS).decrement(self.runs.len() as f64);
    }
}

impl Actor for ShardSupervisor {
    type Msg = ShardMessage;
    type State = ShardState;
    type Arguments = ShardArguments;

    async fn pre_start(&self, myself: ActorRef<ShardMessage>, with: ShardArguments) -> Result<ShardState, ActorProcessingErr> {
        myself.cast(ShardMessage::Open)?;
        let ShardArguments { shard, term, group, context } = with;
        Ok(ShardState { shard, term, group, context, open: None, runs: BTreeMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Open => state.open(&myself).await,
            ShardMessage::Activate(key) => state.activate(&myself, key).await,
            ShardMessage::Sweep => {
                state.sweep();
                Ok(())
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
            SupervisionEvent::ActorTerminated(actor, last, _) => {
                // It holds the run's place, which can be forgotten only when nobody does.
                drop(last);
                state.stopped(&myself, actor.get_id()).await
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                // What it had decided may commit or not, and its effects may be missing: only a new epoch can tell.
                let run = state.runs.get(&actor.get_id()).map(ToString::to_string);
                Err(format!("actor of run {run:?} failed: {error}").into())
            }
        }
    }
}

impl ShardState {
    async fn open(&mut self, myself: &ActorRef<ShardMessage>) -> Result<(), ActorProcessingErr> {
        let began = Instant::now();
        let (shard, term) = (self.shard, self.term);
        // Side by side with what comes next, which takes longer.
        let (pauses, learning) = Pauses::learn(self.context.system.clone(), self.context.port.clone());
        let epoch =
            log::OpenEpoch { node_id: self.context.node_id, boot_id: self.context.boot_id.clone(), time_ms: self.context.clock.now().0 };
        let record = log::Record { term, open_epoch: Some(epoch), ..log::Record::default() };
        let opened = self.group.propose(term, Bytes::from(record.encode_to_vec())).await?;
        if RecordAnswer::decode(&opened.answer) != Some(RecordAnswer::Epoch { opened: true }) {
            return Err("a newer leadership is open".into());
        }

        let store = ShardStore::new(self.context.disk.clone(), shard);
        let (waiting, leases) = self.outstanding(&store)?;
        let (queued, leased) = (waiting.len(), leases.len());
        let led = LedShard::new(shard, term, self.group.clone(), myself.clone());
        let dispatcher = self.context.dispatcher.clone();
        let with = PurgerState {
            led: led.clone(),
            store: store.clone(),
            clock: self.context.clock.clone(),
            retention: self.context.retention.clone(),
            plans: self.context.plans.clone(),
            looks: 0,
        };
        Actor::spawn_linked(None, Purger, with, myself.get_cell()).await?;
        let with = TimersArguments { led: led.clone(), store: store.clone(), clock: self.context.clock.clone(), dispatcher };
        let (timers, _) = Actor::spawn_linked(None, Timers, with, myself.get_cell()).await?;
        let (owing, told) = OwingSender::new();
        let election_max = self.context.dispatcher.times().election_max;
        let with = CourierArguments { led: led.clone(), store, post: Arc::new(Post::of(&self.context)), owing: told, election_max };
        Actor::spawn_linked(None, Courier, with, myself.get_cell()).await?;
        self.open = Some(Open {
            led: led.clone(),
            proposer: Proposer::start(self.group.clone(), term),
            timers,
            owing,
            pauses,
            _learning: learning,
        });
        self.context.dispatcher.adopt(led, waiting, leases);
        myself.send_interval(SWEEP, || ShardMessage::Sweep);
        let opened_in_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(shard, term, queued, leased, opened_in_ms, "leads the shard");
        Ok(())
    }

    /// What the state says is owed to workers.
    fn outstanding(&self, store: &ShardStore) -> Result<Outstanding, ActorProcessingErr> {
        let mut open = Vec::new();
        store.open_steps(|step| {
            open.push(step);
            std::ops::ControlFlow::Continue(())
        })?;
        let (mut waiting, mut leases) = (Vec::new(), Vec::new());
        for OpenStep { uid, namespace, run_id, digest, paused, attention, step, state } in open {
            let key = RunKey::new(&namespace, &run_id);
            // A plan that can't be used is a fault of one run, not of the shard.
            let plan = match self.context.plans.get(store, &digest) {
                Ok(plan) => Some(plan),
                Err(error @ PlanError::Store(_)) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(run = %key, %error, "the plan of a run can't be used");
                    None
                }
            };
            let dispatcher = &self.context.dispatcher;
            let info = || store.run_info(uid).ok().flatten().map(std::borrow::Cow::Owned);
            let held = attention && plan.as_deref().is_none_or(|plan| quorus_engine::goes_forward(plan, &step));
            match (state.status, &state.lease) {
                // It stands in its queue again when the run is resumed, or repaired.
                (StepStatus::Queued, _) if paused || held => {}
                (StepStatus::Queued, _) if active(Mutant::ForgottenQueue) => {}
                (StepStatus::Queued, _) => {
                    let place = super::task::Place { shard: self.shard, key, uid, step };
                    waiting.push(super::task::waiting(dispatcher, plan.as_deref(), place, &state, info));
                }
                (StepStatus::Leased, Some(lease)) => {
                    let heartbeat = plan.as_deref().and_then(|plan| super::task::heartbeat_timeout(plan, &step));
                    let limits = super::task::limits(dispatcher, plan.as_deref(), &step, &state, info);
                    let (duration, deadline) = (Duration::from_millis(lease.duration.0), lease.attempt_deadline);
                    let attempt = quorus_engine::AttemptRef { step, attempt: state.attempt, token: lease.token };
                    let name = LeaseName { shard: self.shard, key, uid, attempt };
                    leases.push((Entry::new(name, state.worker.unwrap_or_default(), duration, deadline, heartbeat), limits));
                }
                (status, _) => return Err(format!("step {step} of run {uid} is listed as open, but is {status:?}").into()),
            }
        }
        Ok((waiting, leases))
    }

    async fn activate(&mut self, myself: &ActorRef<ShardMessage>, key: RunKey) -> Result<(), ActorProcessingErr> {
        let Some(open) = &self.open else { return Ok(()) };
        let slot = open.led.slot(&key);
        if let Some(actor) = &*slot.actor.lock() {
            // Either it is awake after all, or it is stopping, and its end activates the run again.
            actor.cast(Wake).ok();
            return Ok(());
        }
        let with = RunArguments {
            key: key.clone(),
            slot: slot.clone(),
            led: open.led.clone(),
            proposer: open.proposer.clone(),
            timers: open.timers.clone(),
            owing: open.owing.clone(),
            pauses: open.pauses.clone(),
            store: ShardStore::new(self.context.disk.clone(), self.shard),
            context: self.context.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, RunActor, with, myself.get_cell()).await?;
        self.runs.insert(actor.get_id(), key);
        actor.cast(Wake)?;
        *slot.actor.lock() = Some(actor);
        metrics::gauge!(names::RUN_ACTORS).increment(1.0);
        Ok(())
    }

    /// Drains the actors of idle runs: they finish what they do, and their places are forgotten when they have stopped.
    fn sweep(&self) {
        let Some(open) = &self.open else { return };
        let Some(before) = Instant::now().checked_sub(IDLE) else { return };
        for key in open.led.idle(before, SWEPT_AT_ONCE) {
            let slot = open.led.slot(&key);
            if let Some(actor) = &*slot.actor.lock() {
                actor.drain().ok();
            }
        }
    }

    async fn stopped(&mut self, myself: &ActorRef<ShardMessage>, actor: ActorId) -> Result<(), ActorProcessingErr> {
        let Some(key) = self.runs.remove(&actor) else {
            return Err("the shard's timers, its courier or its purger stopped".into());
        };
        metrics::gauge!(names::RUN_ACTORS).decrement(1.0);
        let forgotten = self.open.as_ref().is_none_or(|open| open.led.forget(&key));
        if forgotten { Ok(()) } else { self.activate(myself, key).await }
    }
}
