//! What every replica has, read from the disks when all is over.

use std::sync::Arc;

use anyhow::Context as _;
use quorus_node::{
    api::{history_event, run_status},
    query::RunFilter,
    replica::state_digest,
    store::ShardStore,
};
use quorus_raft::disk::{Disk, Table};

use super::world::World;
use crate::record::{RecordedRun, Replica};

/// Where workloads put their runs.
const NAMESPACE: &str = "default";
/// Runs of a page of the list.
const PAGE: usize = 500;

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

/// Every replica of every shard with all its runs, by node and shard.
pub(super) fn replicas(world: &World) -> anyhow::Result<Vec<Replica>> {
    let mut replicas = Vec::new();
    for (node, machine) in &world.machines {
        let disk: Arc<dyn Disk> = machine.disk.clone();
        for shard in 0..=world.scene.shards {
            let Some(standing) = standing(&disk, shard)? else { continue };
            let runs = if shard == 0 { Vec::new() } else { runs(&ShardStore::new(disk.clone(), shard))? };
            let Standing { term, index, digest } = standing;
            replicas.push(Replica { node: *node, shard, term, index, digest, runs });
        }
    }
    Ok(replicas)
}

/// How many runs have not ended, as the replica of each shard that is furthest says.
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
            open += counted.by_status.iter().filter(|(status, _)| !status.is_final()).map(|(_, count)| count).sum::<u64>();
        }
    }
    Ok(open)
}

fn runs(store: &ShardStore) -> anyhow::Result<Vec<RecordedRun>> {
    let (mut runs, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_runs(&RunFilter::all(NAMESPACE), after, PAGE)?;
        for summary in page.runs {
            let uid = summary.info.uid;
            let events = store.history(uid, 1, usize::MAX).with_context(|| format!("the history of {uid}"))?;
            runs.push(RecordedRun {
                namespace: summary.info.namespace.clone(),
                run_id: summary.info.run_id.clone(),
                run_uid: uid.to_string(),
                workflow: summary.info.workflow.clone(),
                parent_uid: summary.info.parent.as_ref().map(|parent| parent.uid.to_string()).unwrap_or_default(),
                status: run_status(summary.head.status).as_str_name().to_owned(),
                events: events.iter().map(|(sequence, event)| history_event(*sequence, event)).collect(),
            });
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    runs.sort_by(|a, b| a.run_uid.cmp(&b.run_uid));
    Ok(runs)
}
