//! One run with a virtual clock and workers, and a second state that is folded from the same events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::laws;
use crate::{
    AttemptRef, Command, Context, Credits, Decision, Definition, Event, Millis, Payload, Plan, Rejection, Run, RunHead, RunInfo, RunUid,
    SignalKey, SignalState, StateMut, StepId, StepState, StepStatus, TimerKind, Timestamp, WorkerId, apply, decide, fold, plan,
};

/// 2026-01-01T00:00:00Z, so that times in scripts look like times.
pub(super) const START: Timestamp = Timestamp(1_767_225_600_000);

/// State as a replica stores it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Replica {
    pub(super) head: RunHead,
    pub(super) steps: BTreeMap<StepId, StepState>,
    pub(super) signals: BTreeMap<SignalKey, SignalState>,
}

impl StateMut for Replica {
    type Error = Infallible;

    fn head(&mut self) -> Result<&mut RunHead, Infallible> {
        Ok(&mut self.head)
    }

    fn step(&mut self, id: &StepId) -> Result<&mut StepState, Infallible> {
        Ok(self.steps.entry(id.clone()).or_default())
    }

    fn signal(&mut self, key: &SignalKey) -> Result<&mut SignalState, Infallible> {
        Ok(self.signals.entry(key.clone()).or_default())
    }
}

/// Workers with room, by queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(pub(super) BTreeMap<String, Vec<WorkerId>>);

impl Credits for Pool {
    fn take(&mut self, queue: &str) -> Option<WorkerId> {
        let workers = self.0.get_mut(queue)?;
        (!workers.is_empty()).then(|| workers.remove(0))
    }
}

pub(super) struct World {
    pub(super) run: Run,
    pub(super) replica: Replica,
    pub(super) events: Vec<Event>,
    pub(super) now: Timestamp,
    pub(super) seed: u64,
    pub(super) pool: Pool,
    pub(super) allow_unverified: bool,
    pub(super) parks: bool,
}

impl World {
    pub(super) fn new(plan: Arc<Plan>, info: RunInfo) -> Self {
        Self {
            run: Run::new(info, plan),
            replica: Replica::default(),
            events: Vec::new(),
            now: START,
            seed: 1,
            pool: Pool::default(),
            allow_unverified: false,
            parks: false,
        }
    }

    /// A plan of steps without anything wrong, and a run of it.
    pub(super) fn of(definition: &Definition, input: &serde_json::Value) -> Self {
        let plan = plan(definition).unwrap();
        let info = RunInfo {
            namespace: "default".to_owned(),
            run_id: "r1".to_owned(),
            uid: RunUid(1),
            workflow: definition.name.clone(),
            input: Payload::json(input),
            ..RunInfo::default()
        };
        Self::new(Arc::new(plan), info)
    }

    pub(super) fn start(&mut self) -> Decision {
        let info = self.run.info().clone();
        self.act(&Command::Start(Box::new(info))).unwrap()
    }

    /// Decides and applies; checks the laws on the way.
    pub(super) fn act(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let mut credits = self.pool.clone();
        let (now, seed, allow_unverified, parks) = (self.now, self.seed, self.allow_unverified, self.parks);
        let decide_with = |credits: &mut dyn Credits| {
            decide(
                &self.run,
                command,
                &mut Context { now, seed, lease: Millis(30_000), cancel_grace: Millis(10_000), allow_unverified, parks, credits },
            )
        };
        let decision = decide_with(&mut self.pool);
        assert_eq!(decision, decide_with(&mut credits), "the same inputs give the same decision");
        let decision = decision?;
        apply(&mut self.run, &decision.events);
        for event in &decision.events {
            let Ok(()) = fold(&mut self.replica, event);
        }
        self.events.extend(decision.events.iter().cloned());
        laws::check(self);
        Ok(decision)
    }

    pub(super) fn state(&self, step: &str) -> &StepState {
        self.run.step(&StepId::from(step)).unwrap()
    }

    /// The attempt that holds the step's lease, or held it last.
    pub(super) fn attempt(&self, step: &StepId) -> AttemptRef {
        let state = self.run.step(step).cloned().unwrap_or_default();
        let recorded = state.outcomes.last().map(|recorded| recorded.token);
        let token = state.lease.as_ref().map(|lease| lease.token).or(recorded).unwrap_or_default();
        AttemptRef { step: step.clone(), attempt: state.attempt, token }
    }

    /// Armed timers, the next to fire first.
    pub(super) fn timers(&self) -> Vec<(Timestamp, Option<StepId>, TimerKind)> {
        let own = self.run.head().timers().map(|(kind, due)| (due, None, kind));
        let of_steps = self
            .run
            .steps()
            .iter()
            .flat_map(|(id, state)| state.timers().map(|(kind, due)| (due, Some(id.clone()), kind)).collect::<Vec<_>>());
        let mut timers: Vec<_> = own.chain(of_steps).collect();
        timers.sort();
        timers
    }

    /// Moves the clock to the next timer and fires it.
    pub(super) fn fire_next(&mut self) -> Option<Result<Decision, Rejection>> {
        let (due, step, kind) = self.timers().into_iter().next()?;
        self.now = self.now.max(due);
        Some(self.act(&Command::FireTimer { step, kind, due }))
    }

    /// The first step that stands like this.
    pub(super) fn first(&self, status: StepStatus) -> Option<StepId> {
        self.run.open_steps().find(|(_, state)| state.status == status).map(|(step, _)| step.clone())
    }
}

/// A failed test says what happened.
impl Drop for World {
    #[expect(clippy::disallowed_macros, reason = "a test may print")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = (1..).zip(&self.events).map(|(seq, event)| super::show::event(seq, event));
            println!("{}", lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

pub(super) fn worker(name: &str) -> WorkerId {
    WorkerId { name: name.to_owned(), incarnation: format!("{name}-1") }
}
