//! A node from its configuration to its last breath: the wiring, top to bottom.
//!
//! Order of a start: data folder and identity; if the folder is new, the founders of the cluster; the system group; what the cluster is made of; the
//! shards; only then ready. Order of a stop: no new leases and workers sent elsewhere; leaderships moved; actors; server; replication.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use quorus_engine::Millis;
use quorus_mutants::{Mutant, active};
use quorus_raft::{
    Group, GroupConfig, Host, Options, Peers, ProposeError,
    disk::{Disk, DiskError},
};
use ractor::{Actor, ActorRef};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Admission, ApiContext, Prober, SystemPort},
    balance,
    bootstrap::{self, BootstrapError},
    changes::Changes,
    clock::Clock,
    clock_bound::{self, ClockBound},
    config::Config,
    dispatch::{Dispatcher, Times},
    executors::{self, ApiSignals, Reach, Services},
    gateway::Gateway,
    identity::{Identity, IdentityError},
    leader::{Exporter, LeaderContext, LedShards, PlanCache, Retention},
    limits::{PermitPort, PermitPortParts},
    liveness::Liveness,
    observe::{Http, Readiness},
    platform::{Platform, listen_error},
    replica::ShardReplica,
    schedules,
    server::{self, Server},
    steady_clock::SteadyClock,
    supervisor::{NodeMessage, NodeSupervisor},
    system::{ClusterInfo, NodeInfo, SYSTEM_GROUP, SystemCommand, SystemReplica, SystemStore},
    triggers::Hooks,
};

/// How far two machines' clocks may be apart.
const CLOCK_OFFSET_MAX: Duration = Duration::from_millis(500);
/// How long workers may take to leave a node that is about to stop.
const WORKERS_LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// Pause between two looks at something that changes rarely.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a node can't start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is not free.
    #[error("can't listen on {address}: another process may use the port")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder can't be opened.
    #[error("can't open the data folder {path}")]
    DataFolder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The folder of steps' lines can't be used.
    #[error("can't use the folder {path}")]
    StepLogs {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder is not this node's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no cluster.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A replica can't be opened.
    #[error("can't open a replica")]
    Replica(#[from] quorus_raft::Error),
    /// A state can't be read.
    #[error("can't read the system's state")]
    Store(#[from] crate::store::StoreError),
    /// The actors' root can't start or has failed.
    #[error("the node's supervisor failed: {0}")]
    Supervisor(String),
    /// The server has failed.
    #[error("the server failed")]
    Server(#[from] server::Error),
    /// A fault of this machine: going on could break a promise.
    #[error("stopped by a fault of this node: {0}")]
    Fault(String),
}

/// Runs a node on this machine until `shutdown`, or until a fault.
///
/// # Errors
/// Why it could not start or go on. After a fault the process must end: its memory is not to be trusted.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let readiness = Readiness::default();
    let http = Http::bind(config.http_listen).map_err(|source| listen_error(config.http_listen, source))?;
    let hooks = Hooks::default();
    http.spawn(readiness.clone(), hooks.router(), stop).map_err(|source| listen_error(config.http_listen, source))?;
    let platform = Platform::of_machine(&config)?;
    run_on(platform, config, readiness, hooks, shutdown).await
}

/// Runs a node on what it is given until `shutdown`, or until a fault. Without a port for HTTP nobody asks whether it is ready, or calls its hooks.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    platform: Platform,
    config: Config,
    readiness: Readiness,
    hooks: Hooks,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let ready = readiness.check("cluster");
    ready.wait_for("the node starts");
    let Platform { disk, clock, net, listener, logs, replication } = platform;
    let steady = Arc::new(SteadyClock::new(clock));
    let clock: Arc<dyn Clock> = steady.clone();
    let mut identity = Identity::open(&*disk, config.node.id, || format!("{:032x}", clock.unique()))?;

    let nodes: BTreeSet<u64> = addresses(&config).into_keys().collect();
    let peers = Arc::new(Peers::new(net));
    let clock_bound = ClockBound::new(steady, nodes.len(), CLOCK_OFFSET_MAX);
    let prober = Prober::new(identity.clone(), &config.advertise, clock_bound.clone());

    let founders = Founders { config: &config, nodes: &nodes, peers: &peers };
    let cluster_id = match identity.cluster_id.clone() {
        Some(cluster_id) => cluster_id,
        None => {
            ready.wait_for("the other nodes of the new cluster");
            let early = server::serve_probes(&*listener, prober.clone(), &stop)?;
            let found = tokio::select! {
                found = founders.find(&identity) => found?,
                () = shutdown.cancelled() => return Ok(()),
            };
            identity.join(&*disk, &found.0)?;
            prober.update(identity.clone());
            early.stop().await;
            found.0
        }
    };

    peers.are_of(&cluster_id);
    let host = Host::new(raft_options(replication, &config, &cluster_id), disk.clone(), peers.clone())?;
    let times = Times::new(config.lease, config.raft.election_max, CLOCK_OFFSET_MAX);
    let led = LedShards::default();
    let dispatcher = Dispatcher::new(times, clock.clone(), led.clone());
    let changes = Changes::default();
    let gateway = Gateway::start(config.node.id, &nodes, dispatcher.clone(), &peers, logs, &stop);
    let liveness = Liveness::start(config.node.id, &cluster_id, &nodes, &peers, &clock_bound, &stop);
    let plans = PlanCache::default();
    let boot_id = format!("{:032x}", clock.unique());
    let system = SystemStore::open(disk.clone())?;
    let retention = Retention {
        default: Millis(u64::try_from(config.retention.as_millis()).unwrap_or(u64::MAX)),
        export: config.export_dir.clone().map(|folder| Arc::new(Exporter::new(folder))),
    };
    let port = SystemPort::new(config.node.id, host.clone(), peers.clone(), clock.clone());
    let permits = PermitPort::new(PermitPortParts {
        node_id: config.node.id,
        boot_id: boot_id.clone(),
        host: host.clone(),
        peers: peers.clone(),
        system: system.clone(),
        dispatcher: dispatcher.clone(),
        clock: clock.clone(),
    });
    let context = Arc::new(LeaderContext {
        node_id: config.node.id,
        boot_id: boot_id.clone(),
        clock: clock.clone(),
        disk: disk.clone(),
        dispatcher: dispatcher.clone(),
        plans: plans.clone(),
        system: system.clone(),
        cancel_grace: config.cancel_grace,
        retention: retention.clone(),
        port: port.clone(),
        peers: peers.clone(),
        seeds: AtomicU64::new(u64::try_from(clock.unique() >> 64).unwrap_or(0)),
    });

    let replica = SystemReplica::new(system.clone());
    let members: BTreeMap<u64, u64> = nodes.iter().map(|node| (*node, *node)).collect();
    let group = GroupConfig { group: SYSTEM_GROUP, replica: config.node.id, members, learners: BTreeMap::new(), initialize: true };

    // The server goes first, so that other nodes' votes are answered while this node waits for a cluster.
    let draining = CancellationToken::new();
    let api = Arc::new(ApiContext {
        node_id: config.node.id,
        host: host.clone(),
        peers: peers.clone(),
        disk: disk.clone(),
        system: system.clone(),
        port: port.clone(),
        permits: permits.clone(),
        dispatcher: dispatcher.clone(),
        led: led.clone(),
        plans,
        clock: clock.clone(),
        changes: changes.clone(),
        gateway: gateway.clone(),
        liveness: liveness.clone(),
        admission: Admission::new(config.limits.changes, config.limits.reads, config.limits.watches, config.limits.workers),
        retention,
    });
    let server = Server {
        api: api.clone(),
        prober: prober.clone(),
        dispatcher: dispatcher.clone(),
        times,
        draining: draining.clone(),
        cluster_id: cluster_id.clone(),
    };
    let mut server = server.start(&*listener, &stop).await?;
    // The server has the socket now, and closes it when it stops. Kept open here it would go on taking connections that nobody answers.
    drop(listener);

    let opened = async {
        let system_group = host.open(group, Box::new(replica)).await?;
        ready.wait_for("a leader of the system group");
        let cluster = register(&founders, &identity, &cluster_id, &system_group, &system, &clock).await?;
        ready.wait_for("the shards' replicas");
        open_shards(&config, &host, &cluster, &disk, &changes).await
    };
    let groups = tokio::select! {
        groups = opened => groups?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (root, root_ended) = Actor::spawn(None, NodeSupervisor, context).await.map_err(|error| Error::Supervisor(error.to_string()))?;
    // Until this says that the clock is confirmed, the root lets no shard have actors here.
    let clock_doubt = clock_bound.outside();
    clock_bound::start(clock_bound.clone(), &readiness, host.clone(), liveness.clone(), root.clone(), config.node.id, &draining);
    for group in &groups {
        root.cast(NodeMessage::Opened(group.clone())).map_err(|error| Error::Supervisor(error.to_string()))?;
    }
    follow_flow(system.clone(), dispatcher.clone(), gateway.clone(), &stop);
    let reporting = stop.clone();
    let report = async move {
        clock_bound.inside().await;
        permits.run().await;
    };
    tokio::spawn(async move { reporting.run_until_cancelled(report).await });
    balance::start(config.node.id, host.clone(), system, liveness.clone(), draining.clone());
    if let Some(group) = host.group(SYSTEM_GROUP) {
        schedules::start(api.clone(), group, clock_doubt, draining.clone());
    }
    start_builtin_worker(&config, times.lease, boot_id, &gateway, &peers, &stop);
    wait_for_leaders(&groups, &shutdown).await;
    hooks.open(api);
    ready.pass();
    server.set_serving(true).await;
    tracing::info!(node = config.node.id, cluster = %cluster_id, shards = groups.len(), "ready");

    let mut fatal = host.fatal();
    let fault = tokio::select! {
        () = shutdown.cancelled() => None,
        fault = fatal.wait_for(Option::is_some) => {
            Some(Error::Fault(fault.ok().and_then(|fault| fault.as_ref().map(|fault| fault.reason.clone())).unwrap_or_default()))
        }
        _ = root_ended => Some(Error::Supervisor("it stopped".to_owned())),
        error = server.failed() => Some(error.into()),
    };
    if let Some(fault) = fault {
        return Err(fault);
    }
    ready.wait_for("the node stops");
    server.set_serving(false).await;
    draining.cancel();
    prober.drain();
    stop_in_order(&config, &host, &dispatcher, &gateway, &liveness, root).await;
    server.stop().await;
    host.shutdown().await;
    Ok(())
}

/// Every node executes `http`, `gate` and `emit` steps.
fn start_builtin_worker(
    config: &Config,
    lease: Duration,
    incarnation: String,
    gateway: &Gateway,
    peers: &Arc<Peers>,
    stop: &CancellationToken,
) {
    let secrets = quorus_secrets::Secrets::with_folder(config.secrets_dir.clone());
    let signals = Arc::new(ApiSignals::new(config.node.id, peers.clone()));
    let services = Services::new(Reach::new(config.http_allow_private.clone()), secrets, signals);
    executors::start(executors::Arguments {
        gateway: gateway.clone(),
        services: Arc::new(services),
        node_id: config.node.id,
        incarnation,
        concurrency: config.builtin_concurrency,
        lease,
        stop: stop.clone(),
    });
}

/// Brings limits, pauses and drains to those who act on them.
fn follow_flow(system: SystemStore, dispatcher: Dispatcher, gateway: Gateway, stop: &CancellationToken) {
    let (mut flow, stop) = (system.subscribe_flow(), stop.clone());
    let follow = async move {
        loop {
            let now = flow.borrow_and_update().clone();
            gateway.set_drained(now.drained_workers.keys().cloned().collect());
            dispatcher.set_flow(now);
            if flow.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::spawn(async move { stop.run_until_cancelled(follow).await });
}

/// No new leases, workers elsewhere, leaderships elsewhere, actors gone.
async fn stop_in_order(
    config: &Config,
    host: &Host,
    dispatcher: &Dispatcher,
    gateway: &Gateway,
    liveness: &Liveness,
    root: ActorRef<NodeMessage>,
) {
    dispatcher.drain();
    if active(Mutant::DroppedDrain) {
        dispatcher.give_up_all().await;
    }
    balance::give_all_away(config.node.id, host.groups(), liveness).await;
    gateway.drain();
    let left = async {
        while !gateway.view().is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // Whoever stays finds another node when the connection breaks.
    tokio::time::timeout(WORKERS_LEAVE_WITHIN, left).await.ok();
    root.stop(None);
}

struct Founders<'a> {
    config: &'a Config,
    nodes: &'a BTreeSet<u64>,
    peers: &'a Arc<Peers>,
}

impl Founders<'_> {
    async fn find(&self, identity: &Identity) -> Result<(String, BTreeMap<u64, String>), BootstrapError> {
        bootstrap::find_founders(identity, self.config.bootstrap_expect, self.nodes, self.peers).await
    }
}

/// Waits until the system group says what the cluster is made of; if this node leads it, says so first.
async fn register(
    founders: &Founders<'_>,
    identity: &Identity,
    cluster_id: &str,
    group: &Group,
    system: &SystemStore,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ClusterInfo>, Error> {
    let mut proposal = None;
    loop {
        if let Some(cluster) = system.cluster() {
            return Ok(cluster);
        }
        let leadership = *group.leadership().borrow();
        if leadership.here {
            if proposal.is_none() {
                let (_, incarnations) = founders.find(identity).await?;
                let config = founders.config;
                let addresses = addresses(config);
                let info =
                    |(node, incarnation)| (node, NodeInfo { address: addresses.get(&node).cloned().unwrap_or_default(), incarnation });
                let nodes = incarnations.into_iter().map(info).collect();
                proposal = Some(ClusterInfo {
                    allow_unverified_approvals: config.allow_unverified_approvals,
                    ..bootstrap::first_cluster(cluster_id, nodes, config.shards, config.replication_factor)
                });
            }
            if let Some(cluster) = proposal.clone() {
                let command = SystemCommand::RegisterCluster(cluster).encode(clock.now());
                match group.propose(leadership.term, command).await {
                    Ok(_) | Err(ProposeError::NotLeader { .. } | ProposeError::OutcomeUnknown) => {}
                    Err(error) => tracing::debug!(%error, "the cluster is not registered yet"),
                }
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Opens the replicas that this node has.
async fn open_shards(
    config: &Config,
    host: &Host,
    cluster: &ClusterInfo,
    disk: &Arc<dyn Disk>,
    changes: &Changes,
) -> Result<Vec<Group>, Error> {
    if config.shards != cluster.shard_count {
        tracing::warn!(configured = config.shards, actual = cluster.shard_count, "the number of shards was fixed at bootstrap");
    }
    let mut groups = Vec::new();
    for (shard, placement) in &cluster.placements {
        let Some((replica, _)) = cluster.replica_on(*shard, config.node.id) else { continue };
        let members: BTreeMap<u64, u64> = placement.replicas.iter().map(|(replica, info)| (*replica, info.node)).collect();
        let machine = ShardReplica::new(disk.clone(), *shard, Box::new(changes.clone()));
        let group = GroupConfig { group: *shard, replica, members, learners: BTreeMap::new(), initialize: true };
        groups.push(host.open(group, Box::new(machine)).await?);
    }
    Ok(groups)
}

/// A node is ready once it knows a leader of each of its shards.
async fn wait_for_leaders(groups: &[Group], shutdown: &CancellationToken) {
    for group in groups {
        let mut leadership = group.leadership();
        tokio::select! {
            _ = leadership.wait_for(|now| now.leader.is_some()) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Every node's address, this one's too.
pub(crate) fn addresses(config: &Config) -> BTreeMap<u64, String> {
    let mut addresses = config.peers.clone();
    addresses.entry(config.node.id).or_insert_with(|| config.advertise.clone());
    addresses
}

fn raft_options(replication: Options, config: &Config, cluster_id: &str) -> Options {
    Options {
        node_id: config.node.id,
        cluster_id: cluster_id.to_owned(),
        heartbeat: config.raft.heartbeat,
        election_min: config.raft.election_min,
        election_max: config.raft.election_max,
        ..replication
    }
}
