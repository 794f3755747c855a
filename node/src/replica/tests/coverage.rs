//! The random histories prove something only if they reach every kind of event and every refusal.

use std::collections::BTreeSet;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use quorus_engine::TimerKind;
use quorus_proto::log::{self, event::Kind, outcome};

use super::world::{World, ops};
use crate::replica::{BatchAnswer, RecordAnswer};

#[test]
fn random_histories_reach_every_event_timer_and_refusal() {
    let mut runner = TestRunner::deterministic();
    let (mut events, mut answers, mut timers, mut replaced) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    for _ in 0..400 {
        let world = World::of(&ops(200).new_tree(&mut runner).unwrap().current());
        for entry in &world.entries {
            let record: log::Record = prost::Message::decode(entry.record.clone()).unwrap();
            for batch in record.batches {
                replaced += usize::from(!batch.replaces_uid.is_empty());
                events.extend(batch.events.into_iter().map(|bytes| name(prost::Message::decode(bytes).unwrap())));
            }
        }
        for answer in world.answers {
            if let RecordAnswer::Batches(batches) = answer {
                answers.extend(batches.iter().map(|batch| format!("{batch:?}")));
            }
        }
        for run in world.runs.values() {
            timers.extend(run.head().timers().map(|(kind, _)| kind));
            timers.extend(run.steps().values().flat_map(|state| state.timers().map(|(kind, _)| kind)));
        }
    }
    let expected_events = [
        "approval recorded",
        "attempt abandoned",
        "attempt cancelled",
        "attempt failed",
        "attempt released",
        "attempt succeeded",
        "attempt timed out",
        "attention requested",
        "child cancel requested",
        "child compensation requested",
        "child ended",
        "child requested",
        "child started",
        "no return bound",
        "no return lifted",
        "parent notified",
        "phase changed",
        "pool changed",
        "repaired",
        "run annotated",
        "run cancel requested",
        "run ended",
        "run failing",
        "run migrated",
        "run paused",
        "run reopened",
        "run resumed",
        "run started",
        "scope reopened",
        "scope retried",
        "scope started",
        "signal consumed",
        "signal received",
        "slot granted",
        "slot released",
        "slot requested",
        "step awaiting",
        "step cancel requested",
        "step checkpointed",
        "step ended",
        "step leased",
        "step queued",
        "step reopened",
        "step waiting",
    ];
    assert!(events.iter().copied().eq(expected_events), "{events:?}");
    use BatchAnswer::*;
    let expected_answers: BTreeSet<_> = [Applied, IdTaken, StaleSequence, StaleTerm].map(|answer| format!("{answer:?}")).into();
    assert_eq!(answers, expected_answers);
    use TimerKind::*;
    assert_eq!(timers, [RunTimeout, Due, StepTimeout, CancelGrace, CompensationTimeout, SlotTimeout].into());
    assert!(replaced > 20, "{replaced}");
}

fn name(event: log::Event) -> &'static str {
    match event.kind.unwrap() {
        Kind::RunStarted(_) => "run started",
        Kind::StepQueued(_) => "step queued",
        Kind::StepLeased(_) => "step leased",
        Kind::StepCheckpointed(_) => "step checkpointed",
        Kind::AttemptEnded(event) => match event.outcome.unwrap().kind.unwrap() {
            outcome::Kind::Succeeded(_) => "attempt succeeded",
            outcome::Kind::Failed(_) => "attempt failed",
            outcome::Kind::TimedOut(_) => "attempt timed out",
            outcome::Kind::Abandoned(_) => "attempt abandoned",
            outcome::Kind::Released(_) => "attempt released",
            outcome::Kind::Cancelled(_) => "attempt cancelled",
        },
        Kind::StepWaiting(_) => "step waiting",
        Kind::StepCancelRequested(_) => "step cancel requested",
        Kind::StepEnded(_) => "step ended",
        Kind::RunFailing(_) => "run failing",
        Kind::RunCancelRequested(_) => "run cancel requested",
        Kind::RunEnded(_) => "run ended",
        Kind::ScopeStarted(_) => "scope started",
        Kind::PhaseChanged(_) => "phase changed",
        Kind::ScopeRetried(_) => "scope retried",
        Kind::StepReopened(_) => "step reopened",
        Kind::ScopeReopened(_) => "scope reopened",
        Kind::StepAwaiting(_) => "step awaiting",
        Kind::SignalReceived(_) => "signal received",
        Kind::SignalConsumed(_) => "signal consumed",
        Kind::ApprovalRecorded(_) => "approval recorded",
        Kind::ChildRequested(_) => "child requested",
        Kind::ChildStarted(_) => "child started",
        Kind::ChildCancelRequested(_) => "child cancel requested",
        Kind::ChildCompensationRequested(_) => "child compensation requested",
        Kind::ChildEnded(_) => "child ended",
        Kind::ParentNotified(_) => "parent notified",
        Kind::SlotRequested(_) => "slot requested",
        Kind::SlotGranted(_) => "slot granted",
        Kind::SlotReleased(_) => "slot released",
        Kind::RunPaused(_) => "run paused",
        Kind::RunResumed(_) => "run resumed",
        Kind::NoReturnBound(_) => "no return bound",
        Kind::NoReturnLifted(_) => "no return lifted",
        Kind::AttentionRequested(_) => "attention requested",
        Kind::Repaired(_) => "repaired",
        Kind::RunReopened(_) => "run reopened",
        Kind::RunMigrated(_) => "run migrated",
        Kind::RunAnnotated(_) => "run annotated",
        Kind::PoolChanged(_) => "pool changed",
    }
}
