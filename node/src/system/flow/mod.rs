//! Flow control in group 0: concurrency slots of workflows, limits, and what operators have stopped.
//!
//! Reading order: [`slot`] (who holds a concurrency key, and who waits), [`slots`] (the rules), [`switches`] (limits, paused queues, drained
//! workers: few, so all of them are in every node's memory), [`news`] (how a node learns of changes), [`command`], [`codec`].
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

mod codec;
mod command;
mod news;
mod slot;
mod slots;
mod switches;

#[cfg(test)]
mod tests;

pub(crate) use codec::{answer_from_proto, answer_to_proto, command_from_proto, command_to_proto};
pub use command::{FlowAnswer, FlowCommand};
pub(super) use news::FlowFeed;
pub use news::SlotNews;
pub use slot::{SlotAnswer, SlotConflict, SlotKey, SlotRun, SlotStanding, SlotStatus, SlotUse};
pub(super) use slots::{keys, line, standing};
pub use switches::{FlowState, StoredLimit, Switch};

use quorus_engine::Timestamp;
use quorus_raft::Index;

use super::overlay::Overlay;
use crate::store::StoreError;

/// What the commands of one apply call did, for [`FlowFeed::publish`].
#[derive(Default)]
pub(super) struct Changes {
    granted: Vec<news::SlotGranted>,
    switched: bool,
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
        FlowCommand::AcquireSlot { key, limit, run, on_conflict } => {
            let answer = slots::acquire(overlay, time, &key, limit, &run, on_conflict, &mut changes.granted)?;
            Ok(FlowAnswer::Slot(answer))
        }
        FlowCommand::ReleaseSlot { uid, claim } => Ok(FlowAnswer::Slot(slots::release(overlay, time, uid, claim, &mut changes.granted)?)),
        FlowCommand::PutLimit { limit, principal } => {
            let changed = switches::put_limit(overlay, index, time, limit, principal)?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index })
        }
        FlowCommand::DeleteLimit { name, principal: _ } => {
            let changed = switches::delete_limit(overlay, &name)?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index })
        }
        FlowCommand::SetQueuePaused { queue, on, principal, reason } => {
            let changed = switches::set(overlay, switches::paused_key(&queue), on, Switch { since: time, by: principal, reason })?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index })
        }
        FlowCommand::SetWorkerDrained { worker, on, principal, reason } => {
            let changed = switches::set(overlay, switches::drained_key(&worker), on, Switch { since: time, by: principal, reason })?;
            changes.switched |= changed;
            Ok(FlowAnswer::Changed { changed, revision: index })
        }
    }
}
