//! What every replica has, read from the disks when all is over.

use std::sync::Arc;

use anyhow::Context as _;
use quorus_engine::RunStatus;
use quorus_node::{
    api::{ExportError, export_replica},
    query::RunFilter,
    replica::state_digest,
    store::ShardStore,
};
use quorus_raft::disk::{Disk, Table};

use super::world::World;
use crate::record::Replica;

/// Where workloads put their runs.
const NAMESPACE: &str = "default";

/// How far a replica is, and what it looks like as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Term of the last applied entry.
    pub(super) term: u64,
    /// Index of the last applied entry.
    pub(super) index: u64,
    /// SHA-256 of everything that the replica derived.
    pub(super) digest: String,
}

/// Term and index of the last applied entry; none if the replica is not there.
fn applied(disk: &Arc<dyn Disk>, shard: u32) -> anyhow::Result<Option<(u64, u64)>> {
    // `[group u32][kind u8]` -> `[format 1][term u64][index u64]...`
    let key = [&shard.to_be_bytes()[..], &[4]].concat();
    let Some(applied) = disk.get(Table::Meta, &key)? else { return Ok(None) };
    let number = |at: usize| applied.get(at..at + 8).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    Ok(Some(number(1).zip(number(9)).unwrap_or_default()))
}

/// How far the replica of a shard on a disk is; none if it is not there.
pub(super) fn standing(disk: &Arc<dyn Disk>, shard: u32) -> anyhow::Result<Option<Standing>> {
    let Some((term, index)) = applied(disk, shard)? else { return Ok(None) };
    let digest = state_digest(&**disk, shard)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Standing { term, index, digest }))
}

/// Every replica of every shard with all its runs, by node and shard: the same export that operators get.
pub(super) fn replicas(world: &World) -> anyhow::Result<Vec<Replica>> {
    let mut replicas = Vec::new();
    for (node, machine) in &world.machines {
        for shard in 0..=world.scene.shards {
            match export_replica(machine.disk.clone(), *node, shard) {
                Ok(parts) => replicas.push(Replica::from_parts(parts.into_iter().map(Ok))?),
                Err(ExportError::NoReplica { .. }) => {}
                Err(error) => return Err(error).with_context(|| format!("exporting shard {shard} of node {node}")),
            }
        }
    }
    Ok(replicas)
}

/// How many runs go on, as the replica of each shard that is furthest says. One that needs attention does not: nobody comes.
pub(super) fn open_runs(world: &World) -> anyhow::Result<u64> {
    let mut open = 0;
    for shard in 1..=world.scene.shards {
        let mut furthest: Option<(u64, Arc<dyn Disk>)> = None;
        for machine in world.machines.values() {
            let disk: Arc<dyn Disk> = machine.disk.clone();
            let index = applied(&disk, shard)?.map_or(0, |(_, index)| index);
            if furthest.as_ref().is_none_or(|(known, _)| *known < index) {
                furthest = Some((index, disk));
            }
        }
        if let Some((_, disk)) = furthest {
            let counted = ShardStore::new(disk, shard).count_runs(&RunFilter::all(NAMESPACE), None, u64::MAX)?;
            let goes_on = |status: RunStatus| !status.is_final() && status != RunStatus::NeedsAttention;
            open += counted.by_status.iter().filter(|(status, _)| goes_on(**status)).map(|(_, count)| count).sum::<u64>();
        }
    }
    Ok(open)
}
