//! A run without a cluster: the engine decides, a virtual clock jumps from one thing that is due to the next, and scripts play the workers.
//!
//! Nothing here waits, and nothing is random: the same test gives the same run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorus_engine::{
    AttemptRef, Command, Context, Decision, Event, EventKind, Failure, Millis, NoCredits, Outcome as Ended, Payload, Plan, PlannedKind,
    Principal, Rejection, Run, RunInfo, RunStatus, RunUid, StepId, StepStatus, Timestamp, WorkerId, apply, decide,
};

use super::{
    act,
    file::{Case, Delay},
    gate,
    outcome::{End, Fail, Outcome, TimeOut},
    trace::Trace,
};

/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp(1_767_225_600_000);

/// As nodes have them by default.
const LEASE: Millis = Millis(30_000);
const CANCEL_GRACE: Millis = Millis(10_000);

/// A run that makes more decisions goes round in circles.
const DECISIONS_MAX: usize = 200_000;

/// See the module.
pub(crate) struct World<'t> {
    pub(crate) run: Run,
    pub(crate) now: Timestamp,
    pub(crate) trace: Trace,
    case: &'t Case,
    /// What is to be told to the run, by time and then in the order in which it came up.
    due: BTreeMap<(Timestamp, u64), Command>,
    tickets: u64,
    /// How many outcomes of each script were used. The iterations of a `repeat` go on in one list; each item of a `for_each` has its own.
    used: BTreeMap<String, usize>,
    /// What the last attempt of each instance does.
    current: BTreeMap<StepId, Outcome>,
    /// When actions are due whose moment is known.
    pub(super) moments: BTreeMap<usize, Timestamp>,
    /// Actions that were carried out.
    pub(super) done: BTreeSet<usize>,
    /// Actions that were refused, with the reason.
    pub(crate) refused: BTreeMap<usize, String>,
    decisions: usize,
}

impl<'t> World<'t> {
    /// A run that was not started.
    pub(crate) fn new(plan: Arc<Plan>, case: &'t Case, input: &serde_json::Value, start: Option<Timestamp>) -> Self {
        let info = RunInfo {
            namespace: plan.namespace.clone(),
            run_id: "test".to_owned(),
            uid: RunUid(1),
            workflow: plan.name.clone(),
            version: 1,
            input: Payload::json(input),
            labels: plan.labels.clone().into_iter().chain(case.labels.clone()).collect(),
            principal: principal(case.starter.as_deref().unwrap_or("test"), &[]),
            ..RunInfo::default()
        };
        Self {
            run: Run::new(info, plan),
            now: start.unwrap_or(START),
            trace: Trace::default(),
            case,
            due: BTreeMap::new(),
            tickets: 0,
            used: BTreeMap::new(),
            current: BTreeMap::new(),
            moments: BTreeMap::new(),
            done: BTreeSet::new(),
            refused: BTreeMap::new(),
            decisions: 0,
        }
    }

    /// Starts the run and goes on until it has ended or waits for something that is not in the test.
    pub(crate) fn play(&mut self) -> Result<(), String> {
        let info = self.run.info().clone();
        self.tell(&Command::Start(Box::new(info))).map_err(|rejection| format!("the run can't be started: {rejection}"))?;
        loop {
            if act::ready(self)? {
                continue;
            }
            if self.run.has_backlog() {
                self.tell_quietly(&Command::Advance);
                continue;
            }
            if !self.step_forward()? {
                return Ok(());
            }
        }
    }

    /// Moves the clock to what is due next and does it; false if nothing is.
    fn step_forward(&mut self) -> Result<bool, String> {
        if self.decisions > DECISIONS_MAX {
            return Err(format!("the run does not come to an end: {DECISIONS_MAX} decisions were made"));
        }
        let own = self.due.keys().next().map(|(at, _)| *at);
        let timer = self.next_timer();
        let action = act::next(self);
        let Some(next) = [own, timer.as_ref().map(|(at, _)| *at), action].into_iter().flatten().min() else { return Ok(false) };
        self.now = self.now.max(next);
        if own == Some(next)
            && let Some((_, command)) = self.due.pop_first()
        {
            self.tell_quietly(&command);
        } else if action == Some(next) {
            act::at_time(self)?;
        } else if let Some((_, command)) = timer {
            self.tell_quietly(&command);
        }
        Ok(true)
    }

    /// The timer that fires next.
    fn next_timer(&self) -> Option<(Timestamp, Command)> {
        let own = self.run.head().timers().map(|(kind, due)| (due, None, kind));
        let steps = self.run.steps().iter();
        let of_steps = steps.flat_map(|(id, state)| state.timers().map(move |(kind, due)| (due, Some(id.clone()), kind)));
        let (due, step, kind) = own.into_iter().chain(of_steps).min()?;
        Some((due, Command::FireTimer { step, kind, due }))
    }

    /// Carries out a command, and lets the scripts answer to what follows from it.
    pub(super) fn tell(&mut self, command: &Command) -> Result<Decision, Rejection> {
        self.decisions += 1;
        let mut credits = NoCredits;
        let mut context = Context {
            now: self.now,
            seed: 1,
            lease: LEASE,
            cancel_grace: CANCEL_GRACE,
            allow_unverified: false,
            parks: false,
            credits: &mut credits,
        };
        let decision = decide(&self.run, command, &mut context)?;
        apply(&mut self.run, &decision.events);
        for event in &decision.events {
            self.trace.add(event);
            self.answer(event);
        }
        Ok(decision)
    }

    /// The same for what may have become pointless meanwhile.
    fn tell_quietly(&mut self, command: &Command) {
        let _ = self.tell(command);
    }

    /// What the workers do about an event.
    fn answer(&mut self, event: &Event) {
        match &event.kind {
            EventKind::StepQueued { step, schedule_deadline, .. } => {
                let command = match (self.outcome(step).end, *schedule_deadline) {
                    (End::NoWorker, Some(deadline)) => {
                        self.next_outcome(step);
                        self.at(deadline, Command::ScheduleTimeout { step: step.clone(), deadline });
                        return;
                    }
                    (End::NoWorker, None) => return,
                    _ => Command::Lease { step: step.clone(), worker: worker() },
                };
                self.at(self.now, command);
            }
            EventKind::StepLeased { step, attempt, token, attempt_deadline, .. } => {
                let attempt = AttemptRef { step: step.clone(), attempt: *attempt, token: *token };
                self.begin(attempt, *attempt_deadline);
            }
            EventKind::StepCancelRequested { step, .. } => {
                let Some(state) = self.run.step(step) else { return };
                let Some(lease) = &state.lease else { return };
                let attempt = AttemptRef { step: step.clone(), attempt: state.attempt, token: lease.token };
                let outcome = self.current.get(step).cloned().unwrap_or_default();
                if !outcome.fields.ignores_cancel {
                    let nothing_done = outcome.fields.nothing_done;
                    self.at(self.now, Command::Complete { attempt, outcome: Ended::Cancelled { nothing_done } });
                }
            }
            EventKind::ChildRequested { step, child, .. } => self.child(step, *child),
            EventKind::ChildCancelRequested { step, .. } => {
                if let Some(child) = self.run.step(step).and_then(|state| state.child.as_ref()).map(|child| child.uid) {
                    self.at(self.now, child_ended(step, child, RunStatus::Cancelled, None, None));
                }
            }
            EventKind::ChildCompensationRequested { step, child, .. } => self.child(step, *child),
            EventKind::SlotRequested { .. } => self.at(self.now, Command::SlotGranted),
            _ => {}
        }
    }

    /// A child run begins, or begins to undo what it did: its end is scripted.
    fn child(&mut self, step: &StepId, child: RunUid) {
        let outcome = self.next_outcome(step);
        let at = self.now.plus(outcome.fields.after.unwrap_or(self.case.attempt_takes).0);
        let started = Command::ChildStarted { step: step.clone(), child };
        let command = match &outcome.end {
            End::Refuse(fail) => {
                self.at(at, Command::ChildRefused { step: step.clone(), child, failure: failure(fail) });
                return;
            }
            End::Succeed(value) => Some(child_ended(step, child, RunStatus::Succeeded, output(value), None)),
            End::Fail(fail) => Some(child_ended(step, child, RunStatus::Failed, None, Some(failure(fail)))),
            End::Hang | End::NoWorker | End::Samples(_) | End::TimeOut(_) | End::Abandon(_) | End::Release(_) => None,
        };
        self.at(self.now, started);
        if let Some(command) = command {
            self.at(at, command);
        }
    }

    /// An attempt begins: its end is scripted.
    fn begin(&mut self, attempt: AttemptRef, deadline: Option<Timestamp>) {
        let step = attempt.step.clone();
        let outcome = self.next_outcome(&step);
        let mut after = outcome.fields.after.unwrap_or(self.case.attempt_takes).0;
        let end = match &outcome.end {
            End::Succeed(value) => Some(Ended::Succeeded(output(value))),
            End::Fail(fail) | End::Refuse(fail) => Some(Ended::Failed(failure(fail))),
            End::Release(checkpoint) => Some(Ended::Released(output(checkpoint))),
            End::Samples(samples) => {
                let input = self.run.step(&step).and_then(|state| state.input.clone());
                let looked = gate::look(input.as_ref(), samples);
                match looked {
                    Some((offset, ended)) => {
                        after = Millis(after.0 + offset.0);
                        Some(ended)
                    }
                    None => None,
                }
            }
            End::Abandon(reason) => {
                self.at(self.now.plus(after), Command::Abandon { attempt: attempt.clone(), reason: reason.clone() });
                None
            }
            End::TimeOut(TimeOut::Heartbeat) => {
                let silence = self.task(&step).and_then(|task| task.heartbeat_timeout).unwrap_or(after);
                self.at(self.now.plus(after.max(silence)), Command::HeartbeatTimeout { attempt: attempt.clone() });
                None
            }
            End::TimeOut(TimeOut::Attempt) | End::Hang | End::NoWorker => None,
        };
        if let Some(checkpoint) = &outcome.fields.checkpoint {
            let command = Command::Checkpoint { attempt: attempt.clone(), checkpoint: Payload::json(checkpoint) };
            self.at(self.now.plus(after), command);
        }
        if let Some(outcome) = end {
            self.at(self.now.plus(after), Command::Complete { attempt: attempt.clone(), outcome });
        }
        if let Some(deadline) = deadline {
            // Stale if the attempt has ended before.
            self.at(deadline, Command::AttemptTimeout { attempt });
        }
    }

    /// What an attempt of an instance does that begins now.
    fn next_outcome(&mut self, step: &StepId) -> Outcome {
        let outcome = self.outcome(step);
        *self.used.entry(self.script_of(step)).or_default() += 1;
        self.current.insert(step.clone(), outcome.clone());
        outcome
    }

    /// What the next attempt of an instance does.
    fn outcome(&self, step: &StepId) -> Outcome {
        let scripts = &self.case.steps;
        let Some(script) = scripts.get(step.as_str()).or_else(|| scripts.get(step.planned())) else {
            return if self.is_guard(step) { Outcome { end: End::Hang, ..Outcome::default() } } else { Outcome::default() };
        };
        let outcomes = &script.value.0;
        let used = self.used.get(&self.script_of(step)).copied().unwrap_or_default();
        outcomes.get(used).or(outcomes.last()).cloned().unwrap_or_default()
    }

    /// Names the list of outcomes that an instance reads: its path without the positions of iterations.
    fn script_of(&self, step: &StepId) -> String {
        if self.case.steps.contains_key(step.as_str()) {
            return step.as_str().to_owned();
        }
        let segments = step.as_str().split('.').map(|segment| match segment.split_once('[') {
            Some((id, _)) if self.is_repeat(id) => id,
            _ => segment,
        });
        segments.collect::<Vec<_>>().join(".")
    }

    fn is_repeat(&self, id: &str) -> bool {
        self.run.plan().step(&StepId::from(id)).is_some_and(|step| matches!(step.kind, PlannedKind::Repeat(_)))
    }

    /// A guard never succeeds; without a script nothing is ever wrong with what it watches.
    fn is_guard(&self, step: &StepId) -> bool {
        step.planned().ends_with(":guard")
    }

    fn task(&self, step: &StepId) -> Option<&quorus_engine::PlannedTask> {
        self.run.plan().step(&StepId::from(step.planned()))?.kind.task()
    }

    /// Tells the run something at a time.
    pub(super) fn at(&mut self, time: Timestamp, command: Command) {
        self.tickets += 1;
        self.due.insert((time, self.tickets), command);
    }

    pub(super) fn case(&self) -> &'t Case {
        self.case
    }

    /// The steps that were started, have not ended, and have no steps of their own to wait for.
    pub(crate) fn waiting(&self) -> Vec<(String, StepStatus)> {
        let open = self.run.steps().iter().filter(|(_, state)| state.status.is_open() && state.scope.is_none());
        open.map(|(id, state)| (id.as_str().to_owned(), state.status)).collect()
    }
}

pub(super) fn principal(subject: &str, roles: &[String]) -> Principal {
    Principal { subject: subject.to_owned(), roles: roles.to_vec(), issuer: "test".to_owned(), verified: true }
}

fn worker() -> WorkerId {
    WorkerId { name: "script".to_owned(), incarnation: "script-1".to_owned() }
}

fn output(value: &serde_json::Value) -> Option<Payload> {
    (!value.is_null()).then(|| Payload::json(value))
}

/// A scripted failure as workers report it.
pub(super) fn failure(fail: &Fail) -> Failure {
    let message = if fail.message.is_empty() { "scripted by the test".to_owned() } else { fail.message.clone() };
    Failure {
        kind: fail.kind.clone(),
        message,
        details: None,
        nothing_done: fail.nothing_done,
        non_retryable: fail.non_retryable,
        retry_after: fail.retry_after.map(|delay| delay.0),
    }
}

fn child_ended(step: &StepId, child: RunUid, status: RunStatus, output: Option<Payload>, failure: Option<Failure>) -> Command {
    Command::ChildEnded { step: step.clone(), child, status, output, failure }
}

impl Delay {
    pub(super) fn later(self, time: Timestamp) -> Timestamp {
        time.plus(self.0)
    }
}
