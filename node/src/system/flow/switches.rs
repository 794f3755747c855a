//! Limits, paused queues and workflows, and drained workers: few, so every node has all of them in memory.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Principal, Timestamp};
use quorus_proto::log;
use quorus_raft::Index;

use crate::{
    codec::{self, CodecError},
    limits::LimitSpec,
    store::{
        StoreError,
        key::{Family, KeyReader, KeyWriter},
        reader::Reader,
    },
    system::{SYSTEM_GROUP, overlay::Overlay},
};

/// What every node has in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowState {
    /// By name.
    pub limits: BTreeMap<String, StoredLimit>,
    /// Queues whose tasks are not leased.
    pub paused_queues: BTreeMap<String, Switch>,
    /// Workers that get no tasks, by name.
    pub drained_workers: BTreeMap<String, Switch>,
    /// Workflows whose runs don't begin, by namespace and name.
    pub paused_workflows: BTreeMap<(String, String), Switch>,
}

/// A limit in force.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLimit {
    /// The limit.
    pub limit: LimitSpec,
    /// When it was made or changed.
    pub changed_at: Timestamp,
    /// Who did it.
    pub changed_by: Principal,
    /// Position of the change.
    pub revision: Index,
}

/// Something that an operator has stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Switch {
    /// When.
    pub since: Timestamp,
    /// Who.
    pub by: Principal,
    /// Why.
    pub reason: String,
}

impl FlowState {
    /// Reads everything.
    pub(in crate::system) fn read(reader: &(impl Reader + ?Sized)) -> Result<Self, StoreError> {
        let mut state = Self::default();
        visit(reader, Family::Limit, |name, value| {
            state.limits.insert(name, decode_limit(value)?);
            Ok(())
        })?;
        visit(reader, Family::PausedQueue, |queue, value| {
            state.paused_queues.insert(queue, decode_switch(value)?);
            Ok(())
        })?;
        visit(reader, Family::DrainedWorker, |worker, value| {
            state.drained_workers.insert(worker, decode_switch(value)?);
            Ok(())
        })?;
        reader.visit(&KeyWriter::new(SYSTEM_GROUP, Family::PausedWorkflow, 0).range(), |key, value| {
            let mut key = KeyReader::new(key)?;
            let workflow = (key.text()?, key.last_text()?.to_owned());
            state.paused_workflows.insert(workflow, decode_switch(Bytes::copy_from_slice(value))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(state)
    }

    /// Who paused a workflow, since when and why; `None` if nobody did.
    pub fn paused_workflow(&self, namespace: &str, workflow: &str) -> Option<&Switch> {
        if self.paused_workflows.is_empty() {
            return None;
        }
        self.paused_workflows.get(&(namespace.to_owned(), workflow.to_owned()))
    }
}

pub(super) fn put_limit(
    overlay: &mut Overlay<'_>,
    index: Index,
    time: Timestamp,
    limit: LimitSpec,
    principal: Principal,
) -> Result<bool, StoreError> {
    let key = key(Family::Limit, &limit.name);
    if let Some(bytes) = overlay.get(&key)?
        && decode_limit(bytes)?.limit == limit
    {
        return Ok(false);
    }
    let stored = log::StoredLimit {
        limit: Some(limit.to_proto()),
        changed_at_ms: time.0,
        changed_by: Some(codec::principal_to_proto(&principal)),
        revision: index,
    };
    overlay.put(key, stored.encode_to_vec().into());
    Ok(true)
}

pub(super) fn delete_limit(overlay: &mut Overlay<'_>, name: &str) -> Result<bool, StoreError> {
    let key = key(Family::Limit, name);
    let existed = overlay.get(&key)?.is_some();
    if existed {
        overlay.delete(key);
    }
    Ok(existed)
}

/// Sets or removes a switch; true if it was otherwise before.
pub(super) fn set(overlay: &mut Overlay<'_>, key: Bytes, on: bool, switch: Switch) -> Result<bool, StoreError> {
    if overlay.get(&key)?.is_some() == on {
        return Ok(false);
    }
    if on {
        let by = Some(codec::principal_to_proto(&switch.by));
        overlay.put(key, log::StoredSwitch { since_ms: switch.since.0, by, reason: switch.reason }.encode_to_vec().into());
    } else {
        overlay.delete(key);
    }
    Ok(true)
}

pub(super) fn paused_key(queue: &str) -> Bytes {
    key(Family::PausedQueue, queue)
}

pub(super) fn drained_key(worker: &str) -> Bytes {
    key(Family::DrainedWorker, worker)
}

pub(super) fn paused_workflow_key(namespace: &str, workflow: &str) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::PausedWorkflow, namespace.len() + 1 + workflow.len())
        .text(namespace)
        .last(workflow.as_bytes())
        .finish()
}

fn key(family: Family, name: &str) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, family, name.len()).last(name.as_bytes()).finish()
}

fn visit(
    reader: &(impl Reader + ?Sized),
    family: Family,
    mut each: impl FnMut(String, Bytes) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    reader.visit(&KeyWriter::new(SYSTEM_GROUP, family, 0).range(), |key, value| {
        each(KeyReader::new(key)?.last_text()?.to_owned(), Bytes::copy_from_slice(value))?;
        Ok(ControlFlow::Continue(()))
    })
}

fn decode_limit(bytes: Bytes) -> Result<StoredLimit, CodecError> {
    let proto: log::StoredLimit = codec::decode("limit", bytes)?;
    Ok(StoredLimit {
        limit: LimitSpec::from_proto(proto.limit.ok_or(CodecError::Missing { what: "limit", field: "limit" })?)?,
        changed_at: Timestamp(proto.changed_at_ms),
        changed_by: proto.changed_by.map(codec::principal_from_proto).unwrap_or_default(),
        revision: proto.revision,
    })
}

fn decode_switch(bytes: Bytes) -> Result<Switch, CodecError> {
    let proto: log::StoredSwitch = codec::decode("switch", bytes)?;
    Ok(Switch { since: Timestamp(proto.since_ms), by: proto.by.map(codec::principal_from_proto).unwrap_or_default(), reason: proto.reason })
}
