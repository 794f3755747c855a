use quorus_proto::log::{DeleteSchedule, PauseSchedule, ResumeSchedule, ScheduleRange};
use quorus_raft::disk::{Batch, Disk, Durability, MemoryDisk};

use super::*;

/// Applies commands one by one, each at its own index, a second apart.
struct Group {
    disk: MemoryDisk,
    index: u64,
}

impl Group {
    fn new() -> Self {
        Self { disk: MemoryDisk::new(), index: 0 }
    }

    fn at(&mut self) -> At {
        self.index += 1;
        At { index: self.index, time: Timestamp(1000 * self.index as i64) }
    }

    fn write(&self, overlay: Overlay<'_>) {
        let mut batch = Batch::new();
        overlay.write(&mut batch);
        self.disk.write(batch, Durability::Buffered).unwrap();
    }

    fn apply(&mut self, digest: &'static str) -> ScheduleChanged {
        let at = self.at();
        let mut overlay = Overlay::new(&self.disk);
        let command = ApplySchedule {
            namespace: "default".into(),
            name: "nightly".into(),
            definition: Bytes::from_static(digest.as_bytes()),
            digest: Bytes::from_static(digest.as_bytes()),
            principal: Some(Principal { subject: "ada".into(), ..Principal::default() }),
        };
        let answer = apply(&mut overlay, at, command).unwrap();
        self.write(overlay);
        answer
    }

    fn change(&mut self, change: Change) -> ScheduleChanged {
        let at = self.at();
        let mut overlay = Overlay::new(&self.disk);
        let command = ChangeSchedule { namespace: "default".into(), name: "nightly".into(), principal: None, change: Some(change) };
        let answer = super::change(&mut overlay, at, command).unwrap();
        self.write(overlay);
        answer
    }

    fn decide(&mut self, firings: Vec<Firing>, updates: Vec<Firing>) -> StoredSchedule {
        let decision = DecideFirings { expected_version: self.state().version, firings, updates, ..DecideFirings::default() };
        let answer = self.change(Change::Decide(decision));
        assert_eq!(answer.verdict(), Verdict::Changed);
        answer.state.unwrap()
    }

    fn state(&self) -> StoredSchedule {
        get(self.reader(), &nightly()).unwrap().unwrap()
    }

    fn reader(&self) -> &dyn Disk {
        &self.disk
    }

    fn firings(&self) -> Vec<Firing> {
        let mut firings = Vec::new();
        let collect = |firing| {
            firings.push(firing);
            true
        };
        visit_firings(self.reader(), &nightly(), u64::MAX, collect).unwrap();
        firings
    }
}

fn nightly() -> ScheduleKey {
    ScheduleKey::new("default", "nightly")
}

fn firing(run: &str, status: FiringStatus) -> Firing {
    Firing { run_id: run.into(), status: status.into(), count: 1, overlap: OverlapPolicy::Skip.into(), ..Firing::default() }
}

#[test]
fn the_same_definition_changes_nothing_and_another_counts_from_now_on() {
    let mut group = Group::new();
    assert_eq!(group.apply("a").verdict(), Verdict::Changed);
    assert_eq!(group.apply("a").verdict(), Verdict::Unchanged);
    let state = group.apply("b").state.unwrap();
    assert_eq!((state.uid, state.revision, state.version), (1, 3, 2));
    assert_eq!((state.created_at_ms, state.applied_at_ms, state.decided_until_ms), (1000, 3000, 3000));
}

#[test]
fn a_firing_goes_from_starting_to_an_active_run_to_nothing() {
    let mut group = Group::new();
    group.apply("a");
    let state = group.decide(vec![firing("r1", FiringStatus::Starting)], vec![]);
    assert_eq!((state.starting.as_slice(), state.last_firing), ([1].as_slice(), 1));
    let state = group.decide(vec![], vec![Firing { number: 1, ..firing("r1", FiringStatus::Started) }]);
    assert_eq!((state.starting.len(), state.active_runs.as_slice(), state.started_total), (0, ["r1".to_owned()].as_slice(), 1));
    let decision = DecideFirings { expected_version: state.version, ended_runs: vec!["r1".into()], ..DecideFirings::default() };
    assert!(group.change(Change::Decide(decision)).state.unwrap().active_runs.is_empty());
    assert_eq!(group.firings().len(), 1);
}

#[test]
fn what_was_decided_on_another_state_changes_nothing() {
    let mut group = Group::new();
    let version = group.apply("a").state.unwrap().version;
    group.change(Change::Pause(PauseSchedule { reason: "holidays".into() }));
    let decision =
        DecideFirings { expected_version: version, firings: vec![firing("r", FiringStatus::Starting)], ..DecideFirings::default() };
    assert_eq!(group.change(Change::Decide(decision)).verdict(), Verdict::Stale);
    assert!(group.firings().is_empty());
    assert_eq!(group.state().last_firing, 0);
}

#[test]
fn a_pause_leaves_a_window_until_everything_in_it_is_decided() {
    let mut group = Group::new();
    group.apply("a");
    group.change(Change::Pause(PauseSchedule { reason: "one".into() }));
    let state = group.change(Change::Pause(PauseSchedule { reason: "two".into() })).state.unwrap();
    let pause = state.pause.unwrap();
    assert_eq!((pause.since_ms, pause.reason.as_str()), (2000, "two"));
    let state = group.change(Change::Resume(ResumeSchedule {})).state.unwrap();
    assert_eq!(state.pauses, [PauseWindow { after_ms: 2000, until_ms: 4000 }]);
    assert_eq!(group.change(Change::Resume(ResumeSchedule {})).verdict(), Verdict::Unchanged);
    let decision = DecideFirings { expected_version: group.state().version, decided_until_ms: 4000, ..DecideFirings::default() };
    assert!(group.change(Change::Decide(decision)).state.unwrap().pauses.is_empty());
}

#[test]
fn a_repeated_request_fires_once() {
    let mut group = Group::new();
    group.apply("a");
    let fire = || Change::Fire(FireSchedule { request_id: "q".into(), run_id: "r".into(), overlap: OverlapPolicy::Skip.into() });
    assert_eq!(group.change(fire()).verdict(), Verdict::Changed);
    let again = group.change(fire());
    assert_eq!((again.verdict(), again.firing.unwrap().run_id.as_str()), (Verdict::Unchanged, "r"));
    assert_eq!(group.state().asked.len(), 1);
    // Decided, it is no longer asked for; the request stays known.
    assert!(group.decide(vec![firing("r", FiringStatus::Starting)], vec![]).asked.is_empty());
    assert_eq!(group.change(fire()).verdict(), Verdict::Unchanged);
}

#[test]
fn a_range_is_over_when_its_end_is_reached() {
    let mut group = Group::new();
    group.apply("a");
    let range = |done_until_ms| ScheduleRange { id: "x".into(), done_until_ms, until_ms: 100, ..ScheduleRange::default() };
    let backfill = || Change::Backfill(BackfillSchedule { request_id: "q".into(), range: Some(range(0)) });
    assert_eq!(group.change(backfill()).verdict(), Verdict::Changed);
    assert_eq!(group.change(backfill()).verdict(), Verdict::Unchanged);
    for (done, left) in [(50, 1), (100, 0)] {
        let decision = DecideFirings { expected_version: group.state().version, backfills: vec![range(done)], ..DecideFirings::default() };
        assert_eq!(group.change(Change::Decide(decision)).state.unwrap().backfills.len(), left);
    }
}

#[test]
fn the_history_is_bounded_and_goes_with_the_schedule() {
    let mut group = Group::new();
    group.apply("a");
    for run in 0..FIRINGS_KEPT + 10 {
        group.decide(vec![firing(&format!("r{run}"), FiringStatus::Skipped)], vec![]);
    }
    let firings = group.firings();
    assert_eq!(firings.len() as u64, FIRINGS_KEPT);
    assert_eq!((firings[0].number, firings.last().unwrap().number), (FIRINGS_KEPT + 10, 11));
    assert_eq!(group.state().skipped_total, FIRINGS_KEPT + 10);
    assert_eq!(group.change(Change::Delete(DeleteSchedule {})).verdict(), Verdict::Changed);
    let mut left = 0;
    let all = KeyWriter::new(SYSTEM_GROUP, Family::Firing, 0).range();
    group
        .reader()
        .visit(&all, |_, _| {
            left += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(group.change(Change::Delete(DeleteSchedule {})).verdict(), Verdict::Unknown);
}

#[test]
fn commands_and_state_keep_their_bytes() {
    use prost_types::Timestamp as WireTime;
    use quorus_proto::log::{ApplyTrigger, ChangeTrigger, PauseTrigger, StoredTrigger, change_trigger};

    use crate::{codec::golden, system::SystemCommand};

    let who = || Some(Principal { subject: "ada".into(), ..Principal::default() });
    let (namespace, name) = (|| "default".to_owned(), || "nightly".to_owned());
    let bytes = || Bytes::from_static(b"definition");
    let digest = || Bytes::from_static(&[7; 32]);
    let range = ScheduleRange { id: "b1".into(), done_until_ms: 5, until_ms: 9, overlap: 3, principal: who() };
    let time = |seconds| Some(WireTime { seconds, nanos: 5_000_000 });
    let firing = Firing {
        number: 3,
        scheduled_at: time(10),
        skipped_until: time(20),
        count: 2,
        due_at: time(11),
        status: FiringStatus::Skipped.into(),
        reason: "overlap".into(),
        message: "a run is going on".into(),
        run_id: "nightly-1".into(),
        cause: FiringCause::Backfill.into(),
        decided_at: time(12),
        started_at: time(13),
        requested_by: who(),
        overlap: OverlapPolicy::BufferOne.into(),
    };
    let decide = DecideFirings {
        expected_version: 4,
        decided_until_ms: 1000,
        firings: vec![firing.clone()],
        updates: vec![firing.clone()],
        ended_runs: vec!["r".into()],
        backfills: vec![range.clone()],
    };
    let change = |change| {
        SystemCommand::ChangeSchedule(
            ChangeSchedule { namespace: namespace(), name: name(), principal: who(), change: Some(change) }.into(),
        )
    };
    let fire = FireSchedule { request_id: "q".into(), run_id: "r".into(), overlap: 1 };
    let commands = [
        (
            "system_apply_schedule_v1",
            SystemCommand::ApplySchedule(ApplySchedule {
                namespace: namespace(),
                name: name(),
                definition: bytes(),
                digest: digest(),
                principal: who(),
            }),
        ),
        ("system_delete_schedule_v1", change(Change::Delete(DeleteSchedule {}))),
        ("system_pause_schedule_v1", change(Change::Pause(PauseSchedule { reason: "why".into() }))),
        ("system_resume_schedule_v1", change(Change::Resume(ResumeSchedule {}))),
        ("system_fire_schedule_v1", change(Change::Fire(fire))),
        ("system_backfill_schedule_v1", change(Change::Backfill(BackfillSchedule { request_id: "q".into(), range: Some(range.clone()) }))),
        ("system_decide_firings_v1", change(Change::Decide(decide))),
        (
            "system_apply_trigger_v1",
            SystemCommand::ApplyTrigger(ApplyTrigger {
                namespace: namespace(),
                name: name(),
                definition: bytes(),
                digest: digest(),
                principal: who(),
            }),
        ),
        (
            "system_pause_trigger_v1",
            SystemCommand::ChangeTrigger(ChangeTrigger {
                namespace: namespace(),
                name: name(),
                principal: who(),
                change: Some(change_trigger::Change::Pause(PauseTrigger { reason: "why".into() })),
            }),
        ),
    ];
    let at = Timestamp(1_700_000_000_123);
    for (name, command) in commands {
        let bytes = command.encode(at);
        golden::check(name, &bytes);
        assert_eq!(SystemCommand::decode(bytes).unwrap(), (at, command));
    }
    let pause = Some(StoredPause { since_ms: 7, principal: who(), reason: "why".into() });
    let state = StoredSchedule {
        definition: bytes(),
        digest: digest(),
        uid: 1,
        version: 2,
        revision: 3,
        created_by: who(),
        created_at_ms: 4,
        applied_by: who(),
        applied_at_ms: 5,
        decided_until_ms: 6,
        pause: pause.clone(),
        pauses: vec![PauseWindow { after_ms: 1, until_ms: 2 }],
        last_firing: 8,
        starting: vec![7, 8],
        waiting: 6,
        active_runs: vec!["r".into()],
        backfills: vec![range],
        requests: vec!["q".into()],
        started_total: 9,
        skipped_total: 10,
        failed_total: 11,
        asked: vec![firing.clone()],
    };
    golden::check("system_schedule_v1", &state.encode_to_vec());
    golden::check("system_firing_v1", &firing.encode_to_vec());
    let trigger = StoredTrigger {
        definition: bytes(),
        digest: digest(),
        uid: 1,
        revision: 3,
        created_by: who(),
        created_at_ms: 4,
        applied_by: who(),
        applied_at_ms: 5,
        pause,
    };
    golden::check("system_trigger_v1", &trigger.encode_to_vec());
}
