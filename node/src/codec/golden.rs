//! Golden bytes: what is on disk somewhere already must stay readable, and the same value must get the same bytes on every replica.
//!
//! Each file of `golden/` holds the hex of one value. A failing test here means that an encoding changed: make a new field or a new kind instead.
//! New values are added by running the tests once with `QUORUS_GOLDEN=write`, and reviewed like code.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use quorus_engine::{
    Event, EventKind, Failure, Lease, Millis, Outcome, OutcomeKind, Payload, Principal, RecordedOutcome, RunHead, RunInfo, RunStatus,
    RunUid, SkipCause, StepState, StepStatus, Timestamp, Token, WorkerId,
};

use super::*;

/// Compares `bytes` with `golden/<name>.hex`, or writes that file if the developer asked for it.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/codec/golden").join(format!("{name}.hex"));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if std::env::var_os("QUORUS_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{hex}\n")).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(golden.trim(), hex, "the encoding of {name} changed: old data would be read wrongly");
}

fn payload() -> Payload {
    Payload { data: Bytes::from_static(b"{\"a\":1}"), encoding: "json".into() }
}

fn failure() -> Failure {
    Failure { kind: "Broken".into(), message: "it broke".into(), details: Some(payload()), non_retryable: true, nothing_done: true }
}

fn principal() -> Principal {
    Principal { subject: "ada".into(), roles: vec!["ops".into()], issuer: "idp".into(), verified: true }
}

fn worker() -> WorkerId {
    WorkerId { name: "w1".into(), incarnation: "i1".into() }
}

fn info() -> RunInfo {
    RunInfo {
        namespace: "default".into(),
        run_id: "run-1".into(),
        uid: RunUid(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        workflow: "deploy".into(),
        version: 3,
        digest: [7; 32],
        input: payload(),
        labels: [("team".to_owned(), "core".to_owned())].into(),
        principal: principal(),
        request_id: "req-1".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        tracestate: "k=v".into(),
        steps_total: 4,
        deadline: Some(Timestamp(9_000)),
        retention: None,
    }
}

fn events() -> Vec<(&'static str, EventKind)> {
    let ended = |outcome| EventKind::AttemptEnded { step: "build".into(), attempt: 2, outcome, retry_at: Some(Timestamp(5_000)) };
    vec![
        ("run_started_v1", EventKind::RunStarted(Box::new(info()))),
        (
            "step_queued_v1",
            EventKind::StepQueued {
                step: "build".into(),
                input: Some(payload()),
                queue: "linux".into(),
                priority: 2,
                schedule_deadline: Some(Timestamp(6_000)),
                step_deadline: Some(Timestamp(7_000)),
            },
        ),
        (
            "step_leased_v1",
            EventKind::StepLeased {
                step: "build".into(),
                attempt: 1,
                token: Token(17),
                worker: worker(),
                queue: "linux".into(),
                priority: 2,
                lease: Millis(30_000),
                input: Some(payload()),
                step_deadline: Some(Timestamp(7_000)),
                attempt_deadline: Some(Timestamp(8_000)),
            },
        ),
        ("step_checkpointed_v1", EventKind::StepCheckpointed { step: "build".into(), attempt: 1, checkpoint: payload() }),
        ("attempt_succeeded_v1", ended(Outcome::Succeeded(Some(payload())))),
        ("attempt_failed_v1", ended(Outcome::Failed(failure()))),
        ("attempt_timed_out_v1", ended(Outcome::TimedOut(failure()))),
        ("attempt_abandoned_v1", ended(Outcome::Abandoned("lost".into()))),
        ("attempt_released_v1", ended(Outcome::Released(Some(payload())))),
        ("attempt_cancelled_v1", ended(Outcome::Cancelled { nothing_done: true })),
        ("step_waiting_v1", EventKind::StepWaiting { step: "nap".into(), until: Timestamp(4_000), step_deadline: Some(Timestamp(7_000)) }),
        (
            "step_cancel_requested_v1",
            EventKind::StepCancelRequested { step: "build".into(), deadline: Timestamp(6_500), reason: "run failed".into() },
        ),
        (
            "step_ended_v1",
            EventKind::StepEnded {
                step: "build".into(),
                status: StepStatus::Skipped,
                output: Some(payload()),
                failure: Some(failure()),
                skip: Some(SkipCause::Upstream),
            },
        ),
        ("run_failing_v1", EventKind::RunFailing { failure: failure() }),
        ("run_cancel_requested_v1", EventKind::RunCancelRequested { principal: principal(), reason: "enough".into() }),
        (
            "run_ended_v1",
            EventKind::RunEnded {
                status: RunStatus::Failed,
                output: Some(payload()),
                failure: Some(failure()),
                principal: Some(principal()),
                reason: "because".into(),
            },
        ),
    ]
}

#[test]
fn events_keep_their_bytes() {
    for (name, kind) in events() {
        let event = Event { time: Timestamp(1_700_000_000_123), kind };
        let bytes = encode_event(&event);
        check(name, &bytes);
        assert_eq!(decode_event(bytes).unwrap(), event);
    }
}

#[test]
fn state_keeps_its_bytes() {
    let step = StepState {
        status: StepStatus::Leased,
        generation: 1,
        attempt: 2,
        failures: 1,
        preemptions: 1,
        in_doubt: true,
        ready_at: Some(Timestamp(1)),
        started_at: Some(Timestamp(2)),
        ended_at: Some(Timestamp(3)),
        queue: "linux".into(),
        priority: 2,
        input: Some(payload()),
        lease: Some(Lease {
            token: Token(17),
            leased_at: Timestamp(2),
            duration: Millis(30_000),
            attempt_deadline: Some(Timestamp(8_000)),
        }),
        worker: Some(worker()),
        checkpoint: Some(payload()),
        due: Some(Timestamp(4)),
        step_deadline: Some(Timestamp(5)),
        schedule_deadline: Some(Timestamp(6)),
        cancel_deadline: Some(Timestamp(7)),
        output: Some(payload()),
        failure: Some(failure()),
        skip: Some(SkipCause::If),
        checkpoint_attempt: 1,
        outcomes: vec![RecordedOutcome { attempt: 1, token: Token(5), kind: OutcomeKind::Released }],
    };
    check("state_step_v1", &encode_step(&step));

    let head = RunHead {
        status: RunStatus::Cancelling,
        seq: 9,
        started_at: Timestamp(1),
        deadline: Some(Timestamp(2)),
        ended_at: Some(Timestamp(3)),
        steps_ended: 2,
        failure: Some(failure()),
        cancelled_by: Some((principal(), "enough".into())),
        output: Some(payload()),
    };
    check("state_head_v1", &encode_head(&head, true));
    check("state_info_v1", &encode_info_without_input(&info()));
    check("state_payload_v1", &encode_payload(&payload()));
}
