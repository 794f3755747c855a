use super::*;
use crate::fault::testing::{Sleepers, pause};

fn phases(sleepers: &Sleepers) -> Vec<(u64, FaultPhase)> {
    sleepers.record().iter().map(|fault| (fault.id, fault.phase)).collect()
}

#[tokio::test]
async fn a_fault_is_undone_when_its_time_is_over_and_both_are_written_down() {
    let sleepers = Sleepers::start(3);
    let keeper = sleepers.keeper();
    let made = keeper.make(&pause("2", 50)).await.unwrap();
    assert_eq!((made.targets, made.for_ms), (vec!["node-2".to_owned()], Some(50)));
    keeper.wait(made.fault).await;
    sleepers.becomes(2, false).await;
    assert_eq!(phases(&sleepers), [(1, FaultPhase::Installed), (1, FaultPhase::Healed)]);
}

#[tokio::test]
async fn what_is_in_force_can_be_undone_before_its_time_once() {
    let sleepers = Sleepers::start(3);
    let keeper = sleepers.keeper();
    let made = keeper.make(&pause("1", 60_000)).await.unwrap();
    sleepers.becomes(1, true).await;
    assert!(!keeper.is_quiet().await);
    assert_eq!(keeper.heal_all().await.unwrap(), [made]);
    sleepers.becomes(1, false).await;
    assert!(keeper.is_quiet().await);
    assert!(keeper.heal(1).await.unwrap_err().to_string().contains("not in force"));
}

#[tokio::test]
async fn no_more_than_a_minority_is_acted_on_by_all_faults_together_unless_somebody_says_so() {
    let sleepers = Sleepers::start(3);
    let keeper = sleepers.keeper();
    keeper.make(&pause("1", 60_000)).await.unwrap();
    let error = keeper.make(&pause("2", 60_000)).await.unwrap_err().to_string();
    assert!(error.contains("--allow-majority"), "{error}");
    assert!(!sleepers.is_paused(2));
    keeper.make(&Order { allow_majority: true, ..pause("2", 60_000) }).await.unwrap();
    sleepers.becomes(2, true).await;
    keeper.heal_all().await.unwrap();
    let phases: Vec<FaultPhase> = phases(&sleepers).into_iter().map(|(_, phase)| phase).collect();
    use FaultPhase::{Healed, Installed, Skipped};
    assert_eq!(phases, [Installed, Skipped, Installed, Healed, Healed]);
}

#[tokio::test]
async fn orders_that_can_not_be_meant_do_nothing_and_say_why() {
    let sleepers = Sleepers::start(3);
    let keeper = sleepers.keeper();
    let order = |kind: &str, target: Option<&str>, for_ms| Order {
        kind: kind.to_owned(),
        target: target.map(str::to_owned),
        for_ms,
        ..Order::default()
    };
    for (order, part) in [
        (order("kill", Some("1"), None), "--restart"),
        (order("partition", None, None), "cluster up"),
        (order("pause", Some("7"), None), "no number 7"),
        (order("pause", Some("1"), Some(600_001)), "600000"),
        (order("pause", Some("leader"), None), "no shard has a known leader"),
        (order("boredom", None, None), "there is no fault"),
    ] {
        let error = format!("{:#}", keeper.make(&order).await.unwrap_err());
        assert!(error.contains(part), "{order:?}: {error}");
    }
    assert!(keeper.is_quiet().await && (1..=3).all(|node| !sleepers.is_paused(node)));
}

#[tokio::test]
async fn only_a_node_whose_fault_allows_it_may_stop_itself_and_only_until_shortly_after() {
    let sleepers = Sleepers::start(3);
    let keeper = sleepers.keeper();
    let mut state = keeper.lock().await;
    let active = |may_stop, node| Active {
        made: Made::default(),
        nodes: vec![node],
        destructive: true,
        may_stop,
        undo: Undo::Nothing,
        expiry: None,
    };
    state.active.insert(1, active(true, 1));
    state.active.insert(2, active(false, 2));
    let deaths = |state: &State| ["node-1", "node-2", "worker-1", "disk-1"].map(|who| state.why_dead(who));
    use Death::{Aftermath, Allowed, ByItself};
    assert_eq!(deaths(&state), [Allowed, ByItself, ByItself, ByItself]);
    state.active.clear();
    state.excuse(1, Duration::from_secs(3600));
    assert_eq!(deaths(&state), [Aftermath(1), ByItself, ByItself, ByItself]);
    state.excuse(1, Duration::ZERO);
    assert_eq!(deaths(&state), [ByItself; 4]);
}

#[tokio::test]
async fn numbers_go_on_where_an_earlier_life_stopped() {
    let sleepers = Sleepers::start(3);
    sleepers.keeper().make(&Order { kind: "resume".to_owned(), ..Order::default() }).await.unwrap();
    let made = sleepers.keeper().make(&Order { kind: "resume".to_owned(), ..Order::default() }).await.unwrap();
    assert_eq!(made.fault, 2);
}
