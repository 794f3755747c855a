//! The rules of leases, one test per rule.

use std::time::Duration;

use bytes::Bytes;
use quorus_proto::v1::{
    CancelTask, Heartbeat, HeartbeatAck, OutcomeAck, Payload, Task, TaskCancelled, TaskOutcome, TaskReleased, WorkRequest, task_outcome,
    work_request::Message,
};

use super::leases::{Action, Leases, Moment, StopReason, stop_margin};

const LEASE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(10);

fn s(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn lease(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn task(name: &'static str) -> Task {
    Task { lease: lease(name), ..Default::default() }
}

fn outcome(name: &'static str) -> TaskOutcome {
    TaskOutcome { lease: lease(name), result: Some(task_outcome::Result::Cancelled(TaskCancelled { nothing_done: true })) }
}

fn connected() -> Leases {
    let mut leases = Leases::new();
    assert_eq!(leases.registered(s(0), LEASE, INTERVAL), []);
    leases
}

fn ack(id: u64, renewed: &[&'static str], lost: &[&'static str]) -> HeartbeatAck {
    let names = |names: &[&'static str]| names.iter().map(|name| lease(name)).collect();
    HeartbeatAck { id, renewed: names(renewed), lost: names(lost) }
}

fn beat(actions: &[Action]) -> &Heartbeat {
    let beats: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Send(WorkRequest { message: Some(Message::Heartbeat(beat)) }) => Some(beat),
            _ => None,
        })
        .collect();
    assert_eq!(beats.len(), 1, "one heartbeat in {actions:?}");
    beats[0]
}

fn sent_outcome(name: &'static str) -> Action {
    Action::Send(WorkRequest { message: Some(Message::Outcome(outcome(name))) })
}

fn stopped(actions: &[Action]) -> Vec<(Bytes, StopReason)> {
    let stop = |action: &Action| match action {
        Action::Stop { lease, why, .. } => Some((lease.clone(), *why)),
        _ => None,
    };
    actions.iter().filter_map(stop).collect()
}

#[test]
fn a_lease_that_is_held_is_not_executed_again() {
    let mut leases = connected();
    assert_eq!(leases.task(s(0), task("a")), [Action::Start(Box::new(task("a")))]);
    assert_eq!(leases.task(s(1), task("a")), []);
}

#[test]
fn a_copy_of_a_task_that_has_ended_gets_its_outcome_again() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    assert_eq!(leases.ended(outcome("a")), [sent_outcome("a")]);
    assert_eq!(leases.task(s(1), task("a")), [sent_outcome("a")]);
}

#[test]
fn a_lease_that_is_over_is_not_executed_again() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.ended(outcome("a"));
    leases.outcome_ack(&OutcomeAck { lease: lease("a"), accepted: true, reason: String::new() });
    assert_eq!(leases.inventory(), [] as [Bytes; 0]);
    assert_eq!(leases.task(s(1), task("a")), []);
}

#[test]
fn an_outcome_is_held_and_repeated_on_each_session_until_it_is_acknowledged() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.disconnected();
    assert_eq!(leases.ended(outcome("a")), [], "nothing is sent while there is no session");
    assert_eq!(leases.inventory(), [lease("a")]);
    for session in 1..3 {
        let actions = leases.registered(s(session), LEASE, INTERVAL);
        assert_eq!(actions[0], sent_outcome("a"));
        leases.disconnected();
    }
    // Even long after its deadline: the attempt is over, only the news is missing.
    assert_eq!(stopped(&leases.tick(s(1000))), []);
    assert_eq!(leases.inventory(), [lease("a")]);
    leases.registered(s(1001), LEASE, INTERVAL);
    leases.outcome_ack(&OutcomeAck { lease: lease("a"), accepted: false, reason: "STALE_LEASE".to_owned() });
    assert!(leases.is_empty());
}

#[test]
fn a_running_attempt_survives_an_acknowledgement_that_is_not_for_it() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.outcome_ack(&OutcomeAck { lease: lease("a"), accepted: true, reason: String::new() });
    assert_eq!(leases.inventory(), [lease("a")]);
}

#[test]
fn the_first_heartbeat_comes_early_enough_for_a_second_try() {
    let mut leases = connected();
    leases.task(s(100), task("a"));
    assert_eq!(leases.next_tick(), Some(s(105)));
    // No answer: it is asked again, and another node is tried at 110, long before the first deadline.
    for at in [105, 107, 109] {
        assert_eq!(beat(&leases.tick(s(at))).leases, [lease("a")]);
    }
    assert_eq!(leases.next_tick(), Some(s(110)));
    assert_eq!(leases.tick(s(110)), [Action::LeaveNode]);
}

#[test]
fn a_heartbeat_that_got_lost_is_no_reason_to_leave_a_node_that_answers_the_next_one() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    let payload = Payload { data: Bytes::from_static(b"1"), encoding: String::new() };
    leases.checkpoint(s(5), &lease("a"), 1, payload.clone());
    let again = leases.tick(s(7));
    assert_eq!(beat(&again).progress[0].checkpoint, Some(payload), "the checkpoint got lost with it");
    let id = beat(&again).id;
    assert_eq!(leases.heartbeat_ack(s(7), ack(id, &["a"], &[])), [Action::Committed { lease: lease("a"), number: 1 }]);
    assert_eq!(leases.tick(s(10)), []);
}

#[test]
fn without_any_acknowledgement_the_deadline_is_three_quarters_of_a_lease_after_receipt() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.disconnected();
    let at = LEASE * 3 / 4 - stop_margin(LEASE);
    assert_eq!(leases.next_tick(), Some(at));
    assert_eq!(leases.tick(at - Duration::from_millis(1)), []);
    let expected = Action::Stop { lease: lease("a"), grace: stop_margin(LEASE), why: StopReason::Deadline };
    assert_eq!(leases.tick(at), [expected]);
    assert_eq!(leases.next_tick(), None, "nothing is left to wait for");
}

#[test]
fn an_acknowledged_heartbeat_moves_the_deadline_from_its_send_time() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    let id = beat(&leases.tick(s(5))).id;
    leases.heartbeat_ack(s(9), ack(id, &["a"], &[]));
    leases.disconnected();
    assert_eq!(stopped(&leases.tick(s(33))), []);
    assert_eq!(stopped(&leases.tick(s(34))), [(lease("a"), StopReason::Deadline)]);
}

#[test]
fn an_acknowledgement_of_an_older_heartbeat_never_shortens_a_lease() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    let first = beat(&leases.tick(s(5))).id;
    leases.heartbeat_ack(s(5), ack(first, &[], &[]));
    let second = beat(&leases.tick(s(7))).id;
    leases.heartbeat_ack(s(8), ack(second, &["a"], &[]));
    leases.heartbeat_ack(s(9), ack(first, &["a"], &[]));
    leases.disconnected();
    assert_eq!(stopped(&leases.tick(s(35))), []);
    assert_eq!(stopped(&leases.tick(s(36))).len(), 1);
}

#[test]
fn what_was_stopped_at_its_deadline_is_not_reported_held_or_executed_again() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    assert_eq!(stopped(&leases.tick(LEASE * 3 / 4)).len(), 1);
    assert_eq!(leases.ended(outcome("a")), []);
    assert!(leases.inventory().is_empty());
    assert_eq!(leases.task(s(30), task("a")), []);
}

#[test]
fn a_lost_lease_is_stopped_at_once_also_by_an_answer_to_an_older_session() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.task(s(0), task("b"));
    leases.ended(outcome("b"));
    let actions = leases.heartbeat_ack(s(1), ack(99, &[], &["a", "b", "unknown"]));
    assert_eq!(actions, [Action::Stop { lease: lease("a"), grace: Duration::ZERO, why: StopReason::Lost }]);
    assert!(leases.is_empty());
}

#[test]
fn undecided_leases_are_asked_about_again_before_the_next_regular_heartbeat() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.task(s(0), task("b"));
    let id = beat(&leases.tick(s(5))).id;
    leases.heartbeat_ack(s(5), ack(id, &["a"], &[]));
    assert_eq!(leases.next_tick(), Some(s(7)));
    assert_eq!(beat(&leases.tick(s(7))).leases, [lease("b")]);
}

#[test]
fn an_answer_in_parts_leaves_nothing_to_ask() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.task(s(0), task("b"));
    let id = beat(&leases.tick(s(5))).id;
    leases.heartbeat_ack(s(5), ack(id, &["a"], &[]));
    leases.heartbeat_ack(s(6), ack(id, &["b"], &[]));
    // The next thing to do is the stop of neither, but the regular heartbeat.
    assert_eq!(leases.tick(s(7)), []);
    assert_eq!(beat(&leases.tick(s(15))).leases, [lease("a"), lease("b")]);
}

#[test]
fn a_checkpoint_goes_out_at_once_and_is_committed_by_the_acknowledgement() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.task(s(0), task("b"));
    let payload = Payload { data: Bytes::from_static(b"1"), encoding: String::new() };
    let actions = leases.checkpoint(s(1), &lease("a"), 1, payload.clone());
    assert_eq!(beat(&actions).leases, [lease("a")]);
    assert_eq!(beat(&actions).progress[0].checkpoint, Some(payload));
    let id = beat(&actions).id;
    assert_eq!(leases.heartbeat_ack(s(1), ack(id, &["a"], &[])), [Action::Committed { lease: lease("a"), number: 1 }]);
    assert_eq!(beat(&leases.tick(s(5))).progress, []);
}

#[test]
fn a_checkpoint_is_committed_also_when_a_newer_heartbeat_is_answered_first() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.task(s(0), task("b"));
    let payload = Payload { data: Bytes::from_static(b"1"), encoding: String::new() };
    let of_a = beat(&leases.checkpoint(s(1), &lease("a"), 1, payload.clone())).id;
    let of_b = beat(&leases.checkpoint(s(1), &lease("b"), 1, payload)).id;
    assert_eq!(leases.heartbeat_ack(s(1), ack(of_b, &["a", "b"], &[])), [Action::Committed { lease: lease("b"), number: 1 }]);
    assert_eq!(leases.heartbeat_ack(s(2), ack(of_a, &["a"], &[])), [Action::Committed { lease: lease("a"), number: 1 }]);
}

#[test]
fn a_checkpoint_whose_heartbeat_was_overtaken_and_got_lost_is_sent_again() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    leases.task(s(0), task("b"));
    let payload = Payload { data: Bytes::from_static(b"1"), encoding: String::new() };
    leases.checkpoint(s(1), &lease("a"), 1, payload.clone());
    let newer = beat(&leases.checkpoint(s(1), &lease("b"), 1, payload.clone())).id;
    leases.heartbeat_ack(s(1), ack(newer, &["a", "b"], &[]));
    let again = leases.tick(s(10));
    let sent: Vec<_> = beat(&again).progress.iter().map(|progress| (progress.lease.clone(), progress.checkpoint.clone())).collect();
    assert_eq!(sent, [(lease("a"), Some(payload))]);
}

#[test]
fn a_checkpoint_that_was_not_acknowledged_is_repeated_on_the_next_session() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    let payload = Payload { data: Bytes::from_static(b"1"), encoding: String::new() };
    leases.checkpoint(s(1), &lease("a"), 1, payload.clone());
    leases.disconnected();
    let newer = Payload { data: Bytes::from_static(b"2"), encoding: String::new() };
    assert_eq!(leases.checkpoint(s(2), &lease("a"), 2, newer.clone()), []);
    let actions = leases.registered(s(3), LEASE, INTERVAL);
    assert_eq!(beat(&actions).progress[0].checkpoint, Some(newer), "only the newest matters");
    let id = beat(&actions).id;
    assert_eq!(leases.heartbeat_ack(s(3), ack(id, &["a"], &[])), [Action::Committed { lease: lease("a"), number: 2 }]);
}

#[test]
fn progress_is_sent_in_time_for_the_steps_heartbeat_timeout() {
    let mut leases = connected();
    leases.task(s(0), Task { heartbeat_timeout_ms: 3000, ..task("a") });
    assert_eq!(leases.progress(s(0), &lease("a")), []);
    assert_eq!(leases.next_tick(), Some(s(1)));
    let actions = leases.tick(s(1));
    assert_eq!(beat(&actions).progress.len(), 1);
    assert_eq!(beat(&actions).progress[0].checkpoint, None);
}

fn cancel(name: &'static str) -> CancelTask {
    CancelTask { lease: lease(name), reason: "cancelled".to_owned(), grace_ms: 5000 }
}

#[test]
fn cancelling_stops_only_running_attempts() {
    let mut leases = connected();
    leases.task(s(0), task("a"));
    let expected = Action::Cancel { lease: lease("a"), reason: "cancelled".to_owned(), grace: s(5) };
    assert_eq!(leases.cancel(s(1), cancel("a")), [expected]);
    leases.ended(outcome("a"));
    assert_eq!(leases.cancel(s(1), cancel("a")), [sent_outcome("a")], "it is over already");
    leases.outcome_ack(&OutcomeAck { lease: lease("a"), accepted: true, reason: String::new() });
    assert_eq!(leases.cancel(s(1), cancel("a")), []);
}

#[test]
fn what_is_to_stop_and_never_came_is_given_back_and_not_executed_when_it_comes() {
    let mut leases = connected();
    let released = TaskOutcome { lease: lease("a"), result: Some(task_outcome::Result::Released(TaskReleased::default())) };
    let given_back = Action::Send(WorkRequest { message: Some(Message::Outcome(released)) });
    assert_eq!(leases.cancel(s(0), cancel("a")), std::slice::from_ref(&given_back));
    assert_eq!(leases.task(s(1), task("a")), std::slice::from_ref(&given_back), "the push was only late");
    leases.disconnected();
    assert_eq!(leases.registered(s(2), LEASE, INTERVAL)[0], given_back, "until somebody has heard it");
    leases.outcome_ack(&OutcomeAck { lease: lease("a"), accepted: true, reason: String::new() });
    assert!(leases.is_empty());
    assert_eq!(leases.task(s(3), task("a")), []);
}

#[test]
fn an_idle_worker_has_nothing_to_wake_for() {
    let mut leases = connected();
    assert_eq!(leases.next_tick(), None);
    leases.task(s(0), task("a"));
    leases.ended(outcome("a"));
    leases.outcome_ack(&OutcomeAck { lease: lease("a"), accepted: true, reason: String::new() });
    assert_eq!(leases.next_tick(), None);
}
