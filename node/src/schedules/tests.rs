//! Deciding, with a clock that the test sets: every policy, pauses, what was missed, ranges that are made up for.

use std::collections::BTreeSet;

use quorus_engine::Timestamp;
use quorus_proto::{
    log::{PauseWindow, ScheduleRange, StoredPause, StoredSchedule},
    v1::{Firing, FiringCause, FiringStatus, OverlapPolicy, Schedule},
};

use super::{
    decide::{Decision, Moment, decide, reason},
    definition::{self, Definition, never_fires},
    timing::parse_time,
};
use crate::api::to_proto::time;

const START: &str = "2026-11-24T00:00:00Z";

fn at(text: &str) -> Timestamp {
    parse_time(text).unwrap()
}

fn read(spec: &str) -> Schedule {
    let yaml = format!("api_version: quorus/v1\nkind: Schedule\nmetadata: {{name: s}}\nspec: {{{spec}, run: {{workflow: w}}}}\n");
    quorus_spec::read_resource(&yaml, "s.yaml", definition::KIND).unwrap()
}

/// A schedule whose decisions are recorded as the system group does it, and whose runs end when the test says so.
struct World {
    definition: Definition,
    state: StoredSchedule,
    firings: Vec<Firing>,
    ended: BTreeSet<String>,
}

impl World {
    fn new(spec: &str) -> Self {
        let definition = definition::compile(&read(spec)).unwrap();
        let state = StoredSchedule { uid: 7, version: 1, decided_until_ms: at(START).0, ..StoredSchedule::default() };
        Self { definition, state, firings: Vec::new(), ended: BTreeSet::new() }
    }

    fn every_minute(overlap: &str) -> Self {
        Self::new(&format!("every: 1m, overlap: {overlap}"))
    }

    fn look(&self, now: Timestamp) -> Decision {
        let with = |number: &u64| self.firings.iter().find(|firing| firing.number == *number).cloned();
        let starting: Vec<Firing> = self.state.starting.iter().filter_map(with).collect();
        let waiting = with(&self.state.waiting);
        decide(&Moment {
            name: "s",
            definition: &self.definition,
            state: &self.state,
            starting: &starting,
            waiting: waiting.as_ref(),
            ended: &self.ended,
            now,
        })
    }

    /// Decides and records; what is `starting` is started.
    fn step(&mut self, now: &str) -> Vec<(u64, FiringStatus, String)> {
        let before = self.firings.len();
        let Some(record) = self.look(at(now)).record else { return Vec::new() };
        assert_eq!(record.expected_version, self.state.version);
        self.state.version += 1;
        self.state.decided_until_ms = record.decided_until_ms;
        self.state.active_runs.retain(|run| !record.ended_runs.contains(run));
        let mut changed: Vec<u64> = record.updates.iter().map(|firing| firing.number).collect();
        for firing in record.updates {
            let place = self.firings.iter().position(|known| known.number == firing.number).unwrap();
            self.firings[place] = firing;
        }
        for mut firing in record.firings {
            self.state.asked.retain(|asked| asked.run_id != firing.run_id);
            firing.number = self.firings.len() as u64 + 1;
            changed.push(firing.number);
            self.firings.push(firing);
        }
        for range in record.backfills {
            let over = range.done_until_ms >= range.until_ms;
            self.state.backfills.retain(|known| known.id != range.id || !over);
            for known in self.state.backfills.iter_mut().filter(|known| known.id == range.id) {
                *known = range.clone();
            }
        }
        self.state.waiting = self.firings.iter().find(|firing| firing.status() == FiringStatus::Waiting).map_or(0, |firing| firing.number);
        for firing in self.firings.iter_mut().filter(|firing| firing.status() == FiringStatus::Starting) {
            firing.status = FiringStatus::Started.into();
            if firing.overlap() != OverlapPolicy::Allow {
                self.state.active_runs.push(firing.run_id.clone());
            }
        }
        assert!(self.firings.len() >= before);
        changed.sort_unstable();
        changed
            .iter()
            .map(|number| &self.firings[*number as usize - 1])
            .map(|firing| (firing.number, firing.status(), firing.reason.clone()))
            .collect()
    }

    fn end(&mut self, run: &str) {
        assert!(self.state.active_runs.contains(&run.to_owned()), "{run} of {:?}", self.state.active_runs);
        self.ended.insert(run.to_owned());
    }
}

fn started(number: u64) -> (u64, FiringStatus, String) {
    (number, FiringStatus::Started, String::new())
}

fn waits(number: u64) -> (u64, FiringStatus, String) {
    (number, FiringStatus::Waiting, String::new())
}

fn skipped(number: u64, reason: &str) -> (u64, FiringStatus, String) {
    (number, FiringStatus::Skipped, reason.to_owned())
}

#[test]
fn nothing_happens_before_its_time() {
    let mut world = World::every_minute("skip");
    assert_eq!(world.look(at("2026-11-24T00:00:59Z")), Decision { record: None, wake: Some(at("2026-11-24T00:01:00Z")), blocked: false });
    assert_eq!(world.step("2026-11-24T00:01:00Z"), [started(1)]);
    assert_eq!(world.firings[0].run_id, "s-20261124T000100Z");
    assert_eq!(world.look(at("2026-11-24T00:01:00Z")).wake, Some(at("2026-11-24T00:02:00Z")));
}

#[test]
fn skip_leaves_out_what_falls_into_a_run() {
    let mut world = World::every_minute("skip");
    assert_eq!(world.step("2026-11-24T00:01:00Z"), [started(1)]);
    assert_eq!(world.step("2026-11-24T00:02:00Z"), [skipped(2, reason::OVERLAP)]);
    assert_eq!(world.firings[1].message, "run s-20261124T000100Z is going on");
    world.end("s-20261124T000100Z");
    assert_eq!(world.step("2026-11-24T00:03:00Z"), [started(3)]);
}

#[test]
fn buffer_one_keeps_one_for_the_end_of_the_run() {
    let mut world = World::every_minute("buffer_one");
    assert_eq!(world.step("2026-11-24T00:01:00Z"), [started(1)]);
    assert_eq!(world.step("2026-11-24T00:02:00Z"), [waits(2)]);
    assert!(world.look(at("2026-11-24T00:02:01Z")).blocked);
    assert_eq!(world.step("2026-11-24T00:03:00Z"), [skipped(3, reason::BUFFER_FULL)]);
    world.end("s-20261124T000100Z");
    assert_eq!(world.step("2026-11-24T00:03:30Z"), [started(2)]);
    assert_eq!(world.state.active_runs, ["s-20261124T000200Z"]);
    assert_eq!(world.step("2026-11-24T00:04:00Z"), [waits(4)]);
}

#[test]
fn allow_starts_side_by_side() {
    let mut world = World::every_minute("allow");
    assert_eq!(world.step("2026-11-24T00:03:30Z"), [started(1), started(2), started(3)]);
    assert!(world.state.active_runs.is_empty());
}

#[test]
fn a_newer_firing_takes_the_place_of_one_that_waits_for_a_cancelled_run() {
    for policy in ["cancel_other", "terminate_other"] {
        let mut world = World::every_minute(policy);
        assert_eq!(world.step("2026-11-24T00:01:00Z"), [started(1)]);
        assert_eq!(world.step("2026-11-24T00:02:00Z"), [waits(2)]);
        assert_eq!(world.step("2026-11-24T00:03:00Z"), [skipped(2, reason::SUPERSEDED), waits(3)]);
        world.end("s-20261124T000100Z");
        assert_eq!(world.step("2026-11-24T00:03:01Z"), [started(3)], "{policy}");
    }
}

#[test]
fn what_is_late_within_the_window_fires_and_the_rest_is_told_as_missed() {
    let mut world = World::new("every: 1m, overlap: allow, catch_up_window: 3m");
    let told = world.step("2026-11-24T00:10:00Z");
    assert_eq!(told, [skipped(1, reason::MISSED), started(2), started(3), started(4), started(5)]);
    let missed = &world.firings[0];
    assert_eq!(
        (missed.count, missed.scheduled_at, missed.skipped_until),
        (6, Some(time(at("2026-11-24T00:01:00Z"))), Some(time(at("2026-11-24T00:06:00Z"))))
    );
    assert_eq!(world.firings[1].run_id, "s-20261124T000700Z");
}

#[test]
fn each_nominal_time_is_decided_once_however_the_looks_fall() {
    let mut looks = World::every_minute("allow");
    for now in ["2026-11-24T00:00:30Z", "2026-11-24T00:01:00Z", "2026-11-24T00:01:00Z", "2026-11-24T00:04:59Z", "2026-11-24T00:05:00Z"] {
        looks.step(now);
    }
    let mut one_look = World::every_minute("allow");
    one_look.step("2026-11-24T00:05:00Z");
    let runs = |world: &World| world.firings.iter().map(|firing| firing.run_id.clone()).collect::<Vec<_>>();
    assert_eq!(runs(&looks), runs(&one_look));
    assert_eq!(runs(&looks).len(), 5);
    // A clock that goes back decides nothing again.
    assert_eq!(looks.step("2026-11-24T00:02:00Z"), []);
}

#[test]
fn a_pause_is_told_when_it_is_over() {
    let mut world = World::every_minute("allow");
    let since = at("2026-11-24T00:02:30Z");
    world.state.pause = Some(StoredPause { since_ms: since.0, ..StoredPause::default() });
    // What was due before still fires.
    assert_eq!(world.step("2026-11-24T00:10:00Z"), [started(1), started(2)]);
    assert_eq!(world.look(at("2026-11-24T00:10:00Z")), Decision::default());
    world.state.pause = None;
    world.state.pauses.push(PauseWindow { after_ms: since.0, until_ms: at("2026-11-24T00:10:30Z").0 });
    assert_eq!(world.step("2026-11-24T00:11:00Z"), [skipped(3, reason::PAUSED), started(4)]);
    assert_eq!((world.firings[2].count, world.firings[2].skipped_until), (8, Some(time(at("2026-11-24T00:10:00Z")))));
}

#[test]
fn what_waits_for_the_end_of_a_run_waits_for_the_end_of_a_pause_too() {
    let mut world = World::every_minute("buffer_one");
    assert_eq!(world.step("2026-11-24T00:01:00Z"), [started(1)]);
    assert_eq!(world.step("2026-11-24T00:02:00Z"), [waits(2)]);
    world.state.pause = Some(StoredPause { since_ms: at("2026-11-24T00:02:30Z").0, ..StoredPause::default() });
    world.end("s-20261124T000100Z");
    assert_eq!(world.look(at("2026-11-24T00:02:40Z")), Decision::default());
    world.state.pause = None;
    assert_eq!(world.step("2026-11-24T00:02:50Z"), [started(2)]);
}

#[test]
fn a_pause_inside_of_an_outage_splits_what_is_told() {
    let mut world = World::new("every: 1m, overlap: allow, catch_up_window: 1m");
    world.state.pauses.push(PauseWindow { after_ms: at("2026-11-24T00:02:30Z").0, until_ms: at("2026-11-24T00:04:30Z").0 });
    let told = world.step("2026-11-24T00:08:00Z");
    assert_eq!(told, [skipped(1, reason::MISSED), skipped(2, reason::PAUSED), skipped(3, reason::MISSED), started(4), started(5)]);
    assert_eq!(world.firings.iter().map(|firing| firing.count).sum::<u64>(), 8);
}

#[test]
fn jitter_delays_by_the_same_time_whoever_asks() {
    let mut world = World::new("every: 1h, jitter: 10m");
    let nominal = at("2026-11-24T01:00:00Z");
    let jitter = world.definition.jitter_of(7, nominal);
    assert!((1..=600_000).contains(&jitter));
    assert_eq!(jitter, World::new("every: 1h, jitter: 10m").definition.jitter_of(7, nominal));
    assert_ne!(jitter, world.definition.jitter_of(8, nominal));
    assert_eq!(world.look(nominal).wake, Some(Timestamp(nominal.0 + jitter)));
    assert_eq!(world.step("2026-11-24T01:10:01Z"), [started(1)]);
    assert_eq!(world.firings[0].due_at, Some(time(Timestamp(nominal.0 + jitter))));
}

#[test]
fn what_people_ask_for_follows_the_policy_that_they_ask_for() {
    let mut world = World::every_minute("skip");
    let ask = |world: &mut World, run: &str, overlap: OverlapPolicy| {
        world.state.asked.push(Firing {
            run_id: run.into(),
            count: 1,
            overlap: overlap.into(),
            cause: FiringCause::Manual.into(),
            ..Firing::default()
        });
    };
    ask(&mut world, "a", OverlapPolicy::Skip);
    assert_eq!(world.step("2026-11-24T00:00:10Z"), [started(1)]);
    ask(&mut world, "b", OverlapPolicy::Skip);
    ask(&mut world, "c", OverlapPolicy::Allow);
    assert_eq!(world.step("2026-11-24T00:00:20Z"), [skipped(2, reason::OVERLAP), started(3)]);
    assert!(world.state.asked.is_empty());
    // Also while it is paused.
    world.state.pause = Some(StoredPause { since_ms: at(START).0, ..StoredPause::default() });
    ask(&mut world, "d", OverlapPolicy::Allow);
    assert_eq!(world.step("2026-11-24T00:05:00Z"), [started(4)]);
}

fn range(from: &str, until: &str, overlap: OverlapPolicy) -> ScheduleRange {
    ScheduleRange { id: "b1".into(), done_until_ms: at(from).0 - 1, until_ms: at(until).0, overlap: overlap.into(), principal: None }
}

#[test]
fn a_backfill_starts_all_times_of_its_range_as_runs_of_their_own() {
    let mut world = World::new("cron: '0 2 * * *', time_zone: Europe/Berlin");
    world.state.backfills.push(range("2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z", OverlapPolicy::Allow));
    assert_eq!(world.step("2026-11-24T00:00:01Z"), [started(1), started(2), started(3)]);
    let runs: Vec<_> = world.firings.iter().map(|firing| firing.run_id.as_str()).collect();
    assert_eq!(runs, ["s-20261024T000000Z-b1", "s-20261025T000000Z-b1", "s-20261026T010000Z-b1"], "the night with two times 02:00 has one");
    assert!(world.state.backfills.is_empty());
    assert_eq!(world.step("2026-11-24T00:00:02Z"), []);
}

#[test]
fn a_backfill_that_buffers_goes_one_by_one_and_loses_nothing() {
    let mut world = World::new("every: 1h");
    world.state.backfills.push(range("2026-11-23T01:00:00Z", "2026-11-23T03:00:00Z", OverlapPolicy::BufferOne));
    for (number, hour) in (1..=3).zip(["01", "02", "03"]) {
        assert_eq!(world.step("2026-11-24T00:00:01Z"), [started(number)]);
        assert_eq!(world.step("2026-11-24T00:00:02Z"), []);
        world.end(&format!("s-20261123T{hour}0000Z-b1"));
    }
    assert!(world.state.backfills.is_empty());
}

#[test]
fn more_than_can_start_at_a_time_waits_for_room() {
    let mut world = World::new("every: 1s, overlap: allow, catch_up_window: 1h");
    assert_eq!(world.step("2026-11-24T00:10:00Z").len(), 100);
    assert_eq!(world.step("2026-11-24T00:10:00Z").len(), 100);
    assert_eq!(world.firings.last().unwrap().run_id, "s-20261124T000320Z");
}

fn mistakes(spec: &str) -> Vec<(String, &'static str)> {
    let problems = definition::compile(&read(spec)).unwrap_err();
    problems.into_iter().map(|problem| (problem.path, problem.code)).collect()
}

#[test]
fn mistakes_are_named_with_their_places() {
    assert_eq!(mistakes("cron: '61 * * * *'"), [("spec.cron".into(), "bad-cron")]);
    assert_eq!(mistakes("cron: '* * * * *', time_zone: Europe/Berln"), [("spec.time_zone".into(), "unknown-time-zone")]);
    assert_eq!(mistakes("every: 500ms"), [("spec.every".into(), "bad-duration")]);
    assert_eq!(mistakes("every: 1m, offset: 1m"), [("spec.offset".into(), "bad-duration")]);
    assert_eq!(mistakes("at: tomorrow"), [("spec.at".into(), "bad-time")]);
    assert_eq!(mistakes("every: 1m, catch_up_window: 1s, jitter: 25h").len(), 2);
    assert_eq!(mistakes("every: 1m, time_zone: Europe/Berlin"), [("spec.time_zone".into(), "unused-field")]);
    let hint = definition::compile(&read("cron: '* * * * *', time_zone: Europe/Berln")).unwrap_err().remove(0).hint;
    assert_eq!(hint.as_deref(), Some("did you mean `Europe/Berlin`?"));
}

#[test]
fn a_schedule_that_would_never_fire_says_why() {
    let why = |spec: &str| {
        let schedule = read(spec);
        never_fires(&schedule, &definition::compile(&schedule).unwrap(), at(START)).map(|problem| (problem.path, problem.message))
    };
    let (path, message) = why("cron: '0 0 30 2 *'").unwrap();
    assert_eq!(
        (path.as_str(), message.as_str()),
        ("spec.cron", "no day of the calendar matches `0 0 30 2 *`, so the schedule would never fire")
    );
    assert_eq!(why("at: 2026-01-01T00:00:00Z").unwrap().0, "spec.at");
    assert_eq!(why("every: 1d, not_after: 2026-11-01T00:00:00Z").unwrap().0, "spec.not_after");
    assert_eq!(why("cron: '0 0 29 2 *'"), None);
}
