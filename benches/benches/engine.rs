//! The pure core: what the decisions of a whole run cost without storage, replication and network.

#![allow(missing_docs, reason = "the macros of criterion make an undocumented function")]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quorus_engine::{
    AttemptRef, Command, Context, Credits, Definition, Kind, Millis, Outcome, Plan, Run, RunInfo, RunStatus, StepDefinition, StepStatus,
    TaskDefinition, Timestamp, WorkerId, apply, decide, plan,
};

const STEPS: usize = 10;

/// A worker that always has room: a step is scheduled and leased in one decision.
struct Room(WorkerId);

impl Credits for Room {
    fn take(&mut self, _queue: &str) -> Option<WorkerId> {
        Some(self.0.clone())
    }
}

fn chain() -> Definition {
    let step = |index: usize| StepDefinition {
        id: format!("s{index}"),
        needs: index.checked_sub(1).map(|before| format!("s{before}").into()).into_iter().collect(),
        kind: Some(Kind::Task(TaskDefinition { task_type: "bench".to_owned(), queue: "bench".to_owned(), ..TaskDefinition::default() })),
        ..StepDefinition::default()
    };
    Definition { name: "chain".to_owned(), steps: (0..STEPS).map(step).collect(), ..Definition::default() }
}

/// Decides and applies everything from start to end; returns the number of events.
fn execute(plan: &Arc<Plan>) -> usize {
    let info = RunInfo::default();
    let mut run = Run::new(info.clone(), plan.clone());
    let mut room = Room(WorkerId { name: "w".to_owned(), incarnation: "w-1".to_owned() });
    let mut count = 0;
    let mut command = Command::Start(Box::new(info));
    loop {
        let mut context = Context {
            now: Timestamp(1),
            seed: 0,
            lease: Millis(30_000),
            cancel_grace: Millis(1),
            allow_unverified: false,
            parks: false,
            credits: &mut room,
        };
        let Ok(decision) = decide(&run, &command, &mut context) else { return count };
        apply(&mut run, &decision.events);
        count += decision.events.len();
        if run.head().status == RunStatus::Succeeded {
            return count;
        }
        let leased = run.open_steps().find(|(_, state)| state.status == StepStatus::Leased);
        let Some((step, token)) = leased.and_then(|(step, state)| Some((step.clone(), state.lease.as_ref()?.token))) else {
            return count;
        };
        command = Command::Complete { attempt: AttemptRef { step, attempt: 1, token }, outcome: Outcome::Succeeded(None) };
    }
}

fn engine(criterion: &mut Criterion) {
    let definition = chain();
    let mut group = criterion.benchmark_group("chain of 10");
    group.bench_function("plan", |bencher| bencher.iter(|| plan(black_box(&definition))));
    if let Ok(plan) = plan(&definition).map(Arc::new) {
        group.throughput(Throughput::Elements(STEPS as u64));
        group.bench_function("decide and fold", |bencher| bencher.iter(|| execute(black_box(&plan))));
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
