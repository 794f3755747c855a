//! Random engine values for property tests: any value that the types allow, also combinations that no decision leads to.

use proptest::{collection::btree_map, collection::vec, option, prelude::*, strategy::Union};
use quorus_engine::{
    Approval, Attention, AttentionCause, ChildState, Compensation, Event, EventKind, Failure, Lease, Migrated, Millis, OnConflict, Outcome,
    OutcomeKind, Parent, Payload, Phase, Principal, RecordedOutcome, Repair, RunHead, RunInfo, RunStatus, RunUid, ScopeState, SignalKey,
    SignalState, SkipCause, SlotState, StepId, StepState, StepStatus, Timestamp, Token, WorkerId,
};

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9._\\-é\\x00]{0,8}"
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn step_id() -> impl Strategy<Value = StepId> {
    "[a-z][a-z0-9_]{0,6}(\\[[0-9]\\]\\.[a-z]{1,3})?(:compensate)?".prop_map(|id| StepId(id.into()))
}

pub(crate) fn payload() -> impl Strategy<Value = Payload> {
    (vec(any::<u8>(), 0..40), text()).prop_map(|(data, encoding)| Payload { data: data.into(), encoding })
}

fn failure() -> impl Strategy<Value = Failure> {
    (text(), text(), option::of(payload()), any::<bool>(), any::<bool>(), option::of(1..u64::MAX)).prop_map(
        |(kind, message, details, non_retryable, nothing_done, retry_after)| Failure {
            kind,
            message,
            details,
            non_retryable,
            nothing_done,
            retry_after: retry_after.map(Millis),
        },
    )
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
    prop::sample::select(vec![Running, Failing, Cancelling, Succeeded, Failed, Cancelled, Terminated, Queued, Compensating, NeedsAttention])
}

fn step_status() -> impl Strategy<Value = StepStatus> {
    use StepStatus::*;
    prop::sample::select(vec![Pending, Queued, Leased, Waiting, BackingOff, Succeeded, Failed, Skipped, Cancelled, Running, Awaiting])
}

fn skip() -> impl Strategy<Value = Option<SkipCause>> {
    prop::sample::select(vec![
        None,
        Some(SkipCause::If),
        Some(SkipCause::Upstream),
        Some(SkipCause::UpstreamFailure),
        Some(SkipCause::RunOn),
        Some(SkipCause::Operator),
    ])
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

fn phase() -> impl Strategy<Value = Phase> {
    use Phase::*;
    prop::sample::select(vec![Forward, Closing, Stopping, Observing, Compensating, Compensated, Finally, Rewinding])
}

fn attention_cause() -> impl Strategy<Value = AttentionCause> {
    use AttentionCause::*;
    prop::sample::select(vec![Hold, NoReturn, CompensationFailed, CompensationTimeout])
}

fn attention() -> impl Strategy<Value = Attention> {
    (attention_cause(), option::of(step_id()), option::of(failure()), time()).prop_map(|(cause, step, failure, since)| Attention {
        cause,
        step,
        failure,
        since,
    })
}

fn on_conflict() -> impl Strategy<Value = OnConflict> {
    prop::sample::select(vec![OnConflict::Queue, OnConflict::Reject, OnConflict::Replace])
}

fn slot() -> impl Strategy<Value = SlotState> {
    (text(), any::<u32>(), on_conflict(), option::of(time()), any::<bool>(), any::<bool>()).prop_map(
        |(key, limit, on_conflict, deadline, granted, released)| SlotState { key, limit, on_conflict, deadline, granted, released },
    )
}

fn parent() -> impl Strategy<Value = Parent> {
    (text(), text(), any::<u128>(), text()).prop_map(|(namespace, run_id, uid, step)| Parent { namespace, run_id, uid: RunUid(uid), step })
}

fn migrated() -> impl Strategy<Value = Migrated> {
    (any::<u64>(), any::<[u8; 32]>(), any::<u32>()).prop_map(|(version, digest, steps_total)| Migrated { version, digest, steps_total })
}

fn approval() -> impl Strategy<Value = Approval> {
    (principal(), any::<bool>(), text(), time(), any::<[u8; 32]>()).prop_map(|(principal, approve, reason, time, digest)| Approval {
        principal,
        approve,
        reason,
        time,
        digest,
    })
}

fn scope() -> impl Strategy<Value = ScopeState> {
    (phase(), any::<u32>(), option::of(failure())).prop_map(|(phase, total, failure)| ScopeState { phase, total, failure })
}

fn child() -> impl Strategy<Value = ChildState> {
    let names = (any::<u128>(), text(), text(), option::of(any::<u64>()));
    (names, any::<bool>(), option::of(text()), option::of(run_status()), any::<bool>()).prop_map(
        |((uid, run_id, workflow, version), started, cancel, ended, compensates)| ChildState {
            uid: RunUid(uid),
            run_id,
            workflow,
            version,
            started,
            cancel,
            ended,
            compensates,
        },
    )
}

pub(crate) fn signal_state() -> impl Strategy<Value = SignalState> {
    (text(), option::of(payload()), principal(), time(), option::of(step_id()))
        .prop_map(|(id, payload, principal, received_at, consumed_by)| SignalState { id, payload, principal, received_at, consumed_by })
}

pub(crate) fn run_info() -> impl Strategy<Value = RunInfo> {
    let names = (text(), text(), any::<u128>(), text(), any::<u64>(), any::<[u8; 32]>());
    let rest = (payload(), btree_map(text(), text(), 0..3), principal(), text(), text(), text(), any::<u32>(), option::of(time()));
    (names, rest, option::of(parent()), option::of(principal()), btree_map(text(), any::<u64>(), 0..3)).prop_map(
        |(
            (namespace, run_id, uid, workflow, version, digest),
            (input, labels, principal, request_id, traceparent, tracestate, steps_total, deadline),
            parent,
            root_principal,
            pinned,
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
            parent,
            root_principal,
            pinned,
        },
    )
}

pub(crate) fn run_head() -> impl Strategy<Value = RunHead> {
    let times = (time(), option::of(time()), option::of(time()));
    let rest = (option::of(failure()), option::of((principal(), text())), option::of(payload()));
    let compensations = prop::sample::select(vec![Compensation::None, Compensation::Running, Compensation::Completed]);
    let repairs = (phase(), any::<u32>(), any::<u32>(), option::of(attention()), option::of((principal(), text())), any::<bool>());
    let undoing = (compensations, option::of(time()), option::of(step_id()), any::<u32>(), any::<u32>());
    let others = (option::of(slot()), option::of(parent()), option::of(step_id()), any::<bool>(), option::of(migrated()));
    (run_status(), any::<u64>(), any::<u32>(), times, rest, repairs, undoing, others).prop_map(
        |(
            status,
            seq,
            steps_ended,
            (started_at, deadline, ended_at),
            (failure, cancelled_by, output),
            (phase, generation, attentions, attention, paused_by, cancel_compensates),
            (compensation, compensation_deadline, rewinds_to, no_return, signals_unread),
            (slot, parent, notify, parent_notified, migrated),
        )| RunHead {
            status,
            seq,
            started_at,
            deadline,
            ended_at,
            steps_ended,
            failure,
            cancelled_by,
            output,
            phase,
            generation,
            attentions,
            attention,
            paused_by,
            cancel_compensates,
            compensation,
            compensation_deadline,
            rewinds_to,
            no_return,
            signals_unread,
            slot,
            parent,
            notify,
            parent_notified,
            migrated,
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
    let scopes = (any::<bool>(), any::<u32>(), any::<u64>(), option::of(scope()), option::of(child()));
    let people = (vec(approval(), 0..3), any::<bool>(), any::<u32>(), any::<u32>());
    (step_status(), counts, times, rest, payloads, outcomes, scopes, people).prop_map(
        |(
            status,
            (generation, attempt, failures, preemptions, in_doubt),
            times,
            (queue, priority, lease, worker, failure, skip),
            (input, checkpoint, output),
            (checkpoint_attempt, outcomes),
            (handled, epoch, end_seq, scope, child),
            (approvals, no_return, pool, pool_preemptions),
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
            handled,
            epoch,
            end_seq,
            scope,
            child: child.map(Box::new),
            approvals,
            no_return,
            pool,
            pool_preemptions,
        },
    )
}

fn recorded_outcome() -> impl Strategy<Value = RecordedOutcome> {
    use OutcomeKind::*;
    let kind = prop::sample::select(vec![Succeeded, Failed, TimedOut, Abandoned, Released, Cancelled]);
    (any::<u32>(), any::<u64>(), kind).prop_map(|(attempt, token, kind)| RecordedOutcome { attempt, token: Token(token), kind })
}

/// What happens to scopes, signals, approvals and children.
fn scope_events() -> Vec<BoxedStrategy<EventKind>> {
    let deadline = || option::of(time());
    vec![
        (step_id(), any::<u32>(), option::of(payload()), any::<u32>(), deadline())
            .prop_map(|(step, attempt, input, total, step_deadline)| EventKind::ScopeStarted { step, attempt, input, total, step_deadline })
            .boxed(),
        (option::of(step_id()), phase(), option::of(failure()), deadline())
            .prop_map(|(scope, phase, failure, deadline)| EventKind::PhaseChanged { scope, phase, failure, deadline })
            .boxed(),
        (step_id(), failure(), time()).prop_map(|(step, failure, retry_at)| EventKind::ScopeRetried { step, failure, retry_at }).boxed(),
        (step_id(), any::<u32>(), any::<u32>())
            .prop_map(|(step, generation, epoch)| EventKind::StepReopened { step, generation, epoch })
            .boxed(),
        step_id().prop_map(|step| EventKind::ScopeReopened { step }).boxed(),
        (step_id(), deadline()).prop_map(|(step, step_deadline)| EventKind::StepAwaiting { step, step_deadline }).boxed(),
        (text(), text(), option::of(payload()), principal())
            .prop_map(|(name, id, payload, principal)| EventKind::SignalReceived { name, id, payload, principal })
            .boxed(),
        (text(), any::<u64>(), step_id())
            .prop_map(|(name, seq, step)| EventKind::SignalConsumed { signal: SignalKey { name: name.into(), seq }, step })
            .boxed(),
        (step_id(), approval()).prop_map(|(step, approval)| EventKind::ApprovalRecorded { step, approval }).boxed(),
        ((step_id(), any::<u32>(), any::<u128>(), text(), text()), (option::of(any::<u64>()), option::of(payload()), deadline()))
            .prop_map(|((step, attempt, child, run_id, workflow), (version, input, step_deadline))| EventKind::ChildRequested {
                step,
                attempt,
                child: RunUid(child),
                run_id,
                workflow,
                version,
                input,
                step_deadline,
            })
            .boxed(),
        step_id().prop_map(|step| EventKind::ChildStarted { step }).boxed(),
        (step_id(), text()).prop_map(|(step, reason)| EventKind::ChildCancelRequested { step, reason }).boxed(),
        (step_id(), any::<u128>(), text())
            .prop_map(|(step, child, run_id)| EventKind::ChildCompensationRequested { step, child: RunUid(child), run_id })
            .boxed(),
        (step_id(), run_status(), option::of(failure()))
            .prop_map(|(step, status, failure)| EventKind::ChildEnded { step, status, failure })
            .boxed(),
    ]
}

/// What happens to a run as a whole.
fn life_events() -> Vec<BoxedStrategy<EventKind>> {
    use Repair::*;
    let repair = prop::sample::select(vec![Retry, RestartFrom, Skip, Compensate, Migrate]);
    vec![
        Just(EventKind::ParentNotified).boxed(),
        (text(), any::<u32>(), on_conflict(), option::of(time()))
            .prop_map(|(key, limit, on_conflict, deadline)| EventKind::SlotRequested { key, limit, on_conflict, deadline })
            .boxed(),
        Just(EventKind::SlotGranted).boxed(),
        Just(EventKind::SlotReleased).boxed(),
        (principal(), text()).prop_map(|(principal, reason)| EventKind::RunPaused { principal, reason }).boxed(),
        (principal(), text()).prop_map(|(principal, reason)| EventKind::RunResumed { principal, reason }).boxed(),
        step_id().prop_map(|step| EventKind::NoReturnBound { step }).boxed(),
        step_id().prop_map(|step| EventKind::NoReturnLifted { step }).boxed(),
        (attention_cause(), option::of(step_id()), option::of(failure()))
            .prop_map(|(cause, step, failure)| EventKind::AttentionRequested { cause, step, failure })
            .boxed(),
        (repair, option::of(step_id()), principal(), text(), any::<bool>())
            .prop_map(|(repair, step, principal, reason, overrides)| EventKind::Repaired { repair, step, principal, reason, overrides })
            .boxed(),
        (phase(), option::of(time()), option::of(step_id()))
            .prop_map(|(phase, deadline, notify)| EventKind::RunReopened { phase, deadline, notify })
            .boxed(),
        migrated().prop_map(|Migrated { version, digest, steps_total }| EventKind::RunMigrated { version, digest, steps_total }).boxed(),
        (principal(), text()).prop_map(|(principal, text)| EventKind::RunAnnotated { principal, text }).boxed(),
        (step_id(), any::<u32>()).prop_map(|(step, pool)| EventKind::PoolChanged { step, pool }).boxed(),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let mut kinds: Vec<BoxedStrategy<EventKind>> = vec![
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
        (step_id(), step_status(), option::of(payload()), option::of(failure()), skip(), any::<bool>(), any::<bool>())
            .prop_map(|(step, status, output, failure, skip, handled, undo)| EventKind::StepEnded {
                step,
                status,
                output,
                failure,
                skip,
                handled,
                undo,
            })
            .boxed(),
        failure().prop_map(|failure| EventKind::RunFailing { failure }).boxed(),
        (principal(), text(), any::<bool>())
            .prop_map(|(principal, reason, compensate)| EventKind::RunCancelRequested { principal, reason, compensate })
            .boxed(),
        (run_status(), option::of(payload()), option::of(failure()), option::of(principal()), text())
            .prop_map(|(status, output, failure, principal, reason)| EventKind::RunEnded { status, output, failure, principal, reason })
            .boxed(),
    ];
    kinds.extend(scope_events());
    kinds.extend(life_events());
    (time(), Union::new(kinds)).prop_map(|(time, kind)| Event { time, kind })
}
