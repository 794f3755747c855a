//! What needs a person, over all shards: runs that can't go on by themselves, and items that failed for good in runs that went on without them.

use std::collections::BTreeMap;

use quorus_engine::{RunUid, StepId};
use quorus_proto::{log, v1};
use quorus_raft::{GroupId, NodeId};
use tonic::{Code, Status};

use super::{
    ApiContext, change, errors,
    errors::reason,
    forward::Journey,
    from_proto, index_service, limits, list,
    spread::{self, Spread},
    to_proto,
};
use crate::{
    leader::{Ask, DeadLetter, LedShard, RunKey},
    query::RunFilter,
    replica::{BatchAnswer, RecordAnswer},
    store::{RunPlace, RunSummary, ShardStore, row_of},
};

/// Places looked at in one go.
const PART: usize = 500;

/// A page of dead letters, shard by shard, run by run.
pub(super) async fn list(
    context: &ApiContext,
    journey: &Journey,
    mut message: v1::ListDeadLettersRequest,
) -> Result<v1::ListDeadLettersResponse, Status> {
    let filter = spread::filter(&mut message.namespace, &message.filter, context.clock.now())?;
    message.filter = filter.to_text();
    let limit = limits::page_size(message.page_size);
    let after = cursor(&message.page_token)?;
    let Spread { here, elsewhere } = Spread::of(context, journey, &filter)?;
    let mut shards: BTreeMap<GroupId, Option<NodeId>> = here.into_iter().map(|shard| (shard, None)).collect();
    shards.extend(elsewhere.into_iter().flat_map(|(node, shards)| shards.into_iter().map(move |shard| (shard, Some(node)))));
    let mut page = v1::ListDeadLettersResponse::default();
    for (shard, node) in shards {
        let place = match &after {
            Some((at, _)) if shard < *at => continue,
            Some((at, place)) if shard == *at => Some(place.clone()),
            _ => None,
        };
        let room = limit - page.dead_letters.len();
        if room == 0 {
            // Whoever asks for the next page begins with this shard.
            page.next_page_token = token(shard, &place.unwrap_or_else(first_place));
            return Ok(page);
        }
        let part = match node {
            None => of_shard(context, shard, &filter, place, room)?,
            Some(node) => {
                let channel = context.peers.channel(node).map_err(|error| errors::internal(&error))?;
                let page_token = place.as_ref().map(|place| token(shard, place)).unwrap_or_default();
                let page_size = u32::try_from(room).unwrap_or(u32::MAX);
                let onward = v1::ListDeadLettersRequest { page_token, page_size, ..message.clone() };
                index_service::client(channel).list_dead_letters(Spread::onward(journey, &[shard], onward)).await?.into_inner()
            }
        };
        page.dead_letters.extend(part.dead_letters);
        if !part.next_page_token.is_empty() {
            page.next_page_token = part.next_page_token;
            return Ok(page);
        }
        tokio::task::yield_now().await;
    }
    Ok(page)
}

/// Marks an item as settled: it is listed no more. The reason is written into the run's history first.
pub(super) async fn discard(context: &ApiContext, led: &LedShard, message: &v1::DiscardDeadLetterRequest) -> Result<(), Status> {
    let permit = context.admission.change()?;
    let (namespace, run_id) = (&message.namespace, &message.run_id);
    let store = context.store(led.shard);
    if !led.confirmed().await {
        return Err(errors::no_leader(led.shard));
    }
    let uid = list::uid_of(&store, namespace, run_id, &message.run_uid)?;
    let step = StepId::from(message.step.as_str());
    let state = store.step(uid, &step).map_err(|error| errors::internal(&error))?;
    let place = RunPlace { uid, step: Some(step.clone()) };
    let found = DeadLetter::at(&store, &context.plans, &place).map_err(|error| errors::internal(&error))?;
    let (Some(state), Some(_)) = (state, found) else { return Err(not_one(run_id, &message.step)) };
    let text = format!("discarded the dead letter {}: {}", message.step, message.reason);
    let annotate = quorus_engine::Command::Annotate { principal: from_proto::principal(message.principal.clone()), text };
    let key = RunKey::new(namespace, run_id);
    if let Err(refusal) = change::ask(led, &key, Ask::Command(annotate), Some(permit)).await {
        return Err(change::refuse(led, namespace, run_id, refusal).await);
    }
    let discard = log::DiscardDeadLetter {
        run_uid: bytes::Bytes::copy_from_slice(&uid.to_bytes()),
        step: message.step.clone(),
        generation: state.generation,
    };
    let record = log::Record { term: led.term, discards: vec![discard], ..log::Record::default() };
    let proposed = led.group.propose(led.term, prost::Message::encode_to_vec(&record).into()).await;
    match proposed.map(|proposed| RecordAnswer::decode(&proposed.answer)) {
        Ok(Some(RecordAnswer::Batches(answers))) if answers == [BatchAnswer::Applied] => Ok(()),
        Ok(Some(RecordAnswer::Batches(answers))) if answers == [BatchAnswer::StaleSequence] => Err(not_one(run_id, &message.step)),
        _ => Err(errors::outcome_unknown()),
    }
}

/// Those of a shard that this node has.
fn of_shard(
    context: &ApiContext,
    shard: GroupId,
    filter: &RunFilter,
    mut after: Option<RunPlace>,
    limit: usize,
) -> Result<v1::ListDeadLettersResponse, Status> {
    let store = context.store(shard);
    let mut page = v1::ListDeadLettersResponse::default();
    loop {
        let places = store.dead_letters_after(after.as_ref(), PART).map_err(|error| errors::internal(&error))?;
        let Some(last) = places.last().cloned() else { return Ok(page) };
        for place in places {
            if page.dead_letters.len() == limit {
                page.next_page_token = token(shard, &after.unwrap_or_else(first_place));
                return Ok(page);
            }
            page.dead_letters.extend(letter(context, &store, filter, &place)?);
            after = Some(place);
        }
        after = Some(last);
    }
}

/// What a place says; `None` if its run does not match, or it is none any more.
fn letter(context: &ApiContext, store: &ShardStore, filter: &RunFilter, place: &RunPlace) -> Result<Option<v1::DeadLetter>, Status> {
    let found = DeadLetter::at(store, &context.plans, place).map_err(|error| errors::internal(&error))?;
    let Some(DeadLetter { run: RunSummary { info, head }, step, cause, failure, since }) = found else { return Ok(None) };
    if info.namespace != filter.namespace || !filter.matches(&row_of(&info, &head)) {
        return Ok(None);
    }
    Ok(Some(v1::DeadLetter {
        run_uid: info.uid.to_string(),
        namespace: info.namespace,
        run_id: info.run_id,
        workflow: info.workflow,
        run_status: to_proto::run_status(head.status).into(),
        step: step.map(|step| step.to_string()).unwrap_or_default(),
        cause: cause.to_owned(),
        failure: failure.as_ref().map(to_proto::failure),
        since: Some(to_proto::time(since)),
        started_at: Some(to_proto::time(head.started_at)),
    }))
}

fn not_one(run_id: &str, step: &str) -> Status {
    let message = format!("{step:?} of run {run_id:?} is not an item that failed for good, or was discarded already");
    errors::status(Code::FailedPrecondition, reason::NO_DEAD_LETTER, message)
}

/// Before every place.
fn first_place() -> RunPlace {
    RunPlace { uid: RunUid(0), step: None }
}

fn token(shard: GroupId, place: &RunPlace) -> String {
    format!("{shard}.{}.{}", place.uid, place.step.as_ref().map_or("", StepId::as_str))
}

fn cursor(token: &str) -> Result<Option<(GroupId, RunPlace)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = || {
        let mut parts = token.splitn(3, '.');
        let shard = parts.next()?.parse().ok()?;
        let uid = RunUid(u128::from_str_radix(parts.next()?, 16).ok()?);
        let step = parts.next()?;
        Some((shard, RunPlace { uid, step: (!step.is_empty()).then(|| step.into()) }))
    };
    parsed().map(Some).ok_or_else(list::bad_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_token() {
        for step in [None, Some(StepId::from("regions[3]")), Some(StepId::from("a[1].b[2]"))] {
            let place = RunPlace { uid: RunUid(0x1234), step };
            assert_eq!(cursor(&token(7, &place)).unwrap(), Some((7, place)));
        }
        assert!(cursor("").unwrap().is_none());
        assert!(cursor("7.zz.").is_err());
    }
}
