//! Workflows with every kind of step, and what people, signals and other runs do to their runs.

use std::sync::{Arc, LazyLock};

use quorus_engine::{
    Command, EventKind, Failure, Parent, Plan, PlanRef, Principal, RunInfo, RunStatus, RunUid, StepId, StepStatus, Timestamp,
};

use super::{Op, World, outcome, payload, pick, worker};

/// The saga's number among the plans, and that of the version that it may go on with.
const SAGA: usize = 4;
const SAGA_NEXT: usize = 7;

pub(super) fn plans() -> Vec<Arc<Plan>> {
    static PLANS: LazyLock<Vec<Arc<Plan>>> = LazyLock::new(compiled);
    PLANS.clone()
}

fn compiled() -> Vec<Arc<Plan>> {
    [SAGA_YAML, HOLD_YAML, SCOPES_YAML, &SAGA_YAML.replace("name: saga}", "name: saga, labels: {next: yes}}")]
        .into_iter()
        .map(plan)
        .collect()
}

fn plan(yaml: &str) -> Arc<Plan> {
    let loaded = quorus_spec::load(yaml, "test.yaml").unwrap_or_else(|errors| panic!("{errors:#?}"));
    let (plan, problems) = quorus_spec::check(&loaded.workflow);
    Arc::new(plan.unwrap_or_else(|| panic!("{problems:#?}")))
}

const SAGA_YAML: &str = r#"
api_version: quorus/v1
kind: Workflow
metadata: {name: saga}
spec:
  timeout: 60s
  compensation_timeout: 40s
  concurrency: {key: only, limit: 1, max_wait: 20s}
  steps:
    - id: first
      task: {type: t, queue: q}
      retry: {max_attempts: 2, initial_interval: 1s}
      compensate: {task: {type: t, queue: q}, retry: {max_attempts: 2, initial_interval: 1s}}
    - id: inside
      needs: [first]
      retry: {max_attempts: 2, initial_interval: 1s}
      group:
        steps:
          - {id: one, task: {type: t, queue: q}, retry: {max_attempts: 1}, compensate: {task: {type: t, queue: q}}}
          - {id: two, needs: [one], task: {type: t, queue: q}, retry: {max_attempts: 1}}
    - {id: sign_off, needs: [first], approval: {approvers: [ops], required: 1}, timeout: 30s}
    - {id: go, needs: [first], signal: {name: go}, timeout: 30s}
    - id: child
      needs: [first]
      workflow: {name: other, compensate_child: true, version: latest}
      retry: {max_attempts: 2, initial_interval: 1s}
    - {id: last, needs: [inside, sign_off, go, child], task: {type: t, queue: q}, retry: {max_attempts: 1}, continue_on_error: {any: true}}
  finally:
    - {id: notify, task: {type: t, queue: q}, retry: {max_attempts: 1}}
"#;

const HOLD_YAML: &str = r#"
api_version: quorus/v1
kind: Workflow
metadata: {name: hold}
spec:
  timeout: 60s
  on_failure: hold
  steps:
    - {id: first, task: {type: t, queue: q}, compensate: {task: {type: t, queue: q}}}
    - {id: cut_over, needs: [first], point_of_no_return: true, task: {type: t, queue: q}, retry: {max_attempts: 2, initial_interval: 1s}}
    - id: pooled
      needs: [first]
      task: {type: t, pools: [{queue: spot, max_preemptions: 1, max_wait: 10s}, {queue: on_demand}]}
      retry: {max_attempts: 1}
    - {id: after, needs: [cut_over, pooled], task: {type: t, queue: q}, retry: {max_attempts: 1}}
  on_attention:
    - {id: alert, task: {type: t, queue: q}, retry: {max_attempts: 1}}
"#;

const SCOPES_YAML: &str = r#"
api_version: quorus/v1
kind: Workflow
metadata: {name: scopes}
spec:
  timeout: 60s
  steps:
    - id: each
      for_each:
        in: "${[1, 2, 3]}"
        max_parallel: 2
        max_failures: 1
        steps:
          - {id: item, task: {type: t, queue: q}, retry: {max_attempts: 1}, compensate: {task: {type: t, queue: q}}}
    - id: again
      needs: [each]
      repeat:
        until: "index >= 1"
        max_iterations: 3
        interval: 2s
        steps:
          - {id: turn, task: {type: t, queue: q}, retry: {max_attempts: 1}}
    - {id: observe, needs: [again], run_on: failure, task: {type: t, queue: q}, retry: {max_attempts: 1}}
    - {id: stop, needs: [again], if: "steps.again.status == 'succeeded'", fail: {type: Enough, message: enough}}
"#;

impl World {
    pub(super) fn parent(op: &Op) -> Option<Parent> {
        let is_child = op.pick.is_multiple_of(4);
        is_child.then(|| Parent { namespace: "ns".into(), run_id: "parent".into(), uid: RunUid(9), step: "child".into() })
    }

    /// What the kinds of choices beyond those of tasks mean.
    pub(super) fn live(&mut self, op: &Op) {
        let principal = Principal { subject: format!("p{}", op.variant % 3), roles: vec!["ops".into()], ..Principal::default() };
        let reason = "because".to_owned();
        match op.kind {
            24 | 25 => {
                let id = format!("signal-{}", op.pick % 6);
                let payload = Some(payload(op.variant.into()));
                self.on_current(op, |_| {
                    Some(Command::Signal { name: "go".into(), id: id.clone(), payload: payload.clone(), principal: principal.clone() })
                });
            }
            26 | 27 => self.on_awaiting(op, |step| Command::Approve {
                step,
                approve: !op.variant.is_multiple_of(4),
                principal: principal.clone(),
                reason: reason.clone(),
            }),
            28 => self.on_current(op, |_| {
                Some(if op.variant.is_multiple_of(2) {
                    Command::Pause { principal: principal.clone(), reason: reason.clone() }
                } else {
                    Command::Resume { principal: principal.clone(), reason: reason.clone() }
                })
            }),
            29 => self.on_current(op, |_| Some(Command::Resume { principal: principal.clone(), reason: reason.clone() })),
            30 => self.on_current(op, |_| Some(Command::Retry { principal: principal.clone(), reason: reason.clone() })),
            31 => self.on_current(op, |run| {
                let steps: Vec<_> = run.steps().keys().filter(|id| id.is_plain()).cloned().collect();
                let step = pick(steps, op)?;
                Some(Command::RestartFrom { step, principal: principal.clone(), reason: reason.clone() })
            }),
            32 => self.on_current(op, |run| {
                let waits =
                    |(_, state): &(&StepId, &quorus_engine::StepState)| state.status.is_open() || state.status == StepStatus::Failed;
                let step = pick(run.steps().iter().filter(waits).map(|(id, _)| id.clone()).collect(), op)?;
                Some(Command::Skip { step, output: Some(payload(2)), principal: principal.clone(), reason: reason.clone() })
            }),
            33 => self.on_current(op, |_| {
                Some(Command::Compensate { principal: principal.clone(), reason: reason.clone(), notify: Some("child:compensate".into()) })
            }),
            34 => self.on_current(op, |_| Some(Command::Annotate { principal: principal.clone(), text: "a note".into() })),
            35 | 36 => self.on_current(op, |run| {
                let children = run.steps().iter().filter_map(|(id, state)| Some((id.clone(), state.child.as_ref()?)));
                let open = children.filter(|(_, child)| child.ended.is_none()).map(|(id, child)| (id, child.uid)).collect();
                let (step, child) = pick(open, op)?;
                let failure = Failure { kind: "Broken".into(), ..Failure::default() };
                Some(match op.variant % 5 {
                    0 | 1 => Command::ChildStarted { step, child },
                    2 | 3 => Command::ChildEnded { step, child, status: RunStatus::Succeeded, output: Some(payload(3)), failure: None },
                    _ if op.pick.is_multiple_of(2) => Command::ChildRefused { step, child, failure },
                    _ => Command::ChildEnded { step, child, status: RunStatus::Failed, output: None, failure: Some(failure) },
                })
            }),
            37 => {
                self.on_current(op, |run| Some(if run.head().status.is_final() { Command::ParentNotified } else { Command::SlotGranted }))
            }
            38 => self.on_current(op, |run| match run.head().status.is_final() {
                true => Some(Command::SlotReleased),
                false if op.variant.is_multiple_of(8) => Some(Command::SlotDenied { reason: "no room".into() }),
                false => Some(Command::SlotGranted),
            }),
            39 => {
                let plan = self.plans[SAGA_NEXT].clone();
                let command = |run: &quorus_engine::Run| {
                    let is_saga = run.info().digest == [SAGA as u8; 32] && run.head().migrated.is_none();
                    is_saga.then(|| Command::Migrate {
                        version: 2,
                        digest: [SAGA_NEXT as u8; 32],
                        plan: PlanRef(plan.clone()),
                        principal: principal.clone(),
                        reason: reason.clone(),
                    })
                };
                self.on_current(op, command);
            }
            // What gets runs further, more often than what stops them.
            40..=45 => self.on_step(op, StepStatus::Leased, |_, attempt, variant| Command::Complete { attempt, outcome: outcome(variant) }),
            46..=50 => self.on_step(op, StepStatus::Queued, |step, _, _| Command::Lease { step, worker: worker() }),
            51 | 52 => self.on_current(op, |run| (run.head().status == RunStatus::Queued).then_some(Command::SlotGranted)),
            53..=55 => self.on_current(op, |run| {
                let child = |(id, state): (&StepId, &quorus_engine::StepState)| Some((id.clone(), state.child.as_ref()?.uid));
                let (step, child) = pick(run.steps().iter().filter(|(_, state)| state.owes().is_some()).filter_map(child).collect(), op)?;
                Some(Command::ChildEnded { step, child, status: RunStatus::Succeeded, output: None, failure: None })
            }),
            56 => {
                self.on_awaiting(op, |step| Command::Approve { step, approve: true, principal: principal.clone(), reason: reason.clone() })
            }
            57 | 58 => {
                let deadline = self.now;
                self.on_queued(op, |step, due| {
                    Some(Command::ScheduleTimeout {
                        step,
                        deadline: due.filter(|due| *due <= deadline.plus(quorus_engine::Millis(20_000)))?,
                    })
                });
            }
            59 => self.on_step(op, StepStatus::Leased, |_, attempt, _| Command::Abandon { attempt, reason: "lost".into() }),
            _ => {}
        }
    }

    /// Loads a run again that goes on with another version, and lets it go on.
    pub(super) fn replan(&mut self, uid: RunUid, op: &Op, events: &[quorus_engine::Event]) {
        if !events.iter().any(|event| matches!(event.kind, EventKind::RunMigrated { .. })) {
            return;
        }
        if let Some(run) = self.runs.remove(&uid) {
            self.runs.insert(uid, run.replan(self.plans[SAGA_NEXT].clone()));
            self.command(uid, Command::Advance, op, None);
        }
    }

    fn on_current(&mut self, op: &Op, command: impl Fn(&quorus_engine::Run) -> Option<Command>) {
        let commands: Vec<_> =
            self.ids.values().filter_map(|uid| Some((*uid, command(self.runs.get(uid).filter(|run| run.head().seq > 0)?)?))).collect();
        if let Some((uid, command)) = pick(commands, op) {
            self.command(uid, command, op, None);
        }
    }

    fn on_queued(&mut self, op: &Op, command: impl Fn(StepId, Option<Timestamp>) -> Option<Command>) {
        self.on_current(op, |run| {
            let queued = run.steps().iter().filter(|(_, state)| state.status == StepStatus::Queued);
            pick(queued.filter_map(|(id, state)| command(id.clone(), state.schedule_deadline)).collect(), op)
        });
    }

    fn on_awaiting(&mut self, op: &Op, command: impl Fn(StepId) -> Command) {
        self.on_step(op, StepStatus::Awaiting, |step, _, _| command(step));
    }
}

/// Fields of a run's start that only the language's other kinds of steps use.
pub(super) fn with_language(info: RunInfo, op: &Op) -> RunInfo {
    RunInfo { parent: World::parent(op), pinned: [("other".to_owned(), 1)].into(), ..info }
}
