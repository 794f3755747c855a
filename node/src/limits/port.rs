//! The keeper's face, and the way to it: reports go to the node that leads group 0, wherever that is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quorus_engine::Millis;
use quorus_proto::{
    peer::{
        self, InspectRequest, InspectResponse, ReportRequest, ReportResponse, ResetRequest, ResetResponse,
        permit_service_client::PermitServiceClient,
        permit_service_server::{PermitService, PermitServiceServer},
    },
    v1,
};
use quorus_raft::{Host, NodeId, Peers};
use tokio::{sync::Notify, time::Instant};
use tonic::{Request, Response, Status};

use super::{BreakerState, Keeper, KeeperTimes, LimitUse, NodeReport};
use crate::{
    api::{errors, to_proto},
    clock::Clock,
    dispatch::{Dispatcher, Ended, LimitRef, PermitGroup},
    system::{SYSTEM_GROUP, SystemStore},
};

/// A keeper that does not answer within this time is asked again later.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// While tasks wait for permits they are asked for this often.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often a node with permits, or in a cluster with limits, shows that it is there.
const SHOW_UP: Duration = Duration::from_millis(500);

/// Keeps limits, and reports to whoever keeps them. Cheap to clone.
#[derive(Clone)]
pub struct PermitPort {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: NodeId,
    boot_id: String,
    host: Host,
    peers: Arc<Peers>,
    system: SystemStore,
    dispatcher: Dispatcher,
    clock: Arc<dyn Clock>,
    born: Instant,
    keeper: Mutex<Option<(u64, Keeper)>>,
}

/// What a port is made of.
pub struct PermitPortParts {
    /// This node.
    pub node_id: NodeId,
    /// Random, one per process.
    pub boot_id: String,
    /// Groups with a replica on this node.
    pub host: Host,
    /// Ways to other nodes.
    pub peers: Arc<Peers>,
    /// This node's copy of group 0.
    pub system: SystemStore,
    /// Who holds permits.
    pub dispatcher: Dispatcher,
    /// Wall time, for what people read.
    pub clock: Arc<dyn Clock>,
}

impl PermitPort {
    /// The port of a node.
    pub fn new(parts: PermitPortParts) -> Self {
        let PermitPortParts { node_id, boot_id, host, peers, system, dispatcher, clock } = parts;
        let (born, keeper) = (Instant::now(), Mutex::new(None));
        Self { inner: Arc::new(Inner { node_id, boot_id, host, peers, system, dispatcher, clock, born, keeper }) }
    }

    /// The gRPC side, for other nodes.
    pub fn service(&self) -> PermitServiceServer<Self> {
        PermitServiceServer::new(self.clone())
    }

    /// Reports until it is dropped: when something changes, and now and then while there are limits.
    pub async fn run(self) {
        let changed = self.inner.dispatcher.permits_changed();
        let mut sequence = 0;
        let mut reported_at = Instant::now();
        loop {
            let dispatcher = &self.inner.dispatcher;
            let limited = !dispatcher.rules().is_empty() || dispatcher.has_permits();
            if !limited {
                wait(&changed, SHOW_UP).await;
                continue;
            }
            sequence += 1;
            let waits = self.exchange(sequence).await;
            let pause = if waits { ASK_AGAIN } else { SHOW_UP };
            // Not more often than every few milliseconds, so that many changes make one report.
            tokio::time::sleep_until(reported_at + Duration::from_millis(5)).await;
            wait(&changed, pause).await;
            reported_at = Instant::now();
        }
    }

    /// One report; true if tasks wait for more.
    async fn exchange(&self, sequence: u64) -> bool {
        let inner = &*self.inner;
        let shards = inner.dispatcher.confirmed_shards();
        let report = inner.dispatcher.permit_report();
        let groups: Vec<_> = report.groups.iter().collect();
        let request = ReportRequest {
            node_id: inner.node_id,
            boot_id: inner.boot_id.clone(),
            sequence,
            shards,
            groups: groups.iter().map(|(limits, group)| group_to_proto(limits, group)).collect(),
        };
        let asked = tokio::time::timeout(
            ANSWERS_WITHIN,
            self.ask(
                |port| port.report_here(request.clone()),
                |mut client| {
                    let request = request.clone();
                    async move { client.report(request).await }
                },
            ),
        );
        let answer = match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                inner.dispatcher.permits_not_told(report);
                return true;
            }
        };
        let mut waits = false;
        for (((limits, group), granted), full) in groups.iter().zip(answer.granted).zip(answer.full) {
            waits |= group.wanted > granted;
            if granted > 0 {
                inner.dispatcher.permits_granted(limits, granted);
            }
            if full {
                // Only those that the keeper knew of: later ones may find room.
                inner.dispatcher.permits_refused(limits, group.wanted.saturating_sub(granted));
            }
        }
        waits
    }

    /// How limits are used, by name; that of one only, unless empty.
    ///
    /// # Errors
    /// If the keeper can't be reached.
    pub async fn inspect(&self, limit: &str) -> Result<BTreeMap<String, Vec<v1::LimitUse>>, Status> {
        let request = InspectRequest { limit: limit.to_owned() };
        let answer = self.ask(
            |port| port.inspect_here(&request),
            |mut client| {
                let request = request.clone();
                async move { client.inspect(request).await }
            },
        );
        Ok(answer.await?.limits.into_iter().map(|limit| (limit.limit, limit.uses)).collect())
    }

    /// Closes the breakers of a limit; returns how many were not closed.
    ///
    /// # Errors
    /// If the keeper can't be reached.
    pub async fn reset(&self, limit: &str, key: &str) -> Result<u32, Status> {
        let request = ResetRequest { limit: limit.to_owned(), key: key.to_owned() };
        let answer = self.ask(
            |port| port.reset_here(&request),
            |mut client| {
                let request = request.clone();
                async move { client.reset(request).await }
            },
        );
        Ok(answer.await?.reset)
    }

    async fn ask<T, There>(
        &self,
        here: impl FnOnce(&Self) -> Result<T, Status>,
        there: impl FnOnce(PermitServiceClient<tonic::transport::Channel>) -> There,
    ) -> Result<T, Status>
    where
        There: Future<Output = Result<Response<T>, Status>>,
    {
        let group = self.inner.host.group(SYSTEM_GROUP).ok_or_else(|| errors::no_leader(SYSTEM_GROUP))?;
        let leadership = *group.leadership().borrow();
        match leadership.leader {
            Some(node) if node == self.inner.node_id => here(self),
            Some(node) => {
                let channel = self.inner.peers.channel(node).map_err(|error| errors::internal(&error))?;
                Ok(there(PermitServiceClient::new(channel)).await?.into_inner())
            }
            None => Err(errors::no_leader(SYSTEM_GROUP)),
        }
    }

    /// Does something as the keeper, if this node is the one: it leads group 0, and a quorum said so lately.
    fn keep<T>(&self, act: impl FnOnce(Millis, &mut Keeper) -> T) -> Result<T, Status> {
        let inner = &*self.inner;
        let no_leader = || errors::no_leader(SYSTEM_GROUP);
        let group = inner.host.group(SYSTEM_GROUP).ok_or_else(no_leader)?;
        let leadership = *group.leadership().borrow();
        let times = inner.dispatcher.times();
        if !leadership.here || !group.quorum_acked_within(times.election_max) {
            return Err(no_leader());
        }
        let shards = inner.system.cluster().map(|cluster| cluster.shard_count).ok_or_else(no_leader)?;
        let now = millis(inner.born.elapsed());
        let mut keeper = inner.keeper.lock();
        if keeper.as_ref().is_none_or(|(term, _)| *term != leadership.term) {
            let times = KeeperTimes {
                settle: millis(times.election_max * 2 + ANSWERS_WITHIN),
                quiet: millis(times.lease.mul_f64(1.1) + times.election_max * 2 + ANSWERS_WITHIN),
            };
            *keeper = Some((leadership.term, Keeper::new(times, now, shards)));
        }
        let Some((_, keeper)) = &mut *keeper else { return Err(no_leader()) };
        Ok(act(now, keeper))
    }

    fn report_here(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        let report = NodeReport {
            node: request.node_id,
            boot: request.boot_id,
            sequence: request.sequence,
            shards: request.shards.into_iter().collect(),
            groups: request.groups.into_iter().map(group_from_proto).collect(),
        };
        let rules = self.inner.dispatcher.rules();
        let grants = self.keep(|now, keeper| keeper.report(now, &rules, report))?;
        let (granted, full) = grants.into_iter().map(|grant| (grant.permits, grant.full)).unzip();
        Ok(ReportResponse { granted, full })
    }

    fn inspect_here(&self, request: &InspectRequest) -> Result<InspectResponse, Status> {
        let rules = self.inner.dispatcher.rules();
        let wall = self.inner.clock.now();
        let limits = self.keep(|now, keeper| {
            let asked = rules.all().filter(|limit| request.limit.is_empty() || limit.name == request.limit);
            let inspected = asked.map(|limit| peer::InspectedLimit {
                limit: limit.name.clone(),
                uses: keeper
                    .uses(now, limit)
                    .into_iter()
                    .map(|(key, used)| use_to_proto(key, &used, now, wall, limit.breaker.is_some()))
                    .collect(),
            });
            inspected.collect()
        })?;
        Ok(InspectResponse { limits })
    }

    fn reset_here(&self, request: &ResetRequest) -> Result<ResetResponse, Status> {
        Ok(ResetResponse { reset: self.keep(|now, keeper| keeper.reset(now, &request.limit, &request.key))? })
    }
}

async fn wait(changed: &Notify, most: Duration) {
    tokio::time::timeout(most, changed.notified()).await.ok();
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn group_to_proto(limits: &[LimitRef], group: &PermitGroup) -> peer::PermitGroup {
    peer::PermitGroup {
        limits: limits.iter().map(|limit| peer::LimitRef { limit: limit.limit.clone(), key: limit.key.clone() }).collect(),
        held: group.held,
        wanted: group.wanted,
        rank: group.rank,
        unused: group.ended.unused,
        succeeded: group.ended.succeeded,
        failed: group.ended.failed,
    }
}

fn group_from_proto(proto: peer::PermitGroup) -> (crate::dispatch::LimitRefs, PermitGroup) {
    let limits = proto.limits.into_iter().map(|limit| LimitRef { limit: limit.limit, key: limit.key }).collect();
    let ended = Ended { unused: proto.unused, succeeded: proto.succeeded, failed: proto.failed };
    (limits, PermitGroup { held: proto.held, wanted: proto.wanted, rank: proto.rank, ended })
}

fn use_to_proto(key: String, used: &LimitUse, now: Millis, wall: quorus_engine::Timestamp, has_breaker: bool) -> v1::LimitUse {
    let (state, until) = match used.breaker {
        _ if !has_breaker => (v1::BreakerState::Unspecified, None),
        BreakerState::Closed => (v1::BreakerState::Closed, None),
        BreakerState::Open(until) => (v1::BreakerState::Open, Some(wall.plus(Millis(until.0.saturating_sub(now.0))))),
        BreakerState::HalfOpen(_) => (v1::BreakerState::HalfOpen, None),
    };
    let (succeeded, failed) = used.ended;
    v1::LimitUse {
        key,
        in_use: used.in_use,
        waiting: used.waiting,
        tokens: used.tokens,
        breaker: state.into(),
        opens_until: until.map(to_proto::time),
        failures: failed,
        outcomes: succeeded + failed,
    }
}

#[tonic::async_trait]
impl PermitService for PermitPort {
    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        self.report_here(request.into_inner()).map(Response::new)
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        self.inspect_here(&request.into_inner()).map(Response::new)
    }

    async fn reset(&self, request: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        self.reset_here(&request.into_inner()).map(Response::new)
    }
}
