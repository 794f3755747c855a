//! The oracle against the engine: hundreds of random workflows, executed in virtual time with workers whose attempts take random times, must come out
//! as the oracle said without knowing times or engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorus_client::v1;
use quorus_engine::{
    AttemptRef, Command, Context, Event, EventKind, Failure, Millis, NoCredits, Outcome as Ended, Payload, Plan, Principal, Run, RunInfo,
    RunStatus, RunUid, StepId, StepStatus, Timestamp, WorkerId, apply, decide,
};

use super::{
    mix::Mix,
    plan::{self, Catalogue},
    random::Rng,
    tasks::{self, Input, Verdict},
};

const START: Timestamp = Timestamp(1_767_225_600_000);
const DECISIONS_MAX: u32 = 200_000;

/// A run with a virtual clock, workers that do the workload's tasks, and a driver that signals and approves.
struct World<'w> {
    run: Run,
    now: Timestamp,
    due: BTreeMap<(Timestamp, u64), Command>,
    tickets: u64,
    rng: Rng,
    catalogue: &'w Catalogue,
    plans: &'w BTreeMap<String, Arc<Plan>>,
    /// Failed attempts by step.
    failures: BTreeMap<String, u32>,
    decisions: u32,
}

impl<'w> World<'w> {
    fn new(catalogue: &'w Catalogue, plans: &'w BTreeMap<String, Arc<Plan>>, workflow: &str, input: Payload, rng: Rng) -> Self {
        let plan = plans[workflow].clone();
        let info = RunInfo {
            namespace: plan.namespace.clone(),
            run_id: "run".to_owned(),
            uid: RunUid(1),
            workflow: plan.name.clone(),
            version: 1,
            input,
            principal: somebody(),
            ..RunInfo::default()
        };
        let run = Run::new(info, plan);
        Self { run, now: START, due: BTreeMap::new(), tickets: 0, rng, catalogue, plans, failures: BTreeMap::new(), decisions: 0 }
    }

    fn play(&mut self) {
        let info = self.run.info().clone();
        self.tell(&Command::Start(Box::new(info)));
        let definition = &self.catalogue.get(&self.run.info().workflow).unwrap().definition;
        for (name, times) in definition.signals() {
            for number in 0..times {
                let (name, id) = (name.clone(), format!("{name}-{number}"));
                self.later(1_500, Command::Signal { name, id, payload: None, principal: somebody() });
            }
        }
        loop {
            if self.run.has_backlog() {
                self.tell(&Command::Advance);
                continue;
            }
            let timer = self.next_timer();
            let own = self.due.keys().next().map(|(at, _)| *at);
            let Some(next) = own.into_iter().chain(timer.as_ref().map(|(at, _)| *at)).min() else { return };
            self.now = self.now.max(next);
            let command = if own == Some(next) { self.due.pop_first().unwrap().1 } else { timer.unwrap().1 };
            self.tell(&command);
        }
    }

    fn next_timer(&self) -> Option<(Timestamp, Command)> {
        let own = self.run.head().timers().map(|(kind, due)| (due, None, kind));
        let steps = self.run.open_steps();
        let of_steps = steps.flat_map(|(id, state)| state.timers().map(move |(kind, due)| (due, Some(id.clone()), kind)));
        let (due, step, kind) = own.into_iter().chain(of_steps).min()?;
        Some((due, Command::FireTimer { step, kind, due }))
    }

    fn later(&mut self, most_ms: u64, command: Command) {
        let after = Millis(self.rng.between(0, most_ms));
        self.tickets += 1;
        self.due.insert((self.now.plus(after), self.tickets), command);
    }

    /// What has become pointless meanwhile is refused, as in a cluster.
    fn tell(&mut self, command: &Command) {
        self.decisions += 1;
        assert!(self.decisions < DECISIONS_MAX, "the run does not end");
        let mut credits = NoCredits;
        let seed = self.rng.bits();
        let mut context = Context {
            now: self.now,
            seed,
            lease: Millis(30_000),
            cancel_grace: Millis(10_000),
            allow_unverified: true,
            parks: false,
            credits: &mut credits,
        };
        let Ok(decision) = decide(&self.run, command, &mut context) else { return };
        apply(&mut self.run, &decision.events);
        for event in &decision.events {
            self.answer(event);
        }
    }

    fn answer(&mut self, event: &Event) {
        match &event.kind {
            EventKind::StepQueued { step, .. } => {
                let worker = WorkerId { name: "w".to_owned(), incarnation: "w-1".to_owned() };
                self.later(20, Command::Lease { step: step.clone(), worker });
            }
            EventKind::StepLeased { step, attempt, token, .. } => {
                let reference = AttemptRef { step: step.clone(), attempt: *attempt, token: *token };
                let payload = self.run.step(step).and_then(|state| state.input.clone()).map(to_proto);
                let input = Input::read(payload.as_ref()).unwrap();
                let outcome = match input.verdict(*attempt) {
                    Verdict::Succeed => Ended::Succeeded(Some(from_proto(&tasks::output(payload.as_ref())))),
                    Verdict::Fail(failure) => Ended::Failed(Failure {
                        kind: failure.r#type,
                        message: failure.message,
                        details: None,
                        nothing_done: failure.nothing_done,
                        non_retryable: failure.non_retryable,
                        retry_after: None,
                    }),
                    Verdict::Release => Ended::Released(None),
                };
                self.later(input.ms * 2 + 50, Command::Complete { attempt: reference, outcome });
            }
            EventKind::AttemptEnded { step, outcome: Ended::Failed(_), .. } => {
                *self.failures.entry(step.as_str().to_owned()).or_default() += 1;
            }
            EventKind::StepCancelRequested { step, .. } => {
                let Some(state) = self.run.step(step) else { return };
                let Some(lease) = &state.lease else { return };
                let attempt = AttemptRef { step: step.clone(), attempt: state.attempt, token: lease.token };
                self.later(10, Command::Complete { attempt, outcome: Ended::Cancelled { nothing_done: false } });
            }
            EventKind::StepAwaiting { step, .. } => {
                let definition = &self.catalogue.get(&self.run.info().workflow).unwrap().definition;
                if let Some(approve) = definition.approval(step.as_str()) {
                    let (step, principal) = (step.clone(), somebody());
                    self.later(500, Command::Approve { step, approve, principal, reason: "x".to_owned() });
                }
            }
            EventKind::ChildRequested { step, child, workflow, input, .. } => {
                let mut world = World::new(
                    self.catalogue,
                    self.plans,
                    workflow,
                    input.clone().unwrap_or_default(),
                    self.rng.fork("child", self.tickets),
                );
                world.play();
                let (step, child) = (step.clone(), *child);
                self.later(0, Command::ChildStarted { step: step.clone(), child });
                let (status, failure) = (world.run.head().status, world.run.head().failure.clone());
                self.later(3_000, Command::ChildEnded { step, child, status, output: None, failure });
            }
            EventKind::ChildCancelRequested { step, .. } => {
                if let Some(child) = self.run.step(step).and_then(|state| state.child.as_ref()).map(|child| child.uid) {
                    let step = step.clone();
                    self.later(50, Command::ChildEnded { step, child, status: RunStatus::Cancelled, output: None, failure: None });
                }
            }
            EventKind::SlotRequested { .. } => self.later(50, Command::SlotGranted),
            _ => {}
        }
    }

    fn status(&self) -> String {
        match self.run.head().status {
            RunStatus::Succeeded => "RUN_STATUS_SUCCEEDED".to_owned(),
            RunStatus::Failed => "RUN_STATUS_FAILED".to_owned(),
            RunStatus::NeedsAttention => "RUN_STATUS_NEEDS_ATTENTION".to_owned(),
            other => format!(
                "{other:?}, and nothing is due; open are {:?}",
                self.run.open_steps().map(|(id, state)| (id.as_str(), state.status)).collect::<Vec<_>>()
            ),
        }
    }

    fn step_status(&self, path: &str) -> String {
        let status = self.run.step(&StepId::from(path)).map(|state| state.status);
        match status {
            Some(StepStatus::Succeeded) => "STEP_STATUS_SUCCEEDED".to_owned(),
            Some(StepStatus::Failed) => "STEP_STATUS_FAILED".to_owned(),
            Some(StepStatus::Skipped) => "STEP_STATUS_SKIPPED".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

fn somebody() -> Principal {
    Principal { subject: "driver".to_owned(), roles: vec![super::render::APPROVER_ROLE.to_owned()], ..Principal::default() }
}

fn to_proto(payload: Payload) -> v1::Payload {
    v1::Payload { data: payload.data, encoding: "json".to_owned() }
}

fn from_proto(payload: &v1::Payload) -> Payload {
    Payload::json(&serde_json::from_slice::<serde_json::Value>(&payload.data).unwrap())
}

fn plans(catalogue: &Catalogue) -> BTreeMap<String, Arc<Plan>> {
    let plan = |planned: &plan::Planned| {
        let loaded = quorus_spec::load(&planned.yaml, "generated.yaml").unwrap_or_else(|problems| {
            panic!("{}\n{}", quorus_spec::render_all(&problems, &planned.yaml, false), planned.yaml);
        });
        (planned.definition.name.clone(), loaded.plan)
    };
    catalogue.workflows.iter().map(plan).collect()
}

/// What a comparison of many runs has seen, so that it can't have seen nothing.
#[derive(Debug, Default)]
struct Seen {
    statuses: BTreeMap<String, u32>,
    steps: u32,
    undone: u32,
    failures: u32,
    kinds: BTreeSet<&'static str>,
}

fn compare(mix: &Mix, seeds: std::ops::Range<u64>) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        let catalogue = Catalogue::draw(mix, seed, "chaos").unwrap();
        let plans = plans(&catalogue);
        for planned in &catalogue.workflows {
            seen.kinds.extend(planned.definition.walk().iter().map(|(step, _)| step.kind.word()));
            for (variant, prediction) in (0..).zip(&planned.predictions) {
                let rng = Rng::new(seed).fork(&planned.definition.name, u64::from(variant));
                let input = from_proto(&plan::input(variant));
                let mut world = World::new(&catalogue, &plans, &planned.definition.name, input, rng);
                world.play();
                let about = || format!("seed {seed}, {}, variant {variant}\n{}\n{prediction:#?}", planned.definition.name, planned.yaml);
                let status = if prediction.status.is_empty() { String::new() } else { world.status() };
                assert_eq!(status, prediction.status, "{}", about());
                *seen.statuses.entry(prediction.status.clone()).or_default() += 1;
                for (path, expected) in &prediction.steps {
                    assert_eq!(world.step_status(path), *expected, "step {path}; {}", about());
                    seen.steps += 1;
                    seen.undone += u32::from(path.ends_with(":compensate"));
                }
                for (path, expected) in &prediction.failures {
                    assert_eq!(world.failures.get(path), Some(expected), "failures of {path}; {}", about());
                    seen.failures += expected;
                }
            }
        }
    }
    seen
}

#[test]
fn what_is_foreseen_is_what_the_engine_does() {
    let seen = compare(&Mix::normal(), 0..15);
    let times = |status: &str| seen.statuses.get(status).copied().unwrap_or_default();
    assert!(times("RUN_STATUS_SUCCEEDED") > 60 && times("RUN_STATUS_FAILED") > 60 && times("RUN_STATUS_NEEDS_ATTENTION") > 0, "{seen:?}");
    assert!(times("") * 10 < times("RUN_STATUS_FAILED"), "too little is foreseen: {seen:?}");
    assert!(seen.steps > 3_000 && seen.undone > 50 && seen.failures > 500, "{seen:?}");
    assert_eq!(seen.kinds.len(), 10, "{seen:?}");
}

#[test]
fn small_and_heavy_workflows_come_out_as_foreseen_too() {
    let small = compare(&Mix::small(), 100..125);
    let heavy = compare(&Mix { workflows: 4, children: 2, ..Mix::heavy() }, 200..202);
    assert!(small.steps > 800 && heavy.steps > 200, "{small:?} {heavy:?}");
}

#[test]
fn a_shape_has_every_step_that_was_foreseen() {
    let catalogue = Catalogue::draw(&Mix::heavy(), 5, "chaos").unwrap();
    for planned in &catalogue.workflows {
        let known: BTreeSet<&str> = planned.shape.steps.iter().map(|step| step.step.as_str()).collect();
        for path in planned.predictions.iter().flat_map(|prediction| prediction.steps.keys()) {
            let mut general = String::new();
            let mut inside = false;
            for sign in path.chars() {
                inside = (inside || sign == '[') && sign != ']';
                if !inside || sign == '[' {
                    general.push(sign);
                }
            }
            // An item is no step of its own.
            assert!(known.contains(general.as_str()) || general.ends_with("[]"), "{path} ({general}) of {}", planned.definition.name);
        }
    }
}
