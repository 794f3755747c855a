//! Flow control in group 0: concurrency slots of workflows, limits, and what operators have stopped.
//!
//! Reading order: [`slot`] (who holds a concurrency key, and who waits), [`slots`] (the rules), [`switches`] (limits, paused queues, drained
//! workers, paused workflows: few, so all of them are in every node's memory), [`parked`] (what waits for the end of a workflow's pause), [`news`]
//! (how a node learns of changes), [`command`], [`codec`].
//!
//! | family | key | value |
//! |---|---|---|
//! | `slot key` | `[0]'k'[namespace 0][workflow 0][key]` | `log.StoredSlotKey`, while anybody holds it or waits |
//! | `slot place` | `[0]'e'[namespace 0][workflow 0][key 0][0 holds, 1 waits][place u64]` | run uid |
//! | `slot claim` | `[0]'c'[uid]` | `log.StoredSlotClaim`, until an hour after its end |
//! | `slot ended` | `[0]'z'[time][uid]` | empty |
//! | `limit` | `[0]'l'[name]` | `log.StoredLimit` |
//! | `paused queue` | `[0]'p'[queue]` | `log.StoredSwitch` |
//! | `drained worker` | `[0]'w'[name]` | `log.StoredSwitch` |
//! | `paused workflow` | `[0]'o'[namespace 0][workflow]` | `log.StoredSwitch` |
//! | `parked run` | `[0]'f'[namespace 0][workflow 0][time of its start][uid]` | empty |

mod codec;
mod command;
mod news;
mod parked;
mod slot;
mod slots;
mod switches;

#[cfg(test)]
mod tests;

pub(crate) use codec::{answer_from_proto, answer_to_proto, command_from_proto, command_to_proto};
pub use command::{FlowAnswer, FlowCommand};
pub(super) use news::FlowFeed;
pub use news::SlotNews;
pub(super) use parked::{count as parked_runs, end as end_pause};
pub use slot::{SlotAnswer, SlotConflict, SlotKey, SlotRun, SlotStanding, SlotStatus, SlotUse};
pub(super) use slots::{keys, line, standing};
pub use switches::{FlowState, StoredLimit, Switch};

use quorus_engine::Timestamp;
use quorus_raft::Index;

use self::slots::Claim;
use super::overlay::Overlay;
use crate::store::StoreError;

/// What the commands of one apply call did, for [`FlowFeed::publish`].
#[derive(Default)]
pub(super) struct Changes {
    granted: Vec<news::SlotGranted>,
    /// Something of [`FlowState`].
    pub(super) switched: bool,
}

/// Applies a command.
pub(super) fn apply(
    overlay: &mut Overlay<'_>,
    index: Index,
    time: Timestamp,
    command: FlowCommand,
    changes: &mut Changes,
) -> Result<FlowAnswer, StoreError> {
    match command {
        FlowCommand::AcquireSlot { key, limit, run, on_conflict, begins } => {
            let wanted = Claim { key, run, status: SlotStatus::Waiting, place: 0, limit, on_conflict, begins };
            Ok(FlowAnswer::Slot(slots::acquire(overlay, time, wanted, &mut changes.granted)?))
        }
        FlowCommand::ReleaseSlot { uid, claim } => Ok(FlowAnswer::Slot(slots::release(overlay, time, uid, claim, &mut changes.granted)?)),
        FlowCommand::PutLimit { limit, principal } => {
            let changed = switches::put_limit(overlay, index, time, limit, principal)?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index, more: false })
        }
        FlowCommand::DeleteLimit { name, principal: _ } => {
            let changed = switches::delete_limit(overlay, &name)?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index, more: false })
        }
        FlowCommand::SetQueuePaused { queue, on, principal, reason } => {
            let changed = switches::set(overlay, switches::paused_key(&queue), on, Switch { since: time, by: principal, reason })?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index, more: false })
        }
        FlowCommand::SetWorkflowPaused { namespace, workflow, on: true, principal, reason } => {
            let switch = Switch { since: time, by: principal, reason };
            let changed = parked::pause(overlay, time, &namespace, &workflow, switch, &mut changes.granted)?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index, more: false })
        }
        FlowCommand::SetWorkflowPaused { namespace, workflow, on: false, .. } => {
            let (changed, more) = parked::resume(overlay, time, &namespace, &workflow, &mut changes.granted)?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index, more })
        }
        FlowCommand::SetWorkerDrained { worker, on, principal, reason } => {
            let changed = switches::set(overlay, switches::drained_key(&worker), on, Switch { since: time, by: principal, reason })?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index, more: false })
        }
    }
}
