//! The approvals that wait, over all shards: read from the index of steps that wait for people.
//!
//! Shards are read one after another; a page ends within one, and its token says where.

use quorus_engine::{PlannedKind, RunUid, StepId, StepStatus};
use quorus_proto::v1;
use quorus_raft::GroupId;
use tonic::{Code, Status};

use super::{ApiContext, change, errors, errors::reason, forward::Journey, limits, steps, to_proto};
use crate::{leader::planned, store::RunPlace};

/// Steps looked at for one page: a filter that matches little must not read a whole shard in one call.
const SCANNED_MAX: usize = 2_000;
/// Names the one shard that a forwarded list is about.
const SHARD: &str = "quorus-shards";

/// Where a page ends: everything up to this place of this shard was seen.
struct Cursor {
    shard: GroupId,
    place: Option<RunPlace>,
}

impl Cursor {
    fn to_token(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{}.{}", place.uid, place.step.as_ref().map_or("", StepId::as_str)));
        format!("{}.{}", self.shard, place.unwrap_or_default())
    }

    fn from_token(token: &str) -> Option<Self> {
        if token.is_empty() {
            return Some(Self { shard: 1, place: None });
        }
        let (shard, place) = token.split_once('.')?;
        let shard = shard.parse().ok()?;
        if place.is_empty() {
            return Some(Self { shard, place: None });
        }
        let (uid, step) = place.split_once('.')?;
        let uid = RunUid(u128::from_str_radix(uid, 16).ok()?);
        let step = (!step.is_empty()).then(|| StepId::from(step));
        Some(Self { shard, place: Some(RunPlace { uid, step }) })
    }
}

/// A page of the approvals that wait.
pub(super) async fn list(
    context: &ApiContext,
    journey: &Journey,
    mut message: v1::ListApprovalsRequest,
) -> Result<v1::ListApprovalsResponse, Status> {
    if message.namespace.is_empty() {
        message.namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    let bad_token = || errors::status(Code::InvalidArgument, reason::INVALID_ARGUMENT, "page_token: is not one that a list returned");
    let mut cursor = Cursor::from_token(&message.page_token).ok_or_else(bad_token)?;
    let limit = limits::page_size(message.page_size);
    let only: Option<GroupId> = journey.metadata(SHARD).and_then(|shard| shard.parse().ok());
    let mut approvals = Vec::new();
    while cursor.shard <= context.shards()? && only.is_none_or(|only| only == cursor.shard) {
        let left = limit - approvals.len();
        let next = if context.host.group(cursor.shard).is_some() {
            of_shard(context, &message, &cursor, left, &mut approvals)?
        } else {
            of_other_node(context, journey, &message, &cursor, left, &mut approvals).await?
        };
        // A page that a shard did not finish ends here, also when nothing was found in it.
        if let Some(next) = next {
            return Ok(v1::ListApprovalsResponse { approvals, next_page_token: next.to_token() });
        }
        cursor = Cursor { shard: cursor.shard + 1, place: None };
        if approvals.len() == limit && only.is_none() && cursor.shard <= context.shards()? {
            return Ok(v1::ListApprovalsResponse { approvals, next_page_token: cursor.to_token() });
        }
    }
    Ok(v1::ListApprovalsResponse { approvals, next_page_token: String::new() })
}

/// Adds those of a shard that has a replica here; where to go on if there is more.
fn of_shard(
    context: &ApiContext,
    message: &v1::ListApprovalsRequest,
    cursor: &Cursor,
    limit: usize,
    approvals: &mut Vec<v1::PendingApproval>,
) -> Result<Option<Cursor>, Status> {
    let store = context.store(cursor.shard);
    let internal = |error: crate::store::StoreError| errors::internal(&error);
    let entries = store.awaiting_after(cursor.place.as_ref(), SCANNED_MAX).map_err(internal)?;
    let more = entries.len() == SCANNED_MAX;
    let enough = approvals.len() + limit;
    let mut last = None;
    for entry in entries {
        if approvals.len() == enough {
            return Ok(Some(Cursor { shard: cursor.shard, place: last }));
        }
        let uid = entry.place.uid;
        last = Some(entry.place.clone());
        let Some(step) = entry.place.step.filter(|_| entry.namespace == message.namespace) else { continue };
        let Some(run) = store.load_run(uid).map_err(internal)? else { continue };
        let plan = context.plans.get(&store, run.digest()).map_err(|error| errors::internal(&error))?;
        let Some(PlannedKind::Approval(approval)) = planned(&plan, &step).map(|step| &step.kind) else { continue };
        let waits = run.steps.get(&step).is_some_and(|state| state.status == StepStatus::Awaiting);
        if !waits || !(message.role.is_empty() || approval.approvers.contains(&message.role)) {
            continue;
        }
        approvals.push(v1::PendingApproval {
            run_id: entry.run_id,
            run_uid: uid.to_string(),
            workflow: run.info.workflow.clone(),
            started_by: Some(to_proto::principal(run.info.starter())),
            step: steps::one(&plan, &run, &step),
        });
    }
    Ok(last.filter(|_| more).map(|place| Cursor { shard: cursor.shard, place: Some(place) }))
}

/// Adds those of a shard that another node has.
async fn of_other_node(
    context: &ApiContext,
    journey: &Journey,
    message: &v1::ListApprovalsRequest,
    cursor: &Cursor,
    limit: usize,
    approvals: &mut Vec<v1::PendingApproval>,
) -> Result<Option<Cursor>, Status> {
    let Some(node) = context.holder_of(cursor.shard).filter(|_| !journey.forwarded) else { return Ok(None) };
    let channel = context.peers.channel(node).map_err(|error| errors::internal(&error))?;
    let page_size = u32::try_from(limit).unwrap_or(u32::MAX);
    let mut onward = journey.onward(v1::ListApprovalsRequest { page_size, page_token: cursor.to_token(), ..message.clone() });
    if let Ok(shard) = cursor.shard.to_string().parse() {
        onward.metadata_mut().insert(SHARD, shard);
    }
    let answer = change::lifecycle(channel).list_approvals(onward).await?.into_inner();
    approvals.extend(answer.approvals);
    Ok(if answer.next_page_token.is_empty() { None } else { Cursor::from_token(&answer.next_page_token) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_token() {
        for place in [None, Some(RunPlace { uid: RunUid(7), step: Some("a[1].b".into()) }), Some(RunPlace { uid: RunUid(7), step: None })] {
            let cursor = Cursor { shard: 3, place: place.clone() };
            let read = Cursor::from_token(&cursor.to_token()).unwrap();
            assert_eq!((read.shard, read.place), (3, place));
        }
        assert!(Cursor::from_token("nonsense").is_none());
        assert!(Cursor::from_token("1.xyz.a").is_none());
    }
}
