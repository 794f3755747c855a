//! Random engine values for property tests: any value that the types allow, also combinations that no decision leads to.

use proptest::{collection::btree_map, collection::vec, option, prelude::*, strategy::Union};
use quorus_engine::{
    Event, EventKind, Failure, Lease, Millis, Outcome, OutcomeKind, Payload, Principal, RecordedOutcome, RunHead, RunInfo, RunStatus,
    RunUid, SkipCause, StepId, StepState, StepStatus, Timestamp, Token, WorkerId,
};

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9._\\-é\\x00]{0,8}"
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn step_id() -> impl Strategy<Value = StepId> {
    "[a-z][a-z0-9_]{0,6}".prop_map(|id| StepId(id.into()))
}

pub(crate) fn payload() -> impl Strategy<Value = Payload> {
    (vec(any::<u8>(), 0..40), text()).prop_map(|(data, encoding)| Payload { data: data.into(), encoding })
}

fn failure() -> impl Strategy<Value = Failure> {
    (text(), text(), option::of(payload()), any::<bool>(), any::<bool>())
        .prop_map(|(kind, message, details, non_retryable, nothing_done)| Failure { kind, message, details, non_retryable, nothing_done })
}

fn principal() -> impl Strategy<Value = Principal> {
    (text(), vec(text(), 0..3), text(), any::<bool>()).prop_map(|(subject, roles, issuer, verified)| Principal {
        subject,
        roles,
        issuer,
        verified,
    })
}

fn worker() -> impl Strategy<Value = WorkerId> {
    (text(), text()).prop_map(|(name, incarnation)| WorkerId { name, incarnation })
}

pub(crate) fn run_status() -> impl Strategy<Value = RunStatus> {
    use RunStatus::*;
    prop::sample::select(vec![Running, Failing, Cancelling, Succeeded, Failed, Cancelled, Terminated])
}

fn step_status() -> impl Strategy<Value = StepStatus> {
    use StepStatus::*;
    prop::sample::select(vec![Pending, Queued, Leased, Waiting, BackingOff, Succeeded, Failed, Skipped, Cancelled])
}

fn skip() -> impl Strategy<Value = Option<SkipCause>> {
    prop::sample::select(vec![None, Some(SkipCause::If), Some(SkipCause::Upstream)])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        option::of(payload()).prop_map(Outcome::Succeeded),
        failure().prop_map(Outcome::Failed),
        failure().prop_map(Outcome::TimedOut),
        text().prop_map(Outcome::Abandoned),
        option::of(payload()).prop_map(Outcome::Released),
        any::<bool>().prop_map(|nothing_done| Outcome::Cancelled { nothing_done }),
    ]
}

pub(crate) fn run_info() -> impl Strategy<Value = RunInfo> {
    let names = (text(), text(), any::<u128>(), text(), any::<u64>(), any::<[u8; 32]>());
    let rest = (payload(), btree_map(text(), text(), 0..3), principal(), text(), text(), text(), any::<u32>(), option::of(time()));
    (names, rest).prop_map(
        |(
            (namespace, run_id, uid, workflow, version, digest),
            (input, labels, principal, request_id, traceparent, tracestate, steps_total, deadline),
        )| RunInfo {
            namespace,
            run_id,
            uid: RunUid(uid),
            workflow,
            version,
            digest,
            input,
            labels,
            principal,
            request_id,
            traceparent,
            tracestate,
            steps_total,
            deadline,
            retention: deadline.map(|time| quorus_engine::Millis(time.0.unsigned_abs())),
        },
    )
}

pub(crate) fn run_head() -> impl Strategy<Value = RunHead> {
    let times = (time(), option::of(time()), option::of(time()));
    let rest = (option::of(failure()), option::of((principal(), text())), option::of(payload()));
    (run_status(), any::<u64>(), any::<u32>(), times, rest).prop_map(
        |(status, seq, steps_ended, (started_at, deadline, ended_at), (failure, cancelled_by, output))| RunHead {
            status,
            seq,
            started_at,
            deadline,
            ended_at,
            steps_ended,
            failure,
            cancelled_by,
            output,
        },
    )
}

fn lease() -> impl Strategy<Value = Lease> {
    (any::<u64>(), time(), any::<u64>(), option::of(time())).prop_map(|(token, leased_at, duration, attempt_deadline)| Lease {
        token: Token(token),
        leased_at,
        duration: Millis(duration),
        attempt_deadline,
    })
}

pub(crate) fn step_state() -> impl Strategy<Value = StepState> {
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>());
    let times = vec(option::of(time()), 7);
    let rest = (text(), any::<u8>(), option::of(lease()), option::of(worker()), option::of(failure()), skip());
    let payloads = (option::of(payload()), option::of(payload()), option::of(payload()));
    let outcomes = (any::<u32>(), vec(recorded_outcome(), 0..3));
    (step_status(), counts, times, rest, payloads, outcomes).prop_map(
        |(
            status,
            (generation, attempt, failures, preemptions, in_doubt),
            times,
            (queue, priority, lease, worker, failure, skip),
            (input, checkpoint, output),
            (checkpoint_attempt, outcomes),
        )| StepState {
            status,
            generation,
            attempt,
            failures,
            preemptions,
            in_doubt,
            ready_at: times[0],
            started_at: times[1],
            ended_at: times[2],
            queue,
            priority,
            input,
            lease,
            worker,
            checkpoint,
            due: times[3],
            step_deadline: times[4],
            schedule_deadline: times[5],
            cancel_deadline: times[6],
            output,
            failure,
            skip,
            checkpoint_attempt,
            outcomes,
        },
    )
}

fn recorded_outcome() -> impl Strategy<Value = RecordedOutcome> {
    use OutcomeKind::*;
    let kind = prop::sample::select(vec![Succeeded, Failed, TimedOut, Abandoned, Released, Cancelled]);
    (any::<u32>(), any::<u64>(), kind).prop_map(|(attempt, token, kind)| RecordedOutcome { attempt, token: Token(token), kind })
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let kinds: Vec<BoxedStrategy<EventKind>> = vec![
        run_info().prop_map(|info| EventKind::RunStarted(Box::new(info))).boxed(),
        (step_id(), option::of(payload()), text(), any::<u8>(), option::of(time()), option::of(time()))
            .prop_map(|(step, input, queue, priority, schedule_deadline, step_deadline)| EventKind::StepQueued {
                step,
                input,
                queue,
                priority,
                schedule_deadline,
                step_deadline,
            })
            .boxed(),
        (
            (step_id(), any::<u32>(), any::<u64>(), worker(), text(), any::<u8>(), any::<u64>()),
            (option::of(payload()), option::of(time()), option::of(time())),
        )
            .prop_map(|((step, attempt, token, worker, queue, priority, lease), (input, step_deadline, attempt_deadline))| {
                EventKind::StepLeased {
                    step,
                    attempt,
                    token: Token(token),
                    worker,
                    queue,
                    priority,
                    lease: Millis(lease),
                    input,
                    step_deadline,
                    attempt_deadline,
                }
            })
            .boxed(),
        (step_id(), any::<u32>(), payload())
            .prop_map(|(step, attempt, checkpoint)| EventKind::StepCheckpointed { step, attempt, checkpoint })
            .boxed(),
        (step_id(), any::<u32>(), outcome(), option::of(time()))
            .prop_map(|(step, attempt, outcome, retry_at)| EventKind::AttemptEnded { step, attempt, outcome, retry_at })
            .boxed(),
        (step_id(), time(), option::of(time()))
            .prop_map(|(step, until, step_deadline)| EventKind::StepWaiting { step, until, step_deadline })
            .boxed(),
        (step_id(), time(), text()).prop_map(|(step, deadline, reason)| EventKind::StepCancelRequested { step, deadline, reason }).boxed(),
        (step_id(), step_status(), option::of(payload()), option::of(failure()), skip())
            .prop_map(|(step, status, output, failure, skip)| EventKind::StepEnded { step, status, output, failure, skip })
            .boxed(),
        failure().prop_map(|failure| EventKind::RunFailing { failure }).boxed(),
        (principal(), text()).prop_map(|(principal, reason)| EventKind::RunCancelRequested { principal, reason }).boxed(),
        (run_status(), option::of(payload()), option::of(failure()), option::of(principal()), text())
            .prop_map(|(status, output, failure, principal, reason)| EventKind::RunEnded { status, output, failure, principal, reason })
            .boxed(),
    ];
    (time(), Union::new(kinds)).prop_map(|(time, kind)| Event { time, kind })
}
