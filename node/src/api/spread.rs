//! A question about all shards: which of them this node answers for, and whom to ask about the others.

use std::collections::BTreeMap;

use quorus_engine::Timestamp;
use quorus_proto::v1;
use quorus_raft::{GroupId, NodeId};
use tonic::{Request, Status};

use super::{ApiContext, errors, forward::Journey};
use crate::{
    query::{self, Comparison, Condition, Pattern, RunFilter},
    routing,
};

/// Names the shards that a forwarded question is about, so that each is asked once.
const SHARDS: &str = "quorus-shards";

/// Who answers for which shards.
pub(super) struct Spread {
    /// This node, from its own replicas.
    pub(super) here: Vec<GroupId>,
    /// Others.
    pub(super) elsewhere: BTreeMap<NodeId, Vec<GroupId>>,
}

impl Spread {
    /// Of the shards that can have runs that match.
    pub(super) fn of(context: &ApiContext, journey: &Journey, filter: &RunFilter) -> Result<Self, Status> {
        let only: Option<Vec<GroupId>> =
            journey.metadata(SHARDS).map(|shards| shards.split(',').filter_map(|shard| shard.parse().ok()).collect());
        let count = context.shards()?;
        let of_run = filter.only_run_id().map(|run_id| routing::shard_of(&filter.namespace, run_id, count));
        let mut spread = Self { here: Vec::new(), elsewhere: BTreeMap::new() };
        for shard in 1..=count {
            if only.as_ref().is_some_and(|only| !only.contains(&shard)) || of_run.is_some_and(|of_run| of_run != shard) {
                continue;
            }
            if context.host.group(shard).is_some() {
                spread.here.push(shard);
            } else if !journey.forwarded
                && let Some(node) = context.holder_of(shard)
            {
                spread.elsewhere.entry(node).or_default().push(shard);
            }
        }
        Ok(spread)
    }

    /// The request to another node, about its shards only.
    pub(super) fn onward<T>(journey: &Journey, shards: &[GroupId], message: T) -> Request<T> {
        let mut onward = journey.onward(message);
        let list = shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if let Ok(value) = list.parse() {
            onward.metadata_mut().insert(SHARDS, value);
        }
        onward
    }
}

/// The filter that a text says, in a namespace or the default one.
pub(super) fn filter(namespace: &mut String, text: &str, now: Timestamp) -> Result<RunFilter, Status> {
    if namespace.is_empty() {
        *namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    query::parse(namespace, text, now).map_err(|error| errors::invalid(vec![("filter".into(), error.to_string())]))
}

/// The filter of a list: its text and its fields. The message is completed, so that it means the same on other nodes.
pub(super) fn filter_of_list(message: &mut v1::ListRunsRequest, now: Timestamp) -> Result<RunFilter, Status> {
    let mut filter = filter(&mut message.namespace, &message.filter, now)?;
    if !message.workflow.is_empty() {
        filter = filter.and(Condition::Workflow { negated: false, any: vec![Pattern::Exact(message.workflow.clone())] });
    }
    if !message.statuses.is_empty() {
        let any = message.statuses.iter().map(|status| crate::codec::run_status_from_proto(*status)).collect::<Result<_, _>>();
        let any = any.map_err(|_| errors::invalid(vec![("statuses".into(), "holds a status that this version does not know".into())]))?;
        filter = filter.and(Condition::Status { negated: false, any });
    }
    for (name, value) in &message.labels {
        filter = filter.and(Condition::Label { name: name.clone(), negated: false, any: vec![Pattern::Exact(value.clone())] });
    }
    let time =
        |time: prost_types::Timestamp| Timestamp(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000));
    if let Some(after) = message.started_after {
        filter = filter.and(Condition::Started(Comparison::GreaterOrEqual, time(after)));
    }
    if let Some(before) = message.started_before {
        filter = filter.and(Condition::Started(Comparison::Less, time(before)));
    }
    message.filter = filter.to_text();
    Ok(filter)
}
