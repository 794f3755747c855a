//! A replica as it is on disk at one moment, piece by piece: what [`super::Audit`] streams, and what a simulation reads from its disks.
//!
//! Two passes over one view: the first makes the digest and counts the runs, the second shows the runs. Each step reads a bounded piece, so that the
//! caller can let others go between, and at most one piece is in memory.
//!
//! Invariant: the digest is over everything that the replica derived from its log and nothing else, so replicas with the same index have the same.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use quorus_engine::RunUid;
use quorus_proto::v1::{self, export_replica_response::Part};
use quorus_raft::{
    AppliedState, GroupId, NodeId, applied_state,
    disk::{Disk, View},
};
use sha2::{Digest, Sha256};

use super::{history_event, schemas, to_proto};
use crate::{
    leader::PlanCache,
    replica::hash_row,
    store::{
        ShardStore, StoreError, history,
        key::{Family, KeyReader, KeyWriter, prefix_end},
        list,
        reader::Reader,
    },
};

/// Bytes of state that are hashed in a step, about.
const HASHED_BYTES: usize = 256 * 1024;
/// Keys that are hashed in a step: small ones cost more than their bytes.
const HASHED_KEYS: usize = 2_000;
/// Events of a message.
const EVENTS_MAX: usize = 500;
/// Bytes of them, about: one event may be larger, since payloads may.
const EVENTS_BYTES: usize = 1024 * 1024;

/// Why a replica can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is none.
    #[error("this node has no replica of shard {shard}")]
    NoReplica {
        /// Of which shard.
        shard: GroupId,
    },
    /// How far it is can't be read, or there is no whole state at the moment.
    #[error(transparent)]
    Raft(#[from] quorus_raft::Error),
    /// Its state can't be read.
    #[error("the replica can't be read")]
    Store(#[from] StoreError),
}

/// What a step led to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved on at once, and never kept")]
pub enum Progress {
    /// Nothing to show yet.
    Working,
    /// The next part of the export.
    Part(v1::ExportReplicaResponse),
    /// That was all.
    Done,
}

/// An export under way.
pub struct ReplicaExport {
    view: Box<dyn View>,
    /// Definitions only: they are stored under their digests, so they are the same at any moment.
    store: ShardStore,
    plans: PlanCache,
    node: NodeId,
    applied: AppliedState,
    stage: Stage,
}

enum Stage {
    Hashing {
        hash: Sha256,
        next: Bytes,
        runs: u64,
    },
    /// Looks for the first run from this key on.
    Runs {
        next: Bytes,
    },
    /// Shows the events of a run from this sequence on.
    Events {
        uid: RunUid,
        from: u64,
    },
    Done,
}

impl ReplicaExport {
    /// Begins an export of the replica of a shard on this disk, as it is now.
    ///
    /// # Errors
    /// If there is no replica, or it can't be read.
    pub fn open(disk: Arc<dyn Disk>, plans: PlanCache, node: NodeId, shard: GroupId) -> Result<Self, ExportError> {
        let view = disk.view();
        let applied = applied_state(&*view, shard)?.ok_or(ExportError::NoReplica { shard })?;
        let stage = Stage::Hashing { hash: Sha256::new(), next: Bytes::copy_from_slice(&shard.to_be_bytes()), runs: 0 };
        Ok(Self { view, store: ShardStore::new(disk, shard), plans, node, applied, stage })
    }

    /// Does a bounded piece of the work.
    ///
    /// # Errors
    /// If the replica can't be read.
    pub fn step(&mut self) -> Result<Progress, ExportError> {
        let shard = self.store.group();
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Hashing { mut hash, next, mut runs } => match self.hash_some(&mut hash, next, &mut runs)? {
                Some(next) => {
                    self.stage = Stage::Hashing { hash, next, runs };
                    Ok(Progress::Working)
                }
                None => {
                    hash.update(&self.applied.derived);
                    if shard > 0 {
                        self.stage = Stage::Runs { next: KeyWriter::new(shard, Family::Info, 0).finish() };
                    }
                    let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                    let AppliedState { replica: replica_id, term, index, .. } = self.applied;
                    Ok(part(Part::Head(v1::ReplicaHead { node_id: self.node, shard, replica_id, term, index, digest, runs })))
                }
            },
            Stage::Runs { next } => {
                let Some(uid) = self.first_run(next)? else { return Ok(Progress::Done) };
                let run = list::summary(&*self.view, shard, uid)?.ok_or(StoreError::Missing { what: "head", uid })?;
                self.stage = Stage::Events { uid, from: 1 };
                Ok(part(Part::Run(to_proto::run_summary(shard, &run.info, &run.head))))
            }
            Stage::Events { uid, from } => {
                let events = history::page_within(&*self.view, shard, uid, from, EVENTS_MAX, EVENTS_BYTES)?;
                let Some((last, _)) = events.last() else {
                    let own = KeyWriter::new(shard, Family::Info, 16).uid(uid).finish();
                    self.stage = Stage::Runs { next: prefix_end(&own) };
                    return Ok(Progress::Working);
                };
                self.stage = Stage::Events { uid, from: last + 1 };
                let mut wire: Vec<_> = events.iter().map(|(sequence, event)| history_event::event(*sequence, event)).collect();
                schemas::hide(&self.plans, &self.store, &events, &mut wire);
                Ok(part(Part::Events(v1::ReplicaEvents { run_uid: uid.to_string(), events: wire })))
            }
            Stage::Done => Ok(Progress::Done),
        }
    }

    /// Hashes a piece of the state; returns where the next one begins.
    fn hash_some(&self, hash: &mut Sha256, from: Bytes, runs: &mut u64) -> Result<Option<Bytes>, StoreError> {
        let shard = self.store.group();
        let end = prefix_end(&shard.to_be_bytes());
        let (mut bytes, mut keys, mut next) = (0, 0, None);
        self.view.visit(&(from, end), |key, value| {
            if bytes >= HASHED_BYTES || keys == HASHED_KEYS {
                next = Some(Bytes::copy_from_slice(key));
                return Ok(ControlFlow::Break(()));
            }
            hash_row(hash, key, value);
            *runs += u64::from(shard > 0 && key.get(4) == Some(&(Family::Info as u8)));
            bytes += key.len() + value.len();
            keys += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(next)
    }

    fn first_run(&self, from: Bytes) -> Result<Option<RunUid>, StoreError> {
        let (_, end) = KeyWriter::new(self.store.group(), Family::Info, 0).range();
        let mut uid = None;
        self.view.visit(&(from, end), |key, _| {
            uid = Some(KeyReader::new(key)?.uid()?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(uid)
    }
}

fn part(part: Part) -> Progress {
    Progress::Part(v1::ExportReplicaResponse { part: Some(part) })
}

/// The whole export at once: the same parts that the API streams.
///
/// # Errors
/// If there is no replica, or it can't be read.
pub fn export_replica(disk: Arc<dyn Disk>, node: NodeId, shard: GroupId) -> Result<Vec<v1::ExportReplicaResponse>, ExportError> {
    let mut export = ReplicaExport::open(disk, PlanCache::default(), node, shard)?;
    let mut parts = Vec::new();
    loop {
        match export.step()? {
            Progress::Working => {}
            Progress::Part(part) => parts.push(part),
            Progress::Done => return Ok(parts),
        }
    }
}
