//! Flow control as messages of the log.

use bytes::Bytes;
use quorus_engine::{RunUid, Timestamp};
use quorus_proto::log::{self, acquire_slot::OnConflict, flow_answer::Answer, flow_command::Command};

use super::{FlowAnswer, FlowCommand, SlotAnswer, SlotConflict, SlotKey, SlotRun, SlotStatus, slots::Claim};
use crate::{
    codec::{self, CodecError},
    limits::LimitSpec,
};

/// A command as a message.
pub(crate) fn command_to_proto(command: &FlowCommand) -> log::FlowCommand {
    let by = |principal| Some(codec::principal_to_proto(principal));
    let command = match command {
        FlowCommand::AcquireSlot { key, limit, run, on_conflict, begins } => Command::AcquireSlot(log::AcquireSlot {
            namespace: key.namespace.clone(),
            workflow: key.workflow.clone(),
            key: key.key.clone(),
            limit: *limit,
            run_uid: uid_bytes(run.uid),
            run_id: run.run_id.clone(),
            shard: run.shard,
            claim: run.claim,
            on_conflict: conflict_to_proto(*on_conflict).into(),
            begins_ms: begins.map(|started| started.0),
        }),
        FlowCommand::ReleaseSlot { uid, claim } => Command::ReleaseSlot(log::ReleaseSlot { run_uid: uid_bytes(*uid), claim: *claim }),
        FlowCommand::PutLimit { limit, principal } => {
            Command::PutLimit(log::PutLimit { limit: Some(limit.to_proto()), principal: by(principal) })
        }
        FlowCommand::DeleteLimit { name, principal } => {
            Command::DeleteLimit(log::DeleteLimit { name: name.clone(), principal: by(principal) })
        }
        FlowCommand::SetQueuePaused { queue, on, principal, reason } => Command::SetQueuePaused(log::SetQueuePaused {
            queue: queue.clone(),
            paused: *on,
            principal: by(principal),
            reason: reason.clone(),
        }),
        FlowCommand::SetWorkflowPaused { namespace, workflow, on, principal, reason } => {
            Command::SetWorkflowPaused(log::SetWorkflowPaused {
                namespace: namespace.clone(),
                workflow: workflow.clone(),
                paused: *on,
                principal: by(principal),
                reason: reason.clone(),
            })
        }
        FlowCommand::SetWorkerDrained { worker, on, principal, reason } => Command::SetWorkerDrained(log::SetWorkerDrained {
            worker: worker.clone(),
            drained: *on,
            principal: by(principal),
            reason: reason.clone(),
        }),
    };
    log::FlowCommand { command: Some(command) }
}

/// The command of a message.
pub(crate) fn command_from_proto(proto: log::FlowCommand) -> Result<FlowCommand, CodecError> {
    let who = |principal: Option<_>| principal.map(codec::principal_from_proto).unwrap_or_default();
    Ok(match proto.command.ok_or(CodecError::UnknownKind { what: "flow command" })? {
        Command::AcquireSlot(acquire) => FlowCommand::AcquireSlot {
            on_conflict: match acquire.on_conflict() {
                OnConflict::Queue => SlotConflict::Queue,
                OnConflict::Reject => SlotConflict::Reject,
                OnConflict::Replace => SlotConflict::Replace,
                OnConflict::Unspecified => {
                    return Err(CodecError::UnknownValue { what: "conflict policy", value: acquire.on_conflict });
                }
            },
            limit: acquire.limit,
            begins: acquire.begins_ms.map(Timestamp),
            run: SlotRun {
                uid: uid(&acquire.run_uid)?,
                run_id: acquire.run_id,
                shard: acquire.shard,
                claim: acquire.claim,
                since: Timestamp(0),
            },
            key: SlotKey { namespace: acquire.namespace, workflow: acquire.workflow, key: acquire.key },
        },
        Command::ReleaseSlot(release) => FlowCommand::ReleaseSlot { uid: uid(&release.run_uid)?, claim: release.claim },
        Command::PutLimit(put) => FlowCommand::PutLimit {
            limit: LimitSpec::from_proto(put.limit.ok_or(CodecError::Missing { what: "command PutLimit", field: "limit" })?)?,
            principal: who(put.principal),
        },
        Command::DeleteLimit(delete) => FlowCommand::DeleteLimit { name: delete.name, principal: who(delete.principal) },
        Command::SetQueuePaused(set) => {
            FlowCommand::SetQueuePaused { queue: set.queue, on: set.paused, principal: who(set.principal), reason: set.reason }
        }
        Command::SetWorkflowPaused(set) => FlowCommand::SetWorkflowPaused {
            namespace: set.namespace,
            workflow: set.workflow,
            on: set.paused,
            principal: who(set.principal),
            reason: set.reason,
        },
        Command::SetWorkerDrained(set) => {
            FlowCommand::SetWorkerDrained { worker: set.worker, on: set.drained, principal: who(set.principal), reason: set.reason }
        }
    })
}

/// An answer as a message.
pub(crate) fn answer_to_proto(answer: &FlowAnswer) -> log::FlowAnswer {
    let answer = match answer {
        FlowAnswer::Slot(slot) => Answer::Slot(log::SlotAnswer {
            status: status_to_proto(slot.status).into(),
            replaces: slot
                .replaces
                .iter()
                .map(|run| log::SlotRun {
                    run_uid: uid_bytes(run.uid),
                    run_id: run.run_id.clone(),
                    shard: run.shard,
                    claim: run.claim,
                    since_ms: run.since.0,
                })
                .collect(),
        }),
        FlowAnswer::Changed { changed, revision, more } => {
            Answer::Changed(log::FlowChanged { changed: *changed, revision: *revision, more: *more })
        }
    };
    log::FlowAnswer { answer: Some(answer) }
}

/// The answer of a message.
pub(crate) fn answer_from_proto(proto: log::FlowAnswer) -> Result<FlowAnswer, CodecError> {
    Ok(match proto.answer.ok_or(CodecError::UnknownKind { what: "flow answer" })? {
        Answer::Slot(slot) => FlowAnswer::Slot(SlotAnswer {
            status: status_from_proto(slot.status)?,
            replaces: slot
                .replaces
                .into_iter()
                .map(|run| {
                    let since = Timestamp(run.since_ms);
                    Ok(SlotRun { uid: uid(&run.run_uid)?, run_id: run.run_id, shard: run.shard, claim: run.claim, since })
                })
                .collect::<Result<_, CodecError>>()?,
        }),
        Answer::Changed(changed) => FlowAnswer::Changed { changed: changed.changed, revision: changed.revision, more: changed.more },
    })
}

pub(super) fn claim_to_proto(claim: &Claim) -> log::StoredSlotClaim {
    log::StoredSlotClaim {
        claim: claim.run.claim,
        status: status_to_proto(claim.status).into(),
        namespace: claim.key.namespace.clone(),
        workflow: claim.key.workflow.clone(),
        key: claim.key.key.clone(),
        place: claim.place,
        run_id: claim.run.run_id.clone(),
        shard: claim.run.shard,
        since_ms: claim.run.since.0,
        limit: claim.limit,
        on_conflict: conflict_to_proto(claim.on_conflict).into(),
        begins_ms: claim.begins.map(|started| started.0),
    }
}

pub(super) fn claim_from_proto(uid: RunUid, proto: log::StoredSlotClaim) -> Result<Claim, CodecError> {
    Ok(Claim {
        status: status_from_proto(proto.status)?,
        limit: proto.limit,
        on_conflict: match proto.on_conflict() {
            // Claims of older versions don't say it: they are never parked, so that nobody reads it.
            OnConflict::Unspecified | OnConflict::Queue => SlotConflict::Queue,
            OnConflict::Reject => SlotConflict::Reject,
            OnConflict::Replace => SlotConflict::Replace,
        },
        begins: proto.begins_ms.map(Timestamp),
        key: SlotKey { namespace: proto.namespace, workflow: proto.workflow, key: proto.key },
        run: SlotRun { uid, run_id: proto.run_id, shard: proto.shard, claim: proto.claim, since: Timestamp(proto.since_ms) },
        place: proto.place,
    })
}

fn conflict_to_proto(on_conflict: SlotConflict) -> OnConflict {
    match on_conflict {
        SlotConflict::Queue => OnConflict::Queue,
        SlotConflict::Reject => OnConflict::Reject,
        SlotConflict::Replace => OnConflict::Replace,
    }
}

fn status_to_proto(status: SlotStatus) -> log::SlotStatus {
    match status {
        SlotStatus::Held => log::SlotStatus::Held,
        SlotStatus::Waiting => log::SlotStatus::Waiting,
        SlotStatus::Refused => log::SlotStatus::Refused,
        SlotStatus::Released => log::SlotStatus::Released,
        SlotStatus::Parked => log::SlotStatus::Parked,
    }
}

fn status_from_proto(value: i32) -> Result<SlotStatus, CodecError> {
    Ok(match log::SlotStatus::try_from(value) {
        Ok(log::SlotStatus::Held) => SlotStatus::Held,
        Ok(log::SlotStatus::Waiting) => SlotStatus::Waiting,
        Ok(log::SlotStatus::Refused) => SlotStatus::Refused,
        Ok(log::SlotStatus::Released) => SlotStatus::Released,
        Ok(log::SlotStatus::Parked) => SlotStatus::Parked,
        Ok(log::SlotStatus::Unspecified) | Err(_) => return Err(CodecError::UnknownValue { what: "slot status", value }),
    })
}

fn uid(bytes: &[u8]) -> Result<RunUid, CodecError> {
    RunUid::from_bytes(bytes).ok_or(CodecError::Length { what: "run uid", expected: 16, actual: bytes.len() })
}

fn uid_bytes(uid: RunUid) -> Bytes {
    Bytes::copy_from_slice(&uid.to_bytes())
}
