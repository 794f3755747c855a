//! Random plans and random commands. The laws are checked after every decision, see `laws`.

use proptest::prelude::*;
use serde_json::json;

use super::laws;
use super::world::{World, worker};
use crate::{
    AttemptRef, Command, Definition, Failure, Kind, Millis, Outcome, Payload, Principal, RetryDefinition, RunStatus, StepDefinition,
    StepId, StepStatus, TaskDefinition, TimerKind, Token, Wait,
};

/// What one step is like; needs point backwards by position.
#[derive(Clone, Debug)]
struct Shape {
    kind: u8,
    needs: Vec<prop::sample::Index>,
    condition: u8,
    reads: bool,
    attempts: i32,
    delay: bool,
    timeout: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        0..6_u8,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        0..12_u8,
        any::<bool>(),
        1..4,
        any::<bool>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(kind, needs, condition, reads, attempts, delay, timeout)| Shape {
            kind,
            needs,
            condition,
            reads,
            attempts,
            delay,
            timeout,
        })
}

fn definition(shapes: &[Shape], timeout: bool) -> Definition {
    let steps = shapes.iter().enumerate().map(|(index, shape)| {
        let mut needs: Vec<String> =
            if index == 0 { vec![] } else { shape.needs.iter().map(|need| format!("s{}", need.index(index))).collect() };
        needs.sort();
        needs.dedup();
        // Reading the output of a step that may have been skipped: null is fine, a member of it is an error.
        let read = needs.first().map_or(json!("${input.n}"), |need| json!(format!("${{steps.{need}.output}}")));
        let kind = match shape.kind {
            0 => Kind::Wait(Wait::For(Millis(60_000))),
            1 => Kind::Set(read.clone()),
            _ => Kind::Task(TaskDefinition {
                task_type: "work".to_owned(),
                queue: if shape.delay { "slow" } else { "" }.to_owned(),
                ..TaskDefinition::default()
            }),
        };
        let is_task = matches!(kind, Kind::Task(_));
        let is_set = matches!(kind, Kind::Set(_));
        StepDefinition {
            id: format!("s{index}"),
            needs: needs.into_iter().map(Into::into).collect(),
            condition: match shape.condition {
                0 => Some("false".to_owned()),
                1 => Some("input.missing".to_owned()),
                2 => Some("input.n > 0".to_owned()),
                _ => None,
            },
            with: (is_task && shape.reads).then_some(read),
            kind: Some(kind),
            retry: is_task.then(|| RetryDefinition {
                max_attempts: shape.attempts,
                initial_interval: Some(Millis(if shape.delay { 5_000 } else { 0 })),
                non_retryable: vec!["Fatal".to_owned()],
                ..RetryDefinition::default()
            }),
            timeout: (shape.timeout && !is_set).then_some(Millis(90_000)),
            ..StepDefinition::default()
        }
    });
    Definition { name: "random".to_owned(), steps: steps.collect(), timeout: timeout.then_some(Millis(600_000)), ..Definition::default() }
}

/// A command, as far as it can be known before the run.
#[derive(Clone, Debug)]
enum Move {
    Lease(prop::sample::Index),
    Complete(prop::sample::Index, u8),
    Stale(prop::sample::Index, i8),
    Checkpoint(prop::sample::Index, u8),
    GiveUp(prop::sample::Index, u8),
    Fire,
    Credit,
    Early(prop::sample::Index),
    Cancel,
    Terminate,
    Advance,
}

fn moves() -> impl Strategy<Value = Move> {
    let step = any::<prop::sample::Index>;
    prop_oneof![
        8 => step().prop_map(Move::Lease),
        12 => (step(), 0..9_u8).prop_map(|(step, outcome)| Move::Complete(step, outcome)),
        2 => (step(), -2..3_i8).prop_map(|(step, off)| Move::Stale(step, off)),
        3 => (step(), any::<u8>()).prop_map(|(step, value)| Move::Checkpoint(step, value)),
        3 => (step(), 0..4_u8).prop_map(|(step, how)| Move::GiveUp(step, how)),
        4 => Just(Move::Fire),
        4 => Just(Move::Credit),
        1 => step().prop_map(Move::Early),
        1 => prop::bool::weighted(0.3).prop_map(|yes| if yes { Move::Cancel } else { Move::Advance }),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { Move::Terminate } else { Move::Advance }),
    ]
}

fn outcome(code: u8) -> Outcome {
    let failure = |kind: &str, nothing_done| Failure { kind: kind.to_owned(), nothing_done, ..Failure::default() };
    match code {
        0..=3 => Outcome::Succeeded(Some(Payload::json(&json!({"x": code})))),
        4 => Outcome::Failed(failure("Flaky", false)),
        5 => Outcome::Failed(failure("Fatal", true)),
        6 => Outcome::Released(Some(Payload::json(&json!(1)))),
        7 => Outcome::Released(None),
        _ => Outcome::Cancelled { nothing_done: true },
    }
}

impl World {
    fn step_at(&self, index: prop::sample::Index) -> StepId {
        self.run.plan().steps[index.index(self.run.plan().steps.len())].id.clone()
    }

    fn make(&mut self, step: &Move) {
        match step {
            Move::Lease(at) => {
                let _ = self.act(&Command::Lease { step: self.step_at(*at), worker: worker("w") });
            }
            Move::Complete(at, code) => self.complete(&self.step_at(*at), &outcome(*code)),
            Move::Stale(at, off) => {
                let attempt = self.attempt(&self.step_at(*at));
                let token = Token(attempt.token.0.saturating_add_signed(i64::from(*off)));
                if token != attempt.token {
                    let stale = AttemptRef { token, ..attempt };
                    let before = self.events.len();
                    let _ = self.act(&Command::Complete { attempt: stale, outcome: outcome(0) });
                    assert_eq!(self.events.len(), before, "a token that is not the lease's changes nothing");
                }
            }
            Move::Checkpoint(at, value) => {
                let attempt = self.attempt(&self.step_at(*at));
                let _ = self.act(&Command::Checkpoint { attempt, checkpoint: Payload::json(&json!(value)) });
            }
            Move::GiveUp(at, how) => {
                let step = self.step_at(*at);
                let attempt = self.attempt(&step);
                let deadline = self.run.step(&step).and_then(|state| state.schedule_deadline).unwrap_or_default();
                let command = match how {
                    0 => Command::Abandon { attempt, reason: "gone".to_owned() },
                    1 => Command::AttemptTimeout { attempt },
                    2 => Command::HeartbeatTimeout { attempt },
                    _ => {
                        self.now = self.now.max(deadline);
                        Command::ScheduleTimeout { step, deadline }
                    }
                };
                let _ = self.act(&command);
            }
            Move::Fire => {
                if let Some(fired) = self.fire_next() {
                    fired.expect("an armed timer that is due can be fired");
                }
            }
            Move::Credit => self.pool.0.entry("default".to_owned()).or_default().push(worker("idle")),
            Move::Early(at) => {
                let step = self.step_at(*at);
                let due = self.run.step(&step).and_then(|state| state.due);
                if let Some(due) = due.filter(|due| *due > self.now) {
                    self.act(&Command::FireTimer { step: Some(step), kind: TimerKind::Due, due }).expect_err("timers are never early");
                }
            }
            Move::Cancel => drop(self.act(&Command::Cancel { principal: Principal::default(), reason: "test".to_owned(), compensate: true })),
            Move::Terminate => drop(self.act(&Command::Terminate { principal: Principal::default(), reason: "test".to_owned() })),
            Move::Advance => drop(self.act(&Command::Advance)),
        }
    }

    /// Reports, and reports again: the same answer for the same outcome, no for another.
    fn complete(&mut self, step: &StepId, outcome: &Outcome) {
        let attempt = self.attempt(step);
        let command = Command::Complete { attempt: attempt.clone(), outcome: outcome.clone() };
        if self.act(&command).is_err() {
            return;
        }
        assert!(self.act(&command).unwrap().events.is_empty(), "reported twice, recorded once");
        let other = if matches!(outcome, Outcome::Succeeded(_)) { Outcome::Released(None) } else { Outcome::Succeeded(None) };
        let still_live = self.run.step(step).is_some_and(|state| state.lease.as_ref().is_some_and(|lease| lease.token == attempt.token));
        assert!(!still_live, "an attempt that ended holds no lease");
        self.act(&Command::Complete { attempt, outcome: other }).unwrap_err();
    }

    /// Workers take everything and succeed, and every timer fires in time.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.run.head().status.is_final() {
                return;
            }
            if let Some(step) = self.first(StepStatus::Leased) {
                self.complete(&step, &Outcome::Succeeded(None));
            } else if let Some(step) = self.first(StepStatus::Queued) {
                self.act(&Command::Lease { step, worker: worker("w") }).unwrap();
            } else {
                self.fire_next().expect("what sleeps has a timer").unwrap();
            }
        }
        panic!("the run does not end: {:?}", self.run);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_laws_and_ends(
        shapes in prop::collection::vec(shape(), 1..12),
        timeout in any::<bool>(),
        input in -1..2_i64,
        moves in prop::collection::vec(moves(), 0..60),
        seed in any::<u64>(),
    ) {
        let mut world = World::of(&definition(&shapes, timeout), &json!({"n": input}));
        world.seed = seed;
        world.start();
        for step in &moves {
            world.make(step);
        }
        world.drain();
        laws::prefixes(&world);
        if world.run.head().status == RunStatus::Succeeded {
            prop_assert!(world.run.steps().len() == shapes.len());
            let well = world.run.steps().values().all(|state| matches!(state.status, StepStatus::Succeeded | StepStatus::Skipped));
            prop_assert!(well, "a run succeeds only if no step failed");
        }
    }
}
