//! Paused workflows: who is parked, who is let in, in which order and by whom.

use bytes::Bytes;

use super::*;

/// Whom the news since the last look are about.
fn told(news: &mut tokio::sync::broadcast::Receiver<SlotNews>) -> Vec<u128> {
    std::iter::from_fn(|| news.try_recv().ok())
        .map(|news| match news {
            SlotNews::Granted { run, .. } => run.uid.0,
            SlotNews::LookAgain => panic!("nothing was replaced"),
        })
        .collect()
}

#[test]
fn runs_of_a_paused_workflow_are_parked_and_let_in_in_the_order_of_their_starts() {
    let mut group = Group::new();
    let mut news = group.store.subscribe_slots();
    let any = quorus_engine::UNBOUNDED_KEY;
    group.slot(begin("k", 1, 1, 10, SlotConflict::Queue));
    group.slot(begin("k", 1, 2, 20, SlotConflict::Queue));
    // A repaired run waits, too; it has begun long ago.
    group.slot(acquire("k", 1, 3, 1, SlotConflict::Queue));
    let other = SlotKey { workflow: "other".into(), ..key(any) };

    assert!(group.changed(pause_workflow("deploy", true)));
    assert!(!group.changed(pause_workflow("deploy", true)), "the same again");
    assert_eq!(group.store.slot_of(RunUid(2)).unwrap().unwrap().status, SlotStatus::Parked, "it stood in line");
    assert_eq!(uids(&group.store.slot_waiters(&key("k"), 10).unwrap()), [3]);
    // Whatever room there is, and whatever they want without it; they come in another order than they were started.
    for (name, uid, started, on_conflict) in
        [(any, 6, 60, SlotConflict::Queue), ("k", 5, 50, SlotConflict::Reject), (any, 4, 40, SlotConflict::Queue)]
    {
        assert_eq!(group.slot(begin(name, 1, uid, started, on_conflict)).status, SlotStatus::Parked);
        assert_eq!(group.slot(begin(name, 1, uid, started, on_conflict)).status, SlotStatus::Parked, "asked again");
    }
    assert_eq!(group.store.parked_runs("default", "deploy", 10).unwrap(), 4);
    assert_eq!(group.store.parked_runs("default", "deploy", 3).unwrap(), 3, "counted so far");
    let elsewhere = FlowCommand::AcquireSlot {
        key: other,
        limit: u32::MAX,
        run: run(7, 0),
        on_conflict: SlotConflict::Queue,
        begins: Some(Timestamp(70)),
    };
    assert_eq!(group.slot(elsewhere).status, SlotStatus::Held, "of another workflow");
    // The slot goes to the one that has begun, not to one that came before it and is parked.
    group.slot(release(1, 0));
    assert_eq!(told(&mut news), [3]);
    // One is cancelled while it is parked.
    assert_eq!(group.slot(release(6, 0)).status, SlotStatus::Released);
    assert_eq!(group.slot(begin(any, 1, 6, 60, SlotConflict::Queue)).status, SlotStatus::Released, "its request comes late");

    let paused = group.store.flow().paused_workflow("default", "deploy").cloned().unwrap();
    assert_eq!((paused.by, paused.reason.as_str()), (principal(), "a bad build"));
    assert_eq!(*SystemStore::open(group.disk.clone()).unwrap().flow(), *group.store.flow());
    assert!(group.store.flow().paused_workflow("other", "deploy").is_none());

    assert!(group.changed(pause_workflow("deploy", false)));
    assert!(!group.changed(pause_workflow("deploy", false)));
    assert_eq!(told(&mut news), [2, 4, 5], "in the order of their starts");
    let status = |uid| group.store.slot_of(RunUid(uid)).unwrap().unwrap().status;
    assert_eq!([2, 4, 5].map(status), [SlotStatus::Waiting, SlotStatus::Held, SlotStatus::Refused], "as without the pause");
    assert_eq!(group.store.parked_runs("default", "deploy", 10).unwrap(), 0);
    assert_eq!(*group.store.flow(), FlowState::default());
    assert_eq!(group.store.slot_keys("default", "", None, 10).unwrap().len(), 1, "what keeps nobody out is not listed");
}

#[test]
fn a_parked_run_that_is_cancelled_and_repaired_waits_whatever_it_wanted_before() {
    let mut group = Group::new();
    group.slot(acquire("k", 1, 1, 0, SlotConflict::Queue));
    assert!(group.changed(pause_workflow("deploy", true)));
    assert_eq!(group.slot(begin("k", 1, 2, 20, SlotConflict::Reject)).status, SlotStatus::Parked);
    // It comes again before it has given its place back.
    assert_eq!(group.slot(acquire("k", 1, 2, 1, SlotConflict::Queue)).status, SlotStatus::Parked);
    assert!(group.changed(pause_workflow("deploy", false)));
    assert_eq!(group.store.slot_of(RunUid(2)).unwrap().unwrap().status, SlotStatus::Waiting, "it is not refused for want of room");
}

#[test]
fn many_parked_runs_are_let_in_piece_by_piece_whoever_goes_on_with_it() {
    let mut group = Group::new();
    let any = quorus_engine::UNBOUNDED_KEY;
    let ask = |uid: u128| begin(any, u32::MAX, uid, i64::try_from(uid).unwrap(), SlotConflict::Queue);
    group.changed(pause_workflow("deploy", true));
    let last = 2 * parked::AT_ONCE as u128 + 1;
    group.apply_all(&(1..=last).map(ask).collect::<Vec<_>>());
    let more = |group: &mut Group| match group.apply(pause_workflow("deploy", false)) {
        FlowAnswer::Changed { more, .. } => more,
        other => panic!("{other:?}"),
    };
    assert!(more(&mut group));
    let status = |group: &Group, uid| group.store.slot_of(RunUid(uid)).unwrap().unwrap().status;
    let edge = parked::AT_ONCE as u128;
    assert_eq!((status(&group, edge), status(&group, edge + 1)), (SlotStatus::Held, SlotStatus::Parked));
    // A newcomer does not overtake, and its coming lets others in.
    assert_eq!(group.slot(ask(last + 1)).status, SlotStatus::Parked);
    assert_eq!((status(&group, 2 * edge), status(&group, last)), (SlotStatus::Held, SlotStatus::Parked));
    // So does one that was parked and asks again.
    assert_eq!(group.slot(ask(last + 1)).status, SlotStatus::Held);
    assert_eq!(status(&group, last), SlotStatus::Held);
    assert!(!more(&mut group));
    // A pause in the middle parks only those who have not been let in.
    group.changed(pause_workflow("deploy", true));
    assert_eq!((status(&group, 1), group.slot(ask(last + 2)).status), (SlotStatus::Held, SlotStatus::Parked));
}

#[test]
fn the_pause_of_a_workflow_ends_with_it() {
    let mut group = Group::new();
    let apply = SystemCommand::ApplyWorkflow {
        namespace: "default".into(),
        name: "deploy".into(),
        workflow: Bytes::from_static(b"w"),
        digest: [1; 32],
        principal: principal(),
    };
    let delete = SystemCommand::DeleteWorkflow { namespace: "default".into(), name: "deploy".into(), principal: principal() };
    group.apply_records(&[apply]);
    group.changed(pause_workflow("deploy", true));
    group.slot(begin("k", 1, 1, 10, SlotConflict::Queue));
    group.apply_records(&[delete]);
    assert!(group.store.flow().paused_workflows.is_empty());
    assert_eq!(group.slot(begin("k", 1, 1, 10, SlotConflict::Queue)).status, SlotStatus::Held, "it asks again");
}
