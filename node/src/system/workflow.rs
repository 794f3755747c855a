//! Workflows: a small record per name, and one per version.
//!
//! The record of a name outlives a deletion, so that version numbers never come back: a run names its workflow's version, and that must mean one thing.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;
use quorus_engine::{Principal, Timestamp};
use quorus_proto::log;
use quorus_raft::Index;

use super::SYSTEM_GROUP;
use crate::{
    codec::{self, CodecError},
    store::{
        StoreError,
        key::{Family, KeyReader, KeyWriter},
        reader::Reader,
    },
};

/// A definition that was applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkflowVersion {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its number: 1 for the first, then rising.
    pub version: u64,
    /// Encoded `v1.Workflow`.
    pub workflow: Bytes,
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// When it was applied.
    pub applied_at: Timestamp,
    /// Who applied it.
    pub applied_by: Principal,
    /// Position of the change.
    pub revision: Index,
}

/// A part of the list of workflows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkflowPage {
    /// The latest version of each, by name.
    pub workflows: Vec<WorkflowVersion>,
    /// Name after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A part of the list of a workflow's versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionPage {
    /// The newest first. Empty if there is no such workflow.
    pub versions: Vec<WorkflowVersion>,
    /// The next page begins before this version; `None` at the end.
    pub next: Option<u64>,
}

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkflowName {
    pub(super) latest_version: u64,
    /// `None` while deleted.
    pub(super) latest_digest: Option<[u8; 32]>,
    /// Versions before it were deleted.
    pub(super) first_version: u64,
}

pub(super) fn name_key(namespace: &str, name: &str) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::Workflow, namespace.len() + 1 + name.len()).text(namespace).last(name.as_bytes()).finish()
}

pub(super) fn version_key(namespace: &str, name: &str, version: u64) -> Bytes {
    KeyWriter::new(SYSTEM_GROUP, Family::WorkflowVersion, namespace.len() + name.len() + 10)
        .text(namespace)
        .text(name)
        .number(version)
        .finish()
}

pub(super) fn encode_name(name: &WorkflowName) -> Bytes {
    log::StoredWorkflow {
        latest_version: name.latest_version,
        latest_digest: name.latest_digest.map(|digest| Bytes::copy_from_slice(&digest)).unwrap_or_default(),
        deleted: name.latest_digest.is_none(),
        first_version: name.first_version,
    }
    .encode_to_vec()
    .into()
}

pub(super) fn decode_name(bytes: Bytes) -> Result<WorkflowName, CodecError> {
    let proto: log::StoredWorkflow = codec::decode("workflow", bytes)?;
    let latest_digest = if proto.deleted { None } else { Some(codec::digest_from_proto(&proto.latest_digest)?) };
    Ok(WorkflowName { latest_version: proto.latest_version, latest_digest, first_version: proto.first_version })
}

pub(super) fn encode_version(version: &WorkflowVersion) -> Bytes {
    log::StoredWorkflowVersion {
        version: version.version,
        workflow: version.workflow.clone(),
        digest: Bytes::copy_from_slice(&version.digest),
        applied_at_ms: version.applied_at.0,
        applied_by: Some(codec::principal_to_proto(&version.applied_by)),
        revision: version.revision,
    }
    .encode_to_vec()
    .into()
}

pub(super) fn decode_version(namespace: &str, name: &str, bytes: Bytes) -> Result<WorkflowVersion, CodecError> {
    let proto: log::StoredWorkflowVersion = codec::decode("workflow version", bytes)?;
    Ok(WorkflowVersion {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        version: proto.version,
        digest: codec::digest_from_proto(&proto.digest)?,
        workflow: proto.workflow,
        applied_at: Timestamp(proto.applied_at_ms),
        applied_by: proto.applied_by.map(codec::principal_from_proto).unwrap_or_default(),
        revision: proto.revision,
    })
}

/// A version; 0 is the latest.
pub(super) fn get(
    reader: &(impl Reader + ?Sized),
    namespace: &str,
    name: &str,
    version: u64,
) -> Result<Option<WorkflowVersion>, StoreError> {
    let version = if version == 0 {
        let Some(bytes) = reader.read(&name_key(namespace, name))? else { return Ok(None) };
        let name = decode_name(bytes)?;
        if name.latest_digest.is_none() {
            return Ok(None);
        }
        name.latest_version
    } else {
        version
    };
    let bytes = reader.read(&version_key(namespace, name, version))?;
    Ok(bytes.map(|bytes| decode_version(namespace, name, bytes)).transpose()?)
}

/// At most `limit` workflows whose names come after `after`.
pub(super) fn page(
    reader: &(impl Reader + ?Sized),
    namespace: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<WorkflowPage, StoreError> {
    let (first, end) = KeyWriter::new(SYSTEM_GROUP, Family::Workflow, namespace.len() + 1).text(namespace).range();
    let from = after.map_or(first, |after| [name_key(namespace, after).as_ref(), &[0]].concat().into());
    let mut page = WorkflowPage::default();
    if limit == 0 {
        return Ok(page);
    }
    reader.visit(&(from, end), |key, value| {
        let mut key = KeyReader::new(key)?;
        key.text()?;
        let name = key.last_text()?;
        if decode_name(Bytes::copy_from_slice(value))?.latest_digest.is_none() {
            return Ok(ControlFlow::Continue(()));
        }
        if page.workflows.len() == limit {
            page.next = page.workflows.last().map(|workflow| workflow.name.clone());
            return Ok(ControlFlow::Break(()));
        }
        page.workflows.extend(get(reader, namespace, name, 0)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// At most `limit` versions older than `before` (0: all), the newest first. Each is read by its key: versions are numbered without gaps.
pub(super) fn versions(
    reader: &(impl Reader + ?Sized),
    namespace: &str,
    name: &str,
    before: u64,
    limit: usize,
) -> Result<VersionPage, StoreError> {
    let mut page = VersionPage::default();
    let Some(known) = reader.read(&name_key(namespace, name))?.map(decode_name).transpose()? else { return Ok(page) };
    if known.latest_digest.is_none() {
        return Ok(page);
    }
    let mut number = if before == 0 { known.latest_version } else { known.latest_version.min(before - 1) };
    while number >= known.first_version.max(1) {
        if page.versions.len() == limit {
            page.next = page.versions.last().map(|version| version.version);
            break;
        }
        page.versions.extend(get(reader, namespace, name, number)?);
        number -= 1;
    }
    Ok(page)
}
