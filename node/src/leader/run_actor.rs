//! A run: a mailbox, a state and a loop of *decide, replicate, act*.
//!
//! Each turn takes what waits in the inbox, decides it one by one on the state so far, proposes all decisions at once, and acts and answers only
//! after they are applied. The state is a cache: it is dropped whenever its truth is in doubt, and loaded again.
//!
//! Invariants: one proposal of a run is on its way at a time; no answer and no effect before apply; a proposal that turned out stale is decided
//! again from fresh state.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quorus_engine::{
    Command, Context, Decision, Event, EventKind, Millis, Plan, Rejection, Run, RunInfo, RunUid, StepId, StepStatus, Token, decide,
};
use quorus_mutants::{Mutant, active};
use quorus_proto::log;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    Answer, Ask, LedShard, OnConflict, OnReuse, OwingSender, PlanError, Refusal, Request, RunKey, StartAsk, effects::Effects, led::Slot,
    pauses::Pauses, proposer::Proposer, shard::LeaderContext, timers::TimerMessage,
};
use crate::{
    codec,
    crash_point::{self, Place},
    dispatch::{CreditDraw, SessionKey},
    store::{ShardStore, StoreError},
};

/// Requests decided in one turn.
const REQUESTS_MAX: usize = 256;
/// Bytes of events of one turn, beyond the last decision.
const BYTES_MAX: usize = 512 * 1024;
/// Turns that may find their state stale before the requests are given up. Once is rare, twice is a fault.
const STALE_MAX: usize = 3;

/// There is something in the inbox.
pub(crate) struct Wake;

/// The actor.
pub(crate) struct RunActor;

/// What the actor works with.
pub(crate) struct RunArguments {
    pub key: RunKey,
    pub slot: Arc<Slot>,
    pub led: LedShard,
    pub proposer: Proposer,
    pub timers: ActorRef<TimerMessage>,
    pub owing: OwingSender,
    pub pauses: Pauses,
    pub store: ShardStore,
    pub context: Arc<LeaderContext>,
}

/// The actor's memory.
pub(crate) struct RunState {
    with: RunArguments,
    /// The current run of the key; `None` if it was not loaded yet, or there is none.
    run: Option<Run>,
    loaded: bool,
}

impl Actor for RunActor {
    type Msg = Wake;
    type State = RunState;
    type Arguments = RunArguments;

    async fn pre_start(&self, _myself: ActorRef<Wake>, with: RunArguments) -> Result<RunState, ActorProcessingErr> {
        Ok(RunState { with, run: None, loaded: false })
    }

    async fn handle(&self, _myself: ActorRef<Wake>, _wake: Wake, state: &mut RunState) -> Result<(), ActorProcessingErr> {
        loop {
            let mut requests: Vec<Request> = {
                let mut inbox = state.with.slot.inbox.lock();
                let most = inbox.len().min(REQUESTS_MAX);
                inbox.drain(..most).collect()
            };
            if requests.is_empty() {
                return Ok(());
            }
            for _ in 0..STALE_MAX {
                requests = state.turn(requests).await?;
                if requests.is_empty() {
                    break;
                }
            }
            if !requests.is_empty() {
                tracing::error!(run = %state.with.key, "a decision was stale {STALE_MAX} times in one term");
            }
        }
    }
}

/// A decided request that waits for its apply.
struct Decided {
    request: Request,
    answer: Result<Answer, Refusal>,
}

/// What a turn has decided so far.
#[derive(Default)]
struct Turn {
    /// Events of each run that was decided on: usually one, two when a start replaces a run.
    batches: Vec<Batch>,
    definition: Option<log::StoredDefinition>,
    redeliveries: Vec<(StepId, Token, SessionKey)>,
    bytes: usize,
}

impl Turn {
    /// For tests that kill a node between two stages of a step.
    fn crash_point(&self, at_lease: Place, at_outcome: Place) {
        for event in self.batches.iter().flat_map(|batch| &batch.events) {
            match &event.kind {
                EventKind::StepLeased { .. } => crash_point::reached(at_lease),
                EventKind::AttemptEnded { .. } => crash_point::reached(at_outcome),
                _ => {}
            }
        }
    }
}

struct Batch {
    uid: RunUid,
    expected_seq: u64,
    replaces: Option<RunUid>,
    events: Vec<Event>,
    /// The same events as they are replicated, stored and read again: encoded once.
    encoded: Vec<Bytes>,
    /// Requests that the events carry out.
    request_ids: Vec<String>,
}

impl Batch {
    fn new(uid: RunUid, expected_seq: u64, replaces: Option<RunUid>) -> Self {
        Self { uid, expected_seq, replaces, events: Vec::new(), encoded: Vec::new(), request_ids: Vec::new() }
    }
}

impl RunState {
    /// Decides requests and carries the decisions out; returns those that have to be decided again.
    async fn turn(&mut self, requests: Vec<Request>) -> Result<Vec<Request>, ActorProcessingErr> {
        if !self.loaded
            && let Err(error) = self.load()
        {
            let LoadError::Plan(error) = error else { return Err(error.into()) };
            tracing::error!(run = %self.with.key, %error, "a run can't be used");
            for request in requests {
                request.reply.send(Err(Refusal::Broken(error.to_string())));
            }
            return Ok(Vec::new());
        }
        let dispatcher = self.with.context.dispatcher.clone();
        let mut draw = CreditDraw::new(&dispatcher);
        let mut turn = Turn::default();
        let mut decided = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        for mut request in requests.by_ref() {
            draw.add(request.credit.take());
            let answer = self.decide(&request, &mut turn, &mut draw)?;
            decided.push(Decided { request, answer });
            if turn.bytes >= BYTES_MAX {
                break;
            }
        }
        // What does not fit is decided in the next turn.
        let rest: Vec<_> = requests.collect();
        if !rest.is_empty() {
            let mut inbox = self.with.slot.inbox.lock();
            for request in rest.into_iter().rev() {
                inbox.push_front(request);
            }
        }
        if !turn.batches.is_empty() {
            turn.crash_point(Place::LeaseDecided, Place::OutcomeDecided);
            if active(Mutant::AckBeforeCommit) {
                for Decided { request, answer } in &mut decided {
                    std::mem::replace(&mut request.reply, super::Reply::nobody()).send(answer.clone());
                }
            }
            let records = turn.batches.iter().map(|batch| self.record(batch)).collect();
            // An error ends the actor and with it the leadership: what is on its way may still commit, and only a new epoch can tell. The
            // requests are dropped, which answers them with "unknown".
            if !self.with.proposer.propose(records, turn.definition.take()).await? {
                drop(draw);
                self.load()?;
                return Ok(self.again(decided));
            }
        }
        turn.crash_point(Place::LeaseApplied, Place::OutcomeApplied);
        self.act(&turn, &mut draw);
        drop(draw);
        for Decided { request, answer } in decided {
            request.reply.send(answer);
        }
        Ok(Vec::new())
    }

    /// What has to be decided again after a stale decision. A lease does not: its credit is given back, and its task stands in its queue again.
    fn again(&self, decided: Vec<Decided>) -> Vec<Request> {
        let mut again = Vec::with_capacity(decided.len());
        for Decided { request, .. } in decided {
            match (&request.ask, &self.run) {
                (Ask::Command(Command::Lease { step, .. }), Some(run)) => {
                    if run.step(step).is_some_and(|state| state.status == StepStatus::Queued) {
                        self.effects(run).queue(step);
                    }
                    request.reply.send(Err(Rejection::NotQueued(step.clone()).into()));
                }
                _ => again.push(request),
            }
        }
        again
    }

    fn decide(
        &mut self,
        request: &Request,
        turn: &mut Turn,
        draw: &mut CreditDraw<'_>,
    ) -> Result<Result<Answer, Refusal>, ActorProcessingErr> {
        let current = self.run.as_ref().map(|run| run.info().uid);
        if request.uid.is_some() && request.uid != current {
            return Ok(Err(Rejection::UnknownRun.into()));
        }
        match &request.ask {
            Ask::Start(start) => self.start(start, turn, draw),
            Ask::Bury(start) => {
                let answer = self.start(start, turn, draw)?;
                if let Ok(Answer { existing: false, .. }) = answer {
                    let reason = "cancelled before it was started".to_owned();
                    let terminate = Command::Terminate { principal: start.info.principal.clone(), reason };
                    if let Err(refusal) = self.command(&terminate, turn, draw) {
                        return Ok(Err(refusal));
                    }
                }
                Ok(answer)
            }
            Ask::Command(command) => {
                let Some(uid) = current else { return Ok(Err(Rejection::UnknownRun.into())) };
                Ok(self.command(command, turn, draw).map(|_| Answer { uid, existing: false }))
            }
            Ask::Change { request_id, command } => {
                let Some(uid) = current else { return Ok(Err(Rejection::UnknownRun.into())) };
                let decided = turn.batches.iter().any(|batch| batch.uid == uid && batch.request_ids.contains(request_id));
                let RunKey { namespace, run_id } = &self.with.key;
                if decided || self.with.store.request(namespace, run_id, request_id)?.is_some_and(|request| request.uid == uid) {
                    return Ok(Ok(Answer { uid, existing: true }));
                }
                let changed = match self.command(command, turn, draw) {
                    Ok(changed) => changed,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                if let Some(batch) = turn.batches.last_mut().filter(|_| changed) {
                    batch.request_ids.push(request_id.clone());
                }
                Ok(Ok(Answer { uid, existing: false }))
            }
            Ask::Redeliver { step, token, session } => {
                let Some(uid) = current else { return Ok(Err(Rejection::UnknownRun.into())) };
                turn.redeliveries.push((step.clone(), *token, *session));
                Ok(Ok(Answer { uid, existing: false }))
            }
        }
    }

    /// Settles conflicts with earlier runs of the key, then begins.
    fn start(
        &mut self,
        start: &StartAsk,
        turn: &mut Turn,
        draw: &mut CreditDraw<'_>,
    ) -> Result<Result<Answer, Refusal>, ActorProcessingErr> {
        let info = &start.info;
        let existing = |uid| Ok(Ok(Answer { uid, existing: true }));
        if let Some(run) = &self.run
            && run.info().request_id == info.request_id
            && !active(Mutant::StartDedupOff)
        {
            return existing(run.info().uid);
        }
        if let Some(request) = self.with.store.request(&info.namespace, &info.run_id, &info.request_id)?
            && !active(Mutant::StartDedupOff)
        {
            return existing(request.uid);
        }
        // Before anything is ended for its sake.
        let plan = match self.with.context.plans.compile(&info.digest, start.definition.clone()) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(Refusal::Broken(error.to_string()))),
        };
        let mut replaces = None;
        if let Some(run) = &self.run {
            let uid = run.info().uid;
            let status = run.head().status;
            if status.is_final() {
                let allowed = match start.on_reuse {
                    OnReuse::Allow => true,
                    OnReuse::AllowIfFailed => status != quorus_engine::RunStatus::Succeeded,
                    OnReuse::Reject => false,
                };
                if !allowed {
                    return Ok(Err(Rejection::RunExists.into()));
                }
            } else {
                match start.on_conflict {
                    OnConflict::Reject => return Ok(Err(Rejection::RunExists.into())),
                    OnConflict::UseExisting => return existing(uid),
                    OnConflict::TerminateExisting => {
                        let reason = "replaced by a new run with the same id".to_owned();
                        let terminate = Command::Terminate { principal: info.principal.clone(), reason };
                        if let Err(refusal) = self.command(&terminate, turn, draw) {
                            return Ok(Err(refusal));
                        }
                    }
                }
            }
            replaces = Some(uid);
        }
        if self.with.store.definition(&info.digest)?.is_none() {
            let digest = Bytes::copy_from_slice(&info.digest);
            turn.definition = Some(log::StoredDefinition { digest, workflow: start.definition.clone() });
        }
        self.run = Some(Run::new(RunInfo::clone(info), plan));
        turn.batches.push(Batch::new(info.uid, 0, replaces));
        let started = self.command(&Command::Start(Box::new(info.clone())), turn, draw);
        Ok(started.map(|_| Answer { uid: info.uid, existing: false }))
    }

    /// Decides a command on the state so far, and folds what follows. False if nothing did.
    fn command(&mut self, command: &Command, turn: &mut Turn, draw: &mut CreditDraw<'_>) -> Result<bool, Refusal> {
        let Some(run) = &mut self.run else { return Err(Rejection::UnknownRun.into()) };
        let millis = |duration: Duration| Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let parks = match command {
            Command::Start(info) => self.with.pauses.may_be_paused(&info.namespace, &info.workflow),
            _ => false,
        };
        let context = &self.with.context;
        let mut context = Context {
            now: context.clock.now(),
            seed: context.next_seed(),
            lease: millis(context.dispatcher.times().lease),
            cancel_grace: millis(context.cancel_grace),
            allow_unverified: context.allows_unverified_approvals(),
            parks,
            credits: draw,
        };
        let decision = decide_safely(run, command, &mut context)?;
        if decision.events.is_empty() {
            return Ok(false);
        }
        if let Command::Migrate { version, digest, .. } = command {
            turn.definition = self.definition_of(*version, digest)?;
            // What comes after it is decided with the new plan.
            turn.bytes = BYTES_MAX;
        }
        let Some(run) = &mut self.run else { return Err(Rejection::UnknownRun.into()) };
        let uid = run.info().uid;
        if turn.batches.last().is_none_or(|batch| batch.uid != uid) {
            turn.batches.push(Batch::new(uid, run.head().seq, None));
        }
        for event in &decision.events {
            run.apply(event);
        }
        if let Some(batch) = turn.batches.last_mut() {
            for event in &decision.events {
                let encoded = codec::encode_event(event);
                turn.bytes += encoded.len();
                batch.encoded.push(encoded);
            }
            batch.events.extend(decision.events);
        }
        Ok(true)
    }

    /// The definition that a run is to go on with, if the shard does not have it yet.
    fn definition_of(&self, version: u64, digest: &[u8; 32]) -> Result<Option<log::StoredDefinition>, Refusal> {
        let broken = |error: StoreError| Refusal::Broken(error.to_string());
        if self.with.store.definition(digest).map_err(broken)?.is_some() {
            return Ok(None);
        }
        let workflow = self.run.as_ref().map(|run| run.info().workflow.as_str()).unwrap_or_default();
        let found = self.with.context.system.workflow(&self.with.key.namespace, workflow, version).map_err(broken)?;
        let found = found.filter(|found| found.digest == *digest);
        let found = found.ok_or_else(|| Refusal::Broken(format!("version {version} of workflow {workflow} is not there any more")))?;
        Ok(Some(log::StoredDefinition { digest: Bytes::copy_from_slice(digest), workflow: found.workflow }))
    }

    fn record(&self, batch: &Batch) -> log::RunBatch {
        log::RunBatch {
            namespace: self.with.key.namespace.to_string(),
            run_id: self.with.key.run_id.to_string(),
            run_uid: Bytes::copy_from_slice(&batch.uid.to_bytes()),
            expected_seq: batch.expected_seq,
            events: batch.encoded.clone(),
            replaces_uid: batch.replaces.map(|uid| Bytes::copy_from_slice(&uid.to_bytes())).unwrap_or_default(),
            request_ids: batch.request_ids.clone(),
        }
    }

    /// Does what the applied events owe to the world.
    fn act(&mut self, turn: &Turn, draw: &mut CreditDraw<'_>) {
        let Some(run) = &self.run else { return };
        let effects = self.effects(run);
        for batch in &turn.batches {
            effects.of_events(batch.uid, &batch.events, draw);
            self.with.owing.tell(&self.with.key, run, batch.uid, &batch.events);
        }
        for (step, token, session) in &turn.redeliveries {
            effects.redeliver(step, *token, *session);
        }
        let migrated = turn.batches.iter().flat_map(|batch| &batch.events).any(|event| matches!(event.kind, EventKind::RunMigrated { .. }));
        if run.has_backlog() || migrated {
            // A fan-out that was too large for one decision goes on in the next.
            let ask = Ask::Command(Command::Advance);
            let request = Request { uid: Some(run.info().uid), ask, credit: None, reply: super::Reply::nobody(), permit: None };
            self.with.led.deliver(&self.with.key, request);
        }
        // It goes on with another plan, which only loading knows of.
        self.loaded &= !migrated;
    }

    fn effects<'a>(&'a self, run: &'a Run) -> Effects<'a> {
        Effects {
            shard: self.with.led.shard,
            term: self.with.led.term,
            key: &self.with.key,
            run,
            dispatcher: &self.with.context.dispatcher,
            timers: &self.with.timers,
            cancel_grace: self.with.context.cancel_grace,
        }
    }

    fn load(&mut self) -> Result<(), LoadError> {
        let store = &self.with.store;
        self.run = None;
        if let Some(uid) = store.current_uid(&self.with.key.namespace, &self.with.key.run_id)?
            && let Some(loaded) = store.load_run(uid)?
        {
            let plan: Arc<Plan> = self.with.context.plans.get(store, loaded.digest())?;
            self.run = Some(Run::load(loaded.info, loaded.head, loaded.steps, loaded.signals, plan));
        }
        self.loaded = true;
        Ok(())
    }
}

/// A run that makes the engine panic is a fault of ours, but no reason to take the shard's other runs along.
fn decide_safely(run: &Run, command: &Command, context: &mut Context<'_>) -> Result<Decision, Refusal> {
    match catch_unwind(AssertUnwindSafe(|| decide(run, command, context))) {
        Ok(decision) => Ok(decision?),
        Err(_) => {
            let info = run.info();
            tracing::error!(run_id = %info.run_id, run_uid = %info.uid, seq = run.head().seq, "the engine panicked on a run; nothing was changed");
            Err(Refusal::Broken("the engine panicked; see the node's log".to_owned()))
        }
    }
}

/// Why a run can't be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    /// The store can't be read.
    #[error("the run can't be read")]
    Store(#[from] StoreError),
    /// Its plan can't be made.
    #[error("the run's plan can't be made")]
    Plan(#[from] PlanError),
}
