//! Commands of the system group, and its answers.

use bytes::Bytes;
use prost::Message;
use quorus_engine::Timestamp;
use quorus_proto::log::{self, node_address_updated::Verdict, system_answer::Answer, system_record::Command};

use super::{CodecError, cluster_from_proto, cluster_to_proto, decode, digest_from_proto, principal_from_proto, principal_to_proto};
use crate::system::{self, AddressVerdict, SystemAnswer, SystemCommand, WorkflowApplied};

/// The command as a record.
pub fn encode_system_command(command: &SystemCommand, time: Timestamp) -> Bytes {
    let command = match command {
        SystemCommand::ApplyWorkflow { namespace, name, workflow, digest, principal } => Command::ApplyWorkflow(log::ApplyWorkflow {
            namespace: namespace.clone(),
            name: name.clone(),
            workflow: workflow.clone(),
            digest: Bytes::copy_from_slice(digest),
            principal: Some(principal_to_proto(principal)),
        }),
        SystemCommand::DeleteWorkflow { namespace, name, principal } => Command::DeleteWorkflow(log::DeleteWorkflow {
            namespace: namespace.clone(),
            name: name.clone(),
            principal: Some(principal_to_proto(principal)),
        }),
        SystemCommand::RegisterCluster(cluster) => {
            Command::RegisterCluster(log::RegisterCluster { cluster: Some(cluster_to_proto(cluster)) })
        }
        SystemCommand::UpdateNodeAddress { node, address, incarnation } => Command::UpdateNodeAddress(log::UpdateNodeAddress {
            node_id: *node,
            address: address.clone(),
            incarnation: incarnation.clone(),
        }),
        SystemCommand::ApplySchedule(command) => Command::ApplySchedule(command.clone()),
        SystemCommand::ChangeSchedule(command) => Command::ChangeSchedule((**command).clone()),
        SystemCommand::ApplyTrigger(command) => Command::ApplyTrigger(command.clone()),
        SystemCommand::ChangeTrigger(command) => Command::ChangeTrigger(command.clone()),
        SystemCommand::Flow(command) => Command::Flow(system::command_to_proto(command)),
    };
    log::SystemRecord { time_ms: time.0, command: Some(command) }.encode_to_vec().into()
}

/// The command of a record, and when it was proposed.
pub fn decode_system_command(record: Bytes) -> Result<(Timestamp, SystemCommand), CodecError> {
    let proto: log::SystemRecord = decode("system record", record)?;
    let command = match proto.command.ok_or(CodecError::UnknownKind { what: "system record" })? {
        Command::ApplyWorkflow(command) => SystemCommand::ApplyWorkflow {
            namespace: command.namespace,
            name: command.name,
            workflow: command.workflow,
            digest: digest_from_proto(&command.digest)?,
            principal: command.principal.map(principal_from_proto).unwrap_or_default(),
        },
        Command::DeleteWorkflow(command) => SystemCommand::DeleteWorkflow {
            namespace: command.namespace,
            name: command.name,
            principal: command.principal.map(principal_from_proto).unwrap_or_default(),
        },
        Command::RegisterCluster(command) => SystemCommand::RegisterCluster(cluster_from_proto(
            command.cluster.ok_or(CodecError::Missing { what: "command RegisterCluster", field: "cluster" })?,
        )),
        Command::UpdateNodeAddress(command) => {
            SystemCommand::UpdateNodeAddress { node: command.node_id, address: command.address, incarnation: command.incarnation }
        }
        Command::ApplySchedule(command) => SystemCommand::ApplySchedule(command),
        Command::ChangeSchedule(command) => {
            command.change.as_ref().ok_or(CodecError::UnknownKind { what: "change of a schedule" })?;
            SystemCommand::ChangeSchedule(command.into())
        }
        Command::ApplyTrigger(command) => SystemCommand::ApplyTrigger(command),
        Command::ChangeTrigger(command) => {
            command.change.as_ref().ok_or(CodecError::UnknownKind { what: "change of a trigger" })?;
            SystemCommand::ChangeTrigger(command)
        }
        Command::Flow(command) => SystemCommand::Flow(system::command_from_proto(command)?),
    };
    Ok((Timestamp(proto.time_ms), command))
}

/// The answer as bytes.
pub fn encode_system_answer(answer: &SystemAnswer) -> Bytes {
    let answer = match answer {
        SystemAnswer::WorkflowApplied(applied) => Answer::WorkflowApplied(log::WorkflowApplied {
            version: applied.version,
            changed: applied.changed,
            revision: applied.revision,
            applied_at_ms: applied.applied_at.0,
            applied_by: Some(principal_to_proto(&applied.applied_by)),
        }),
        SystemAnswer::WorkflowDeleted { existed, revision } => {
            Answer::WorkflowDeleted(log::WorkflowDeleted { existed: *existed, revision: *revision })
        }
        SystemAnswer::ClusterRegistered { cluster_id, changed } => {
            Answer::ClusterRegistered(log::ClusterRegistered { cluster_id: cluster_id.clone(), changed: *changed })
        }
        SystemAnswer::NodeAddress(verdict) => {
            let verdict = match verdict {
                AddressVerdict::Updated => Verdict::Updated,
                AddressVerdict::Unchanged => Verdict::Unchanged,
                AddressVerdict::UnknownNode => Verdict::UnknownNode,
                AddressVerdict::OtherIncarnation => Verdict::OtherIncarnation,
            };
            Answer::NodeAddressUpdated(log::NodeAddressUpdated { verdict: verdict.into() })
        }
        SystemAnswer::Schedule(changed) => Answer::ScheduleChanged((**changed).clone()),
        SystemAnswer::Trigger(changed) => Answer::TriggerChanged((**changed).clone()),
        SystemAnswer::Flow(answer) => Answer::Flow(system::answer_to_proto(answer)),
    };
    log::SystemAnswer { answer: Some(answer) }.encode_to_vec().into()
}

/// The answer of these bytes.
pub fn decode_system_answer(bytes: Bytes) -> Result<SystemAnswer, CodecError> {
    let proto: log::SystemAnswer = decode("system answer", bytes)?;
    Ok(match proto.answer.ok_or(CodecError::UnknownKind { what: "system answer" })? {
        Answer::WorkflowApplied(answer) => SystemAnswer::WorkflowApplied(WorkflowApplied {
            version: answer.version,
            changed: answer.changed,
            revision: answer.revision,
            applied_at: Timestamp(answer.applied_at_ms),
            applied_by: answer.applied_by.map(principal_from_proto).unwrap_or_default(),
        }),
        Answer::WorkflowDeleted(answer) => SystemAnswer::WorkflowDeleted { existed: answer.existed, revision: answer.revision },
        Answer::ClusterRegistered(answer) => SystemAnswer::ClusterRegistered { cluster_id: answer.cluster_id, changed: answer.changed },
        Answer::ScheduleChanged(changed) => SystemAnswer::Schedule(changed.into()),
        Answer::TriggerChanged(changed) => SystemAnswer::Trigger(changed.into()),
        Answer::Flow(answer) => SystemAnswer::Flow(system::answer_from_proto(answer)?),
        Answer::NodeAddressUpdated(answer) => SystemAnswer::NodeAddress(match Verdict::try_from(answer.verdict) {
            Ok(Verdict::Updated) => AddressVerdict::Updated,
            Ok(Verdict::Unchanged) => AddressVerdict::Unchanged,
            Ok(Verdict::UnknownNode) => AddressVerdict::UnknownNode,
            Ok(Verdict::OtherIncarnation) => AddressVerdict::OtherIncarnation,
            Ok(Verdict::Unspecified) | Err(_) => {
                return Err(CodecError::UnknownValue { what: "verdict", value: answer.verdict });
            }
        }),
    })
}
