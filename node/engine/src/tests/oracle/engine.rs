//! The engine's side of the comparison: what it has open, and how it is told what happens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::world::{World, worker};
use super::node::{ChildEnd, Doing, Live, Node, Told};
use crate::{BUILTIN_QUEUE, Command, Failure, Outcome, Payload, PlannedKind, Principal, RunStatus, StepId, StepStatus, TimerKind};

/// The run of a random plan.
pub(super) struct Engine {
    pub(super) world: World,
    signals: u32,
}

impl Engine {
    pub(super) fn new(nodes: &[Node]) -> Self {
        let mut engine = Self { world: World::of(&super::definition::definition(nodes), &json!({})), signals: 0 };
        engine.room();
        engine.world.start();
        engine.go_on();
        engine
    }

    /// Whatever is ready is leased at once.
    fn room(&mut self) {
        for queue in ["default", BUILTIN_QUEUE] {
            self.world.pool.0.insert(queue.to_owned(), vec![worker("w"); 64]);
        }
    }

    fn act(&mut self, command: &Command) {
        self.room();
        self.world.act(command).unwrap();
        self.go_on();
    }

    /// What was left to the next decision, and what is tried again at once.
    fn go_on(&mut self) {
        loop {
            let next = self.world.timers().into_iter().find(|(due, step, kind)| {
                let is_wait = step
                    .as_ref()
                    .and_then(|step| self.world.run.planned(step))
                    .is_some_and(|step| matches!(step.kind, PlannedKind::Wait(_)));
                let held = step.as_ref().is_some_and(|step| self.world.run.holds_back(step));
                *kind == TimerKind::Due && *due <= self.world.now && !is_wait && !held
            });
            let Some((due, step, kind)) = next else { return };
            self.room();
            self.world.act(&Command::FireTimer { step, kind, due }).unwrap();
        }
    }

    /// Everything that is open and no container.
    pub(super) fn live(&self) -> BTreeMap<String, Live> {
        let open = self.world.run.open_steps().filter_map(|(id, state)| {
            let cancelled = state.child.as_ref().is_some_and(|child| child.cancel.is_some());
            let (doing, stopping) = match (state.status, &self.world.run.planned(id)?.kind) {
                (StepStatus::Leased, _) => (Doing::Attempt, state.cancel_deadline.is_some()),
                (StepStatus::Waiting, PlannedKind::Wait(_)) => (Doing::Sleep, false),
                (StepStatus::Awaiting, PlannedKind::Signal(_)) => (Doing::Signal, false),
                (StepStatus::Awaiting, _) => (Doing::Approval, false),
                (StepStatus::Running, _) if state.child.is_some() => (Doing::Child, cancelled),
                _ => return None,
            };
            Some((id.to_string(), Live { doing, stopping }))
        });
        open.collect()
    }

    /// Steps of the random plan whose own time runs.
    pub(super) fn timed(&self) -> BTreeSet<String> {
        let timed = self.world.run.steps().iter().filter(|(id, state)| {
            let written = self.world.run.planned(id).is_some_and(|step| step.timeout == Some(crate::Millis(7_200_000)));
            written && state.step_deadline.is_some() && id.undoes().is_none()
        });
        timed.map(|(id, _)| id.to_string()).collect()
    }

    pub(super) fn cancel(&mut self, compensate: bool) {
        self.act(&Command::Cancel { principal: Principal::default(), reason: String::new(), compensate });
    }

    pub(super) fn signal(&mut self, name: &str, number: u8) {
        self.signals += 1;
        let id = format!("signal-{}", self.signals);
        let payload = Some(Payload::json(&json!(number)));
        self.act(&Command::Signal { name: name.to_owned(), id, payload, principal: Principal::default() });
    }

    pub(super) fn tell(&mut self, instance: &str, doing: Option<Doing>, told: Told) {
        let step = StepId::from(instance);
        let attempt = self.world.attempt(&step);
        let failure = |fatal, nothing_done| Failure { kind: "Told".to_owned(), non_retryable: fatal, nothing_done, ..Failure::default() };
        let complete = |outcome| Command::Complete { attempt: attempt.clone(), outcome };
        let command = match (told, doing) {
            (Told::StepTimedOut, _) => self.timer(&step, TimerKind::StepTimeout),
            (Told::Cut, _) => self.timer(&step, TimerKind::CancelGrace),
            (Told::Succeeded, Some(Doing::Sleep)) => self.timer(&step, TimerKind::Due),
            (Told::Succeeded, Some(Doing::Child)) => self.child_ended(&step, RunStatus::Succeeded, None),
            (Told::Child(ChildEnd::Failed { fatal }), _) => self.child_ended(&step, RunStatus::Failed, Some(failure(fatal, false))),
            (Told::Child(ChildEnd::Cancelled), _) => self.child_ended(&step, RunStatus::Cancelled, None),
            (Told::Child(ChildEnd::Terminated), _) => self.child_ended(&step, RunStatus::Terminated, None),
            (Told::Child(ChildEnd::Refused), _) => {
                let child = self.world.state(instance).child.as_ref().unwrap().uid;
                Command::ChildRefused { step, child, failure: Failure::default() }
            }
            (Told::Word { who, yes }, _) => return self.word(step, who, yes),
            (Told::Succeeded, _) => complete(Outcome::Succeeded(None)),
            (Told::Failed { fatal, nothing_done }, _) => complete(Outcome::Failed(failure(fatal, nothing_done))),
            (Told::TimedOut, _) => Command::AttemptTimeout { attempt },
            (Told::Abandoned, _) => Command::Abandon { attempt, reason: "gone".to_owned() },
            (Told::Released, _) => complete(Outcome::Released(None)),
            (Told::Stopped { nothing_done }, _) => complete(Outcome::Cancelled { nothing_done }),
        };
        self.act(&command);
    }

    /// The clock goes on to it; other timers fire when they are chosen.
    fn timer(&mut self, step: &StepId, kind: TimerKind) -> Command {
        let due = self.world.state(step.as_str()).timers().find(|(of, _)| *of == kind).map(|(_, due)| due).unwrap();
        self.world.now = self.world.now.max(due);
        Command::FireTimer { step: Some(step.clone()), kind, due }
    }

    fn child_ended(&self, step: &StepId, status: RunStatus, failure: Option<Failure>) -> Command {
        let child = self.world.state(step.as_str()).child.as_ref().unwrap().uid;
        Command::ChildEnded { step: step.clone(), child, status, output: None, failure }
    }

    /// Nobody is heard twice.
    fn word(&mut self, step: StepId, who: u8, yes: bool) {
        let subject = format!("person-{who}");
        let heard = self.world.state(step.as_str()).approvals.iter().any(|given| given.principal.subject == subject);
        let principal = Principal { subject, roles: vec!["managers".to_owned()], issuer: String::new(), verified: true };
        let command = Command::Approve { step, approve: yes, principal, reason: String::new() };
        if heard {
            self.world.act(&command).unwrap_err();
        } else {
            self.act(&command);
        }
    }
}
