//! Golden bytes: what is on disk somewhere already must stay readable, and the same value must get the same bytes on every replica.
//!
//! Each file of `golden/` holds the hex of one value. A failing test here means that an encoding changed: make a new field or a new kind instead.
//! New values are added by running the tests once with `QUORUS_GOLDEN=write`, and reviewed like code.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use quorus_engine::{
    Approval, Attention, AttentionCause, ChildState, Compensation, Event, EventKind, Failure, Lease, Migrated, Millis, OnConflict, Outcome,
    OutcomeKind, Parent, Payload, Phase, Principal, RecordedOutcome, Repair, RunHead, RunInfo, RunStatus, RunUid, ScopeState, SignalKey,
    SignalState, SkipCause, SlotState, StepState, StepStatus, Timestamp, Token, WorkerId,
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
    Failure {
        kind: "Broken".into(),
        message: "it broke".into(),
        details: Some(payload()),
        non_retryable: true,
        nothing_done: true,
        retry_after: None,
    }
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
        ..RunInfo::default()
    }
}

fn parent() -> Parent {
    Parent { namespace: "default".into(), run_id: "parent".into(), uid: RunUid(5), step: "child".into() }
}

fn approval() -> Approval {
    Approval { principal: principal(), approve: true, reason: "looks good".into(), time: Timestamp(3_000), digest: [9; 32] }
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
                handled: false,
                undo: false,
            },
        ),
        ("run_failing_v1", EventKind::RunFailing { failure: failure() }),
        ("run_cancel_requested_v1", EventKind::RunCancelRequested { principal: principal(), reason: "enough".into(), compensate: false }),
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

/// The kinds and fields that came with the language's other kinds of steps.
fn later_events() -> Vec<(&'static str, EventKind)> {
    let step = || "regions[3].deploy".into();
    vec![
        (
            "step_ended_v2",
            EventKind::StepEnded {
                step: step(),
                status: StepStatus::Failed,
                output: None,
                failure: Some(Failure { retry_after: Some(Millis(250)), ..failure() }),
                skip: None,
                handled: true,
                undo: true,
            },
        ),
        ("run_cancel_requested_v2", EventKind::RunCancelRequested { principal: principal(), reason: "enough".into(), compensate: true }),
        (
            "run_started_v2",
            EventKind::RunStarted(Box::new(RunInfo {
                parent: Some(parent()),
                root_principal: Some(principal()),
                pinned: [("sub".to_owned(), 2)].into(),
                ..info()
            })),
        ),
        (
            "scope_started_v1",
            EventKind::ScopeStarted {
                step: "regions".into(),
                attempt: 1,
                input: Some(payload()),
                total: 3,
                step_deadline: Some(Timestamp(7_000)),
            },
        ),
        (
            "phase_changed_v1",
            EventKind::PhaseChanged {
                scope: Some("canary".into()),
                phase: Phase::Compensating,
                failure: Some(failure()),
                deadline: Some(Timestamp(8_000)),
            },
        ),
        ("phase_changed_run_v1", EventKind::PhaseChanged { scope: None, phase: Phase::Finally, failure: None, deadline: None }),
        ("scope_retried_v1", EventKind::ScopeRetried { step: "canary".into(), failure: failure(), retry_at: Timestamp(5_000) }),
        ("step_reopened_v1", EventKind::StepReopened { step: step(), generation: 2, epoch: 1 }),
        ("scope_reopened_v1", EventKind::ScopeReopened { step: "canary".into() }),
        ("step_awaiting_v1", EventKind::StepAwaiting { step: "sign_off".into(), step_deadline: Some(Timestamp(7_000)) }),
        (
            "signal_received_v1",
            EventKind::SignalReceived { name: "go".into(), id: "s1".into(), payload: Some(payload()), principal: principal() },
        ),
        ("signal_consumed_v1", EventKind::SignalConsumed { signal: SignalKey { name: "go".into(), seq: 4 }, step: "wait_go".into() }),
        ("approval_recorded_v1", EventKind::ApprovalRecorded { step: "sign_off".into(), approval: approval() }),
        (
            "child_requested_v1",
            EventKind::ChildRequested {
                step: "child".into(),
                attempt: 1,
                child: RunUid(77),
                run_id: "run-1.child".into(),
                workflow: "sub".into(),
                version: Some(0),
                input: Some(payload()),
                step_deadline: Some(Timestamp(7_000)),
            },
        ),
        ("child_started_v1", EventKind::ChildStarted { step: "child".into() }),
        ("child_cancel_requested_v1", EventKind::ChildCancelRequested { step: "child".into(), reason: "the run failed".into() }),
        (
            "child_compensation_requested_v1",
            EventKind::ChildCompensationRequested { step: "child:compensate".into(), child: RunUid(77), run_id: "run-1.child".into() },
        ),
        ("child_ended_v1", EventKind::ChildEnded { step: "child".into(), status: RunStatus::Failed, failure: Some(failure()) }),
        ("parent_notified_v1", EventKind::ParentNotified),
        (
            "slot_requested_v1",
            EventKind::SlotRequested { key: "api".into(), limit: 1, on_conflict: OnConflict::Replace, deadline: Some(Timestamp(6_000)) },
        ),
        ("slot_granted_v1", EventKind::SlotGranted),
        ("slot_released_v1", EventKind::SlotReleased),
        ("run_paused_v1", EventKind::RunPaused { principal: principal(), reason: "lunch".into() }),
        ("run_resumed_v1", EventKind::RunResumed { principal: principal(), reason: "back".into() }),
        ("no_return_bound_v1", EventKind::NoReturnBound { step: "cut_over".into() }),
        ("no_return_lifted_v1", EventKind::NoReturnLifted { step: "cut_over".into() }),
        (
            "attention_requested_v1",
            EventKind::AttentionRequested {
                cause: AttentionCause::CompensationFailed,
                step: Some("shift:compensate".into()),
                failure: Some(failure()),
            },
        ),
        (
            "repaired_v1",
            EventKind::Repaired {
                repair: Repair::RestartFrom,
                step: Some("canary".into()),
                principal: principal(),
                reason: "again".into(),
                overrides: true,
            },
        ),
        (
            "run_reopened_v1",
            EventKind::RunReopened { phase: Phase::Rewinding, deadline: Some(Timestamp(9_000)), notify: Some("child".into()) },
        ),
        ("run_migrated_v1", EventKind::RunMigrated { version: 4, digest: [8; 32], steps_total: 5 }),
        ("run_annotated_v1", EventKind::RunAnnotated { principal: principal(), text: "see the post-mortem".into() }),
        ("pool_changed_v1", EventKind::PoolChanged { step: "build".into(), pool: 1 }),
    ]
}

#[test]
fn events_keep_their_bytes() {
    for (name, kind) in events().into_iter().chain(later_events()) {
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
        ..StepState::default()
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
        ..RunHead::default()
    };
    check("state_head_v1", &encode_head(&head, true));
    check("state_info_v1", &encode_info_without_input(&info()));
    check("state_payload_v1", &encode_payload(&payload()));

    let step = StepState {
        status: StepStatus::Awaiting,
        handled: true,
        epoch: 2,
        end_seq: 31,
        scope: Some(ScopeState { phase: Phase::Stopping, total: 3, failure: Some(failure()) }),
        child: Some(Box::new(ChildState {
            uid: RunUid(77),
            run_id: "run-1.child".into(),
            workflow: "sub".into(),
            version: Some(2),
            started: true,
            cancel: Some("enough".into()),
            ended: Some(RunStatus::Cancelled),
            compensates: true,
        })),
        approvals: vec![approval()],
        no_return: true,
        pool: 1,
        pool_preemptions: 3,
        ..step
    };
    check("state_step_v2", &encode_step(&step));

    let slot = SlotState {
        key: "api".into(),
        limit: 1,
        on_conflict: OnConflict::Queue,
        deadline: Some(Timestamp(4)),
        granted: true,
        released: true,
    };
    let head = RunHead {
        status: RunStatus::NeedsAttention,
        phase: Phase::Compensating,
        generation: 1,
        attentions: 2,
        attention: Some(Attention {
            cause: AttentionCause::Hold,
            step: Some("build".into()),
            failure: Some(failure()),
            since: Timestamp(5),
        }),
        paused_by: Some((principal(), "lunch".into())),
        cancel_compensates: true,
        compensation: Compensation::Running,
        compensation_deadline: Some(Timestamp(6)),
        rewinds_to: Some("canary".into()),
        no_return: 1,
        signals_unread: 4,
        slot: Some(slot),
        parent: Some(parent()),
        notify: Some("child".into()),
        parent_notified: true,
        migrated: Some(Migrated { version: 4, digest: [8; 32], steps_total: 5 }),
        ..head
    };
    check("state_head_v2", &encode_head(&head, true));

    let signal = SignalState {
        id: "s1".into(),
        payload: Some(payload()),
        principal: principal(),
        received_at: Timestamp(7),
        consumed_by: Some("wait_go".into()),
    };
    check("state_signal_v1", &encode_signal(&signal));
}
