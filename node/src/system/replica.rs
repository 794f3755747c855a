//! The state machine of the system group: each command is decided here, by rules that are kept for ever.

use std::sync::Arc;

use bytes::Bytes;
use quorus_engine::{Principal, Timestamp};
use quorus_raft::{ApplyError, Entry, Index, NodeId, StateMachine, disk::Batch};

use super::{
    AddressVerdict, ClusterInfo, SystemAnswer, SystemCommand, SystemStore, WorkflowApplied, WorkflowVersion, cluster, flow,
    overlay::Overlay,
    revision, schedule, trigger,
    workflow::{self, WorkflowName},
};
use crate::{codec, crash_point, store::StoreError};

/// Applies the commands of the system group.
pub struct SystemReplica {
    store: SystemStore,
    /// Written, but not published yet.
    pending: Pending,
}

#[derive(Default)]
struct Pending {
    cluster: Option<Arc<ClusterInfo>>,
    revision: Index,
    /// Somebody changed a schedule; decisions of the leader don't count.
    schedules: bool,
    flow: flow::Changes,
}

/// One command's place and time.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) index: Index,
    pub(super) time: Timestamp,
}

impl SystemReplica {
    /// The state machine that writes what this store reads.
    pub fn new(store: SystemStore) -> Self {
        Self { store, pending: Pending::default() }
    }
}

impl StateMachine for SystemReplica {
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        crash_point::stalled();
        let mut overlay = Overlay::new(self.store.disk());
        let mut pending = Pending::default();
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            let (time, command) = SystemCommand::decode(entry.record.clone())
                .map_err(|error| ApplyError::with_source(format!("group 0: record {} can't be applied", entry.index), error))?;
            let at = At { index: entry.index, time };
            let answer = match command {
                SystemCommand::ApplyWorkflow { namespace, name, workflow, digest, principal } => {
                    let applied = apply_workflow(&mut overlay, at, &namespace, &name, workflow, digest, principal)?;
                    SystemAnswer::WorkflowApplied(applied)
                }
                SystemCommand::DeleteWorkflow { namespace, name, principal: _ } => {
                    let existed = delete_workflow(&mut overlay, &namespace, &name)?;
                    // A pause is of a workflow that is there; what is parked asks again, and is let in.
                    pending.flow.switched |= existed && flow::end_pause(&mut overlay, &namespace, &name)?;
                    SystemAnswer::WorkflowDeleted { existed, revision: at.index }
                }
                SystemCommand::RegisterCluster(wanted) => register_cluster(&mut overlay, wanted, &mut pending)?,
                SystemCommand::UpdateNodeAddress { node, address, incarnation } => {
                    SystemAnswer::NodeAddress(update_address(&mut overlay, node, address, &incarnation, &mut pending)?)
                }
                SystemCommand::ApplySchedule(command) => {
                    pending.schedules = true;
                    SystemAnswer::Schedule(schedule::apply(&mut overlay, at, command)?.into())
                }
                SystemCommand::ChangeSchedule(command) => {
                    pending.schedules |= !schedule::is_decision(&command);
                    SystemAnswer::Schedule(schedule::change(&mut overlay, at, *command)?.into())
                }
                SystemCommand::ApplyTrigger(command) => SystemAnswer::Trigger(trigger::apply(&mut overlay, at, command)?.into()),
                SystemCommand::ChangeTrigger(command) => SystemAnswer::Trigger(trigger::change(&mut overlay, at, command)?.into()),
                SystemCommand::Flow(command) => {
                    SystemAnswer::Flow(flow::apply(&mut overlay, at.index, at.time, command, &mut pending.flow)?)
                }
            };
            answers.push(answer.encode());
            pending.revision = entry.index;
        }
        if !entries.is_empty() {
            overlay.put(revision::key(), revision::encode(pending.revision));
        }
        overlay.write(batch);
        self.pending = pending;
        Ok(answers)
    }

    fn applied(&mut self, _index: Index) {
        let Pending { cluster, revision, schedules, flow } = std::mem::take(&mut self.pending);
        self.store.publish_flow(flow);
        self.store.publish(cluster, revision);
        if schedules {
            self.store.schedules_changed();
        }
    }

    fn restored(&mut self) -> Result<(), ApplyError> {
        self.pending = Pending::default();
        Ok(self.store.reload()?)
    }
}

fn apply_workflow(
    overlay: &mut Overlay<'_>,
    at: At,
    namespace: &str,
    name: &str,
    definition: Bytes,
    digest: [u8; 32],
    principal: Principal,
) -> Result<WorkflowApplied, StoreError> {
    let name_key = workflow::name_key(namespace, name);
    let known = overlay.get(&name_key)?.map(workflow::decode_name).transpose()?.unwrap_or_default();
    if known.latest_digest == Some(digest)
        && let Some(bytes) = overlay.get(&workflow::version_key(namespace, name, known.latest_version))?
    {
        let latest = workflow::decode_version(namespace, name, bytes)?;
        return Ok(applied(latest, false));
    }
    let version = WorkflowVersion {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        version: known.latest_version + 1,
        workflow: definition,
        digest,
        applied_at: at.time,
        applied_by: principal,
        revision: at.index,
    };
    let known = WorkflowName {
        latest_version: version.version,
        latest_digest: Some(digest),
        first_version: if known.latest_digest.is_some() { known.first_version } else { version.version },
    };
    overlay.put(name_key, workflow::encode_name(&known));
    overlay.put(workflow::version_key(namespace, name, version.version), workflow::encode_version(&version));
    Ok(applied(version, true))
}

fn applied(version: WorkflowVersion, changed: bool) -> WorkflowApplied {
    WorkflowApplied {
        version: version.version,
        changed,
        revision: version.revision,
        applied_at: version.applied_at,
        applied_by: version.applied_by,
    }
}

fn delete_workflow(overlay: &mut Overlay<'_>, namespace: &str, name: &str) -> Result<bool, StoreError> {
    let name_key = workflow::name_key(namespace, name);
    let Some(known) = overlay.get(&name_key)?.map(workflow::decode_name).transpose()? else { return Ok(false) };
    if known.latest_digest.is_none() {
        return Ok(false);
    }
    for version in known.first_version..=known.latest_version {
        overlay.delete(workflow::version_key(namespace, name, version));
    }
    overlay.put(name_key, workflow::encode_name(&WorkflowName { latest_digest: None, ..known }));
    Ok(true)
}

fn register_cluster(overlay: &mut Overlay<'_>, wanted: ClusterInfo, pending: &mut Pending) -> Result<SystemAnswer, StoreError> {
    if let Some(bytes) = overlay.get(&cluster::key())? {
        let registered = codec::decode_cluster(bytes)?;
        return Ok(SystemAnswer::ClusterRegistered { cluster_id: registered.cluster_id, changed: false });
    }
    let answer = SystemAnswer::ClusterRegistered { cluster_id: wanted.cluster_id.clone(), changed: true };
    put_cluster(overlay, wanted, pending);
    Ok(answer)
}

fn update_address(
    overlay: &mut Overlay<'_>,
    node: NodeId,
    address: String,
    incarnation: &str,
    pending: &mut Pending,
) -> Result<AddressVerdict, StoreError> {
    let Some(bytes) = overlay.get(&cluster::key())? else { return Ok(AddressVerdict::UnknownNode) };
    let mut cluster = codec::decode_cluster(bytes)?;
    let Some(known) = cluster.nodes.get_mut(&node) else { return Ok(AddressVerdict::UnknownNode) };
    if known.incarnation != incarnation {
        return Ok(AddressVerdict::OtherIncarnation);
    }
    if known.address == address {
        return Ok(AddressVerdict::Unchanged);
    }
    known.address = address;
    put_cluster(overlay, cluster, pending);
    Ok(AddressVerdict::Updated)
}

fn put_cluster(overlay: &mut Overlay<'_>, cluster: ClusterInfo, pending: &mut Pending) {
    overlay.put(cluster::key(), codec::encode_cluster(&cluster));
    pending.cluster = Some(Arc::new(cluster));
}
