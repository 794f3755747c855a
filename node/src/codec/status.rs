//! Statuses and causes: the engine's enums and their numbers on disk.

use quorus_engine::{OutcomeKind, RunStatus, SkipCause, StepStatus};
use quorus_proto::{log, v1};

use super::CodecError;

/// The number of a run's status.
pub fn run_status_to_proto(status: RunStatus) -> v1::RunStatus {
    match status {
        RunStatus::Running => v1::RunStatus::Running,
        RunStatus::Failing => v1::RunStatus::Failing,
        RunStatus::Cancelling => v1::RunStatus::Cancelling,
        RunStatus::Succeeded => v1::RunStatus::Succeeded,
        RunStatus::Failed => v1::RunStatus::Failed,
        RunStatus::Cancelled => v1::RunStatus::Cancelled,
        RunStatus::Terminated => v1::RunStatus::Terminated,
        RunStatus::Queued => v1::RunStatus::Queued,
        RunStatus::Compensating => v1::RunStatus::Compensating,
        RunStatus::NeedsAttention => v1::RunStatus::NeedsAttention,
    }
}

/// The run's status with this number.
pub fn run_status_from_proto(value: i32) -> Result<RunStatus, CodecError> {
    match v1::RunStatus::try_from(value) {
        Ok(v1::RunStatus::Running) => Ok(RunStatus::Running),
        Ok(v1::RunStatus::Failing) => Ok(RunStatus::Failing),
        Ok(v1::RunStatus::Cancelling) => Ok(RunStatus::Cancelling),
        Ok(v1::RunStatus::Succeeded) => Ok(RunStatus::Succeeded),
        Ok(v1::RunStatus::Failed) => Ok(RunStatus::Failed),
        Ok(v1::RunStatus::Cancelled) => Ok(RunStatus::Cancelled),
        Ok(v1::RunStatus::Terminated) => Ok(RunStatus::Terminated),
        Ok(v1::RunStatus::Queued) => Ok(RunStatus::Queued),
        Ok(v1::RunStatus::Compensating) => Ok(RunStatus::Compensating),
        Ok(v1::RunStatus::NeedsAttention) => Ok(RunStatus::NeedsAttention),
        Ok(v1::RunStatus::Unspecified) | Err(_) => Err(CodecError::UnknownValue { what: "run status", value }),
    }
}

/// The number of a step's status.
pub fn step_status_to_proto(status: StepStatus) -> v1::StepStatus {
    match status {
        StepStatus::Pending => v1::StepStatus::Pending,
        StepStatus::Queued => v1::StepStatus::Queued,
        StepStatus::Leased => v1::StepStatus::Leased,
        StepStatus::Waiting => v1::StepStatus::Waiting,
        StepStatus::BackingOff => v1::StepStatus::BackingOff,
        StepStatus::Succeeded => v1::StepStatus::Succeeded,
        StepStatus::Failed => v1::StepStatus::Failed,
        StepStatus::Skipped => v1::StepStatus::Skipped,
        StepStatus::Cancelled => v1::StepStatus::Cancelled,
        StepStatus::Running => v1::StepStatus::Running,
        StepStatus::Awaiting => v1::StepStatus::Awaiting,
    }
}

/// The step's status with this number.
pub fn step_status_from_proto(value: i32) -> Result<StepStatus, CodecError> {
    match v1::StepStatus::try_from(value) {
        Ok(v1::StepStatus::Pending) => Ok(StepStatus::Pending),
        Ok(v1::StepStatus::Queued) => Ok(StepStatus::Queued),
        Ok(v1::StepStatus::Leased) => Ok(StepStatus::Leased),
        Ok(v1::StepStatus::Waiting) => Ok(StepStatus::Waiting),
        Ok(v1::StepStatus::BackingOff) => Ok(StepStatus::BackingOff),
        Ok(v1::StepStatus::Succeeded) => Ok(StepStatus::Succeeded),
        Ok(v1::StepStatus::Failed) => Ok(StepStatus::Failed),
        Ok(v1::StepStatus::Skipped) => Ok(StepStatus::Skipped),
        Ok(v1::StepStatus::Cancelled) => Ok(StepStatus::Cancelled),
        Ok(v1::StepStatus::Running) => Ok(StepStatus::Running),
        Ok(v1::StepStatus::Awaiting) => Ok(StepStatus::Awaiting),
        Ok(v1::StepStatus::Unspecified) | Err(_) => Err(CodecError::UnknownValue { what: "step status", value }),
    }
}

/// The number of a skip's cause; 0 for none.
pub fn skip_cause_to_proto(cause: Option<SkipCause>) -> log::SkipCause {
    match cause {
        None => log::SkipCause::Unspecified,
        Some(SkipCause::If) => log::SkipCause::If,
        Some(SkipCause::Upstream) => log::SkipCause::Upstream,
        Some(SkipCause::UpstreamFailure) => log::SkipCause::UpstreamFailure,
        Some(SkipCause::RunOn) => log::SkipCause::RunOn,
        Some(SkipCause::Operator) => log::SkipCause::Operator,
    }
}

/// The skip's cause with this number.
pub fn skip_cause_from_proto(value: i32) -> Result<Option<SkipCause>, CodecError> {
    match log::SkipCause::try_from(value) {
        Ok(log::SkipCause::Unspecified) => Ok(None),
        Ok(log::SkipCause::If) => Ok(Some(SkipCause::If)),
        Ok(log::SkipCause::Upstream) => Ok(Some(SkipCause::Upstream)),
        Ok(log::SkipCause::UpstreamFailure) => Ok(Some(SkipCause::UpstreamFailure)),
        Ok(log::SkipCause::RunOn) => Ok(Some(SkipCause::RunOn)),
        Ok(log::SkipCause::Operator) => Ok(Some(SkipCause::Operator)),
        Err(_) => Err(CodecError::UnknownValue { what: "skip cause", value }),
    }
}

/// The number of a kind of outcome.
pub fn outcome_kind_to_proto(kind: OutcomeKind) -> log::OutcomeKind {
    match kind {
        OutcomeKind::Succeeded => log::OutcomeKind::Succeeded,
        OutcomeKind::Failed => log::OutcomeKind::Failed,
        OutcomeKind::TimedOut => log::OutcomeKind::TimedOut,
        OutcomeKind::Abandoned => log::OutcomeKind::Abandoned,
        OutcomeKind::Released => log::OutcomeKind::Released,
        OutcomeKind::Cancelled => log::OutcomeKind::Cancelled,
    }
}

/// The kind of outcome with this number.
pub fn outcome_kind_from_proto(value: i32) -> Result<OutcomeKind, CodecError> {
    match log::OutcomeKind::try_from(value) {
        Ok(log::OutcomeKind::Succeeded) => Ok(OutcomeKind::Succeeded),
        Ok(log::OutcomeKind::Failed) => Ok(OutcomeKind::Failed),
        Ok(log::OutcomeKind::TimedOut) => Ok(OutcomeKind::TimedOut),
        Ok(log::OutcomeKind::Abandoned) => Ok(OutcomeKind::Abandoned),
        Ok(log::OutcomeKind::Released) => Ok(OutcomeKind::Released),
        Ok(log::OutcomeKind::Cancelled) => Ok(OutcomeKind::Cancelled),
        Ok(log::OutcomeKind::Unspecified) | Err(_) => Err(CodecError::UnknownValue { what: "outcome kind", value }),
    }
}
