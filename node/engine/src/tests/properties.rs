//! Random plans and random commands. The laws are checked after every decision, see `laws`.

use proptest::prelude::*;
use serde_json::json;

use super::laws;
use super::plans::{definition, frame, shapes};
use super::world::{World, worker};
use crate::{
    AttemptRef, Command, Compensation, Failure, Outcome, Payload, PlannedKind, Principal, Rejection, RunStatus, RunUid, StepId, StepStatus,
    TimerKind, Token,
};

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
    Cancel(bool),
    Terminate,
    Advance,
    Signal(u8),
    Approve(prop::sample::Index, bool),
    Child(prop::sample::Index, u8),
    Slot(u8),
    Pause(bool),
    Retry,
    Restart(prop::sample::Index),
    Skip(prop::sample::Index),
    Compensate,
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
        1 => prop::bool::weighted(0.3).prop_map(|yes| if yes { Move::Cancel(true) } else { Move::Advance }),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { Move::Cancel(false) } else { Move::Advance }),
        2 => any::<u8>().prop_map(Move::Signal),
        2 => (step(), prop::bool::weighted(0.8)).prop_map(|(step, yes)| Move::Approve(step, yes)),
        4 => (step(), 0..8_u8).prop_map(|(step, how)| Move::Child(step, how)),
        1 => (0..8_u8).prop_map(Move::Slot),
        1 => any::<bool>().prop_map(Move::Pause),
        2 => Just(Move::Retry),
        1 => step().prop_map(Move::Restart),
        1 => step().prop_map(Move::Skip),
        1 => Just(Move::Compensate),
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
        // What is open comes first, so that most moves have something to move.
        let open: Vec<StepId> = self.run.open_steps().map(|(id, _)| id.clone()).collect();
        let planned = self.run.plan().steps.iter().map(|step| step.id.clone());
        let all: Vec<StepId> =
            open.iter().cloned().chain(open.iter().cloned()).chain(planned).chain(self.run.steps().keys().cloned()).collect();
        all[index.index(all.len())].clone()
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
                let is_paused = self.run.head().paused_by.is_some();
                let waits_for_people = self.run.head().status == RunStatus::NeedsAttention;
                match self.fire_next() {
                    Some(Err(Rejection::Paused)) if is_paused => {}
                    Some(Err(Rejection::HeldBack(_))) if waits_for_people => {}
                    Some(fired) => drop(fired.expect("an armed timer that is due can be fired")),
                    None => {}
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
            Move::Cancel(compensate) => {
                let reason = "test".to_owned();
                let _ = self.act(&Command::Cancel { principal: Principal::default(), reason, compensate: *compensate });
            }
            Move::Terminate => drop(self.act(&Command::Terminate { principal: Principal::default(), reason: "test".to_owned() })),
            Move::Advance => drop(self.act(&Command::Advance)),
            Move::Signal(value) => self.signal(*value),
            Move::Approve(at, yes) => self.approve(&self.step_at(*at), *yes),
            Move::Child(at, how) => self.child(&self.step_at(*at), *how),
            Move::Slot(0) => drop(self.act(&Command::SlotDenied { reason: "taken".to_owned() })),
            Move::Slot(_) => drop(self.act(&Command::SlotGranted)),
            Move::Pause(true) => drop(self.act(&Command::Pause { principal: Principal::default(), reason: String::new() })),
            Move::Pause(false) => drop(self.act(&Command::Resume { principal: Principal::default(), reason: String::new() })),
            Move::Retry => drop(self.act(&Command::Retry { principal: Principal::default(), reason: String::new() })),
            Move::Restart(at) => {
                let step = self.step_at(*at);
                let _ = self.act(&Command::RestartFrom { step, principal: Principal::default(), reason: String::new() });
            }
            Move::Skip(at) => {
                let step = self.step_at(*at);
                let _ = self.act(&Command::Skip { step, output: None, principal: manager(), reason: String::new() });
            }
            Move::Compensate => {
                let _ = self.act(&Command::Compensate { principal: Principal::default(), reason: String::new(), notify: None });
            }
        }
    }

    fn signal(&mut self, value: u8) {
        let id = format!("{}-{value}", self.events.len());
        let signal = Command::Signal {
            name: "go".to_owned(),
            id,
            payload: Some(Payload::json(&json!({"x": i32::from(value) - 50}))),
            principal: Principal::default(),
        };
        if self.act(&signal).is_ok() {
            assert!(self.act(&signal).is_ok_and(|again| again.events.is_empty()), "sent twice, received once");
        }
    }

    fn approve(&mut self, step: &StepId, approve: bool) {
        let _ = self.act(&Command::Approve { step: step.clone(), approve, principal: manager(), reason: String::new() });
    }

    fn child(&mut self, step: &StepId, how: u8) {
        let child = self.run.step(step).and_then(|state| state.child.as_ref()).map_or(RunUid(7), |child| child.uid);
        let step = step.clone();
        let ended = |status, failure| Command::ChildEnded { step: step.clone(), child, status, output: None, failure };
        let command = match how {
            0 => Command::ChildRefused { step: step.clone(), child, failure: Failure::default() },
            1 => ended(RunStatus::Failed, Some(Failure::default())),
            2 => ended(RunStatus::Terminated, None),
            3 => ended(RunStatus::Cancelled, None),
            4 | 5 => ended(RunStatus::Succeeded, None),
            _ => Command::ChildStarted { step: step.clone(), child },
        };
        if self.act(&command).is_ok() {
            match self.act(&command) {
                Ok(again) => assert!(again.events.is_empty(), "heard twice, recorded once"),
                // The step goes on with another child.
                Err(rejection) => assert!(matches!(rejection, Rejection::UnknownChild(_)), "{rejection}"),
            }
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

    /// Everybody does what is wanted of them, and every timer fires in time.
    fn drain(&mut self) {
        let mut retries = 0;
        for _ in 0..2_000 {
            let status = self.run.head().status;
            if status.is_final() {
                return;
            }
            let nobody = || (Principal::default(), String::new());
            if self.run.head().paused_by.is_some() {
                let (principal, reason) = nobody();
                self.act(&Command::Resume { principal, reason }).unwrap();
            } else if status == RunStatus::Queued {
                self.act(&Command::SlotGranted).unwrap();
            } else if let Some(step) = self.first(StepStatus::Leased) {
                self.complete(&step, &Outcome::Succeeded(None));
            } else if let Some(step) = self.first_to_lease() {
                self.act(&Command::Lease { step, worker: worker("w") }).unwrap();
            } else if let Some((step, child)) = self.waiting_child() {
                let status = if step.undoes().is_some() { RunStatus::Cancelled } else { RunStatus::Succeeded };
                self.act(&Command::ChildEnded { step, child, status, output: None, failure: None }).unwrap();
            } else if let Some(step) = self.first(StepStatus::Awaiting) {
                match &self.run.planned(&step).unwrap().kind {
                    PlannedKind::Approval(_) => self.approve(&step, true),
                    _ => self.signal(200),
                }
            } else if status == RunStatus::NeedsAttention {
                let (principal, reason) = nobody();
                retries += 1;
                let command = if retries < 4 { Command::Retry { principal, reason } } else { Command::Terminate { principal, reason } };
                self.act(&command).unwrap();
            } else {
                self.fire_next().expect("what sleeps has a timer").unwrap();
            }
        }
        panic!("the run does not end: {:?}", self.run.head());
    }

    fn first_to_lease(&self) -> Option<StepId> {
        let queued = self.run.open_steps().filter(|(_, state)| state.status == StepStatus::Queued).map(|(id, _)| id.clone());
        queued.into_iter().find(|id| !self.run.holds_back(id))
    }

    fn waiting_child(&self) -> Option<(StepId, RunUid)> {
        let waiting = self.run.open_steps().find(|(_, state)| state.status == StepStatus::Running && state.child.is_some());
        waiting.and_then(|(id, state)| Some((id.clone(), state.child.as_ref()?.uid)))
    }
}

fn manager() -> Principal {
    Principal { subject: "ann".to_owned(), roles: vec!["managers".to_owned()], issuer: String::new(), verified: true }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_laws_and_ends(
        shapes in shapes(2),
        frame in frame(),
        input in -1..2_i64,
        moves in prop::collection::vec(moves(), 0..60),
        seed in any::<u64>(),
        parks in prop::bool::weighted(0.3),
    ) {
        let mut world = World::of(&definition(&shapes, &frame), &json!({"n": input}));
        world.seed = seed;
        world.parks = parks;
        world.start();
        for step in &moves {
            world.make(step);
        }
        world.drain();
        laws::prefixes(&world);
        let head = world.run.head();
        if head.status == RunStatus::Succeeded {
            let plan = world.run.plan();
            let well = plan.body.iter().all(|&index| {
                let state = world.run.step(&plan.steps[index].id).unwrap();
                matches!(state.status, StepStatus::Succeeded | StepStatus::Skipped) || state.handled
            });
            assert!(well, "a run succeeds only if each step of it did, or was let off");
        }
        if head.compensation == Compensation::Completed && head.status != RunStatus::Terminated {
            assert_eq!(world.run.undone_last_first(), vec![], "nothing is left undone");
        }
    }
}
