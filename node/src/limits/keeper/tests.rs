//! A keeper and three nodes in simulated time.

use proptest::prelude::*;

use super::*;
use crate::{
    dispatch::Ended,
    limits::{BreakerSpec, RateSpec},
};

const TIMES: KeeperTimes = KeeperTimes { settle: Millis(2_000), quiet: Millis(35_000) };

fn refs(names: &[&str]) -> LimitRefs {
    names.iter().map(|name| LimitRef { limit: (*name).to_owned(), key: String::new() }).collect()
}

fn rules() -> LimitRules {
    let limits = [
        LimitSpec { name: "two".into(), concurrency: Some(2), ..LimitSpec::default() },
        LimitSpec { name: "rate".into(), rate: Some(RateSpec { count: 10, per: Millis(1_000), burst: 3 }), ..LimitSpec::default() },
        LimitSpec {
            name: "breaker".into(),
            breaker: Some(BreakerSpec { failures: 3, ratio: 0.0, window: Millis(10_000), open_for: Millis(5_000), probes: 1 }),
            ..LimitSpec::default()
        },
    ];
    LimitRules::new(limits.iter())
}

struct World {
    keeper: Keeper,
    now: Millis,
    sequences: BTreeMap<u64, u64>,
}

impl World {
    /// Three nodes that lead a shard each, known to the keeper.
    fn new() -> Self {
        let mut world = Self { keeper: Keeper::new(TIMES, Millis(0), 3), now: Millis(0), sequences: BTreeMap::new() };
        world.pass(2_500);
        for node in 1..=3 {
            world.report(node, &[]);
        }
        world
    }

    fn pass(&mut self, millis: u64) {
        self.now = Millis(self.now.0 + millis);
    }

    fn report(&mut self, node: u64, groups: &[(LimitRefs, PermitGroup)]) -> Vec<u32> {
        self.report_of(node, &[u32::try_from(node).unwrap()], groups)
    }

    fn report_of(&mut self, node: u64, shards: &[u32], groups: &[(LimitRefs, PermitGroup)]) -> Vec<u32> {
        let sequence = self.sequences.entry(node).or_default();
        *sequence += 1;
        let report =
            NodeReport { node, boot: "b".into(), sequence: *sequence, shards: shards.iter().copied().collect(), groups: groups.to_vec() };
        self.keeper.report(self.now, &rules(), report).into_iter().map(|grant| grant.permits).collect()
    }
}

fn group(held: u32, wanted: u32) -> PermitGroup {
    PermitGroup { held, wanted, ..PermitGroup::default() }
}

fn ended(held: u32, succeeded: u32, failed: u32) -> PermitGroup {
    PermitGroup { held, ended: Ended { succeeded, failed, unused: 0 }, ..PermitGroup::default() }
}

#[test]
fn concurrency_is_shared_by_all_nodes() {
    let mut world = World::new();
    let two = refs(&["two"]);
    assert_eq!(world.report(1, &[(two.clone(), group(0, 5))]), [2]);
    assert_eq!(world.report(2, &[(two.clone(), group(0, 5))]), [0]);
    assert_eq!(world.report(1, &[(two.clone(), group(1, 0))]), [0], "one ended");
    assert_eq!(world.report(2, &[(two.clone(), group(0, 5))]), [1]);
    let uses = world.keeper.uses(world.now, rules().get("two").unwrap());
    assert_eq!((uses[""].in_use, uses[""].waiting), (2, 5));
}

#[test]
fn who_waits_longest_comes_first_across_nodes() {
    let mut world = World::new();
    let two = refs(&["two"]);
    world.report(1, &[(two.clone(), group(2, 0))]);
    world.report(2, &[(two.clone(), PermitGroup { rank: 5, ..group(0, 1) })]);
    world.report(3, &[(two.clone(), PermitGroup { rank: 9, ..group(0, 1) })]);
    world.report(1, &[(two.clone(), group(1, 0))]);
    assert_eq!(world.report(3, &[(two.clone(), PermitGroup { rank: 9, ..group(0, 1) })]), [0]);
    assert_eq!(world.report(2, &[(two.clone(), PermitGroup { rank: 5, ..group(0, 1) })]), [1]);
}

#[test]
fn a_task_needs_permits_of_all_its_limits() {
    let mut world = World::new();
    let both = refs(&["rate", "two"]);
    assert_eq!(world.report(1, &[(both.clone(), group(0, 9))]), [2]);
    // The tokens that were not taken are still there.
    assert_eq!(world.report(2, &[(refs(&["rate"]), group(0, 9))]), [1]);
}

#[test]
fn a_rate_is_never_exceeded() {
    let mut world = World::new();
    let rate = refs(&["rate"]);
    let mut begun = Vec::new();
    let mut held = 0;
    for _ in 0..200 {
        let granted = world.report(1, &[(rate.clone(), group(held, 100))])[0];
        held += granted;
        begun.extend(std::iter::repeat_n(world.now.0, granted as usize));
        world.pass(37);
    }
    for (index, at) in begun.iter().enumerate() {
        let within = begun[index..].iter().take_while(|other| **other < at + 1_000).count();
        assert!(within <= 13, "{within} within a second from {at}");
    }
    assert!(begun.len() >= 70, "{} in 7.4 seconds", begun.len());
}

#[test]
fn a_permit_that_nobody_used_gives_its_token_back() {
    let mut world = World::new();
    let rate = refs(&["rate"]);
    assert_eq!(world.report(1, &[(rate.clone(), group(0, 9))]), [3]);
    let unused = PermitGroup { wanted: 9, ended: Ended { unused: 2, ..Ended::default() }, ..PermitGroup::default() };
    assert_eq!(world.report(1, &[(rate.clone(), unused)]), [2]);
}

#[test]
fn an_open_breaker_stops_attempts_until_a_probe_succeeds() {
    let mut world = World::new();
    let breaker = refs(&["breaker"]);
    assert_eq!(world.report(1, &[(breaker.clone(), group(0, 4))]), [4]);
    world.report(1, &[(breaker.clone(), ended(1, 0, 3))]);
    assert_eq!(world.report(2, &[(breaker.clone(), group(0, 9))]), [0]);
    world.report(1, &[(breaker.clone(), ended(0, 1, 0))]);
    world.pass(5_000);
    for node in 1..=3 {
        world.report(node, &[]);
    }
    assert_eq!(world.report(2, &[(breaker.clone(), group(0, 9))]), [1], "a probe");
    assert_eq!(world.report(2, &[(breaker.clone(), PermitGroup { wanted: 8, ..ended(0, 1, 0) })]), [8]);
    assert_eq!(world.keeper.reset(world.now, "breaker", ""), 0);
}

#[test]
fn a_new_keeper_grants_nothing_before_it_knows_what_is_in_use() {
    let two = refs(&["two"]);
    let mut world = World { keeper: Keeper::new(TIMES, Millis(100), 3), now: Millis(100), sequences: BTreeMap::new() };
    let wants = [(two.clone(), group(0, 5))];
    world.pass(1_000);
    assert_eq!(world.report(1, &wants), [0]);
    assert_eq!(world.report(2, &[(two.clone(), group(1, 0))]), [0]);
    world.pass(1_000);
    assert_eq!(world.report(1, &wants), [0], "the third shard's leader did not report");
    world.report_of(2, &[2, 3], &[(two.clone(), group(1, 0))]);
    assert_eq!(world.report(1, &wants), [1]);

    // Without a leader of the third shard it waits until every older lease is over.
    let mut world = World { keeper: Keeper::new(TIMES, Millis(100), 3), now: Millis(100), sequences: BTreeMap::new() };
    world.pass(34_999);
    assert_eq!(world.report(1, &wants), [0]);
    world.pass(1);
    assert_eq!(world.report(1, &wants), [2]);
}

#[test]
fn what_a_dead_node_held_counts_until_others_lead_its_shards() {
    let mut world = World::new();
    let two = refs(&["two"]);
    assert_eq!(world.report(3, &[(two.clone(), group(0, 2))]), [2]);
    // It dies. The others report on; nobody leads its shard yet.
    for _ in 0..5 {
        world.pass(1_000);
        world.report(1, &[]);
        assert_eq!(world.report(2, &[(two.clone(), group(0, 2))]), [0]);
    }
    // Now somebody does, and has counted what was leased.
    assert_eq!(world.report_of(1, &[1, 3], &[(two.clone(), group(1, 0))]), [0]);
    assert_eq!(world.report(2, &[(two.clone(), group(0, 2))]), [1]);
}

#[test]
fn a_report_that_comes_late_changes_nothing() {
    let mut world = World::new();
    let two = refs(&["two"]);
    assert_eq!(world.report(1, &[(two.clone(), group(0, 2))]), [2]);
    let late = NodeReport { node: 1, boot: "b".into(), sequence: 1, shards: [1].into(), groups: vec![(two.clone(), group(0, 2))] };
    assert_eq!(world.keeper.report(world.now, &rules(), late), [Grant::default()]);
    assert_eq!(world.report(2, &[(two, group(0, 2))]), [0]);
}

proptest! {
    /// Nodes that take what they are given and end attempts as they like, also dying and coming back under new leaders, never hold more in all
    /// than the limit.
    #[test]
    fn concurrency_is_never_exceeded(moves in proptest::collection::vec((1u64..=3, 0u32..4, 0u32..3, 1u64..400), 1..80)) {
        let mut world = World::new();
        let two = refs(&["two"]);
        let mut held: BTreeMap<u64, u32> = BTreeMap::new();
        for (node, wanted, ends, passes) in moves {
            world.pass(passes);
            let mine = held.entry(node).or_default();
            *mine = mine.saturating_sub(ends);
            let mine = *mine;
            let granted = world.report(node, &[(two.clone(), group(mine, wanted))])[0];
            prop_assert!(granted <= wanted);
            *held.entry(node).or_default() += granted;
            prop_assert!(held.values().sum::<u32>() <= 2, "{held:?}");
        }
    }
}
