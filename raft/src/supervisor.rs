//! Keeps a group running: opens its stores, starts its core, tells who leads, and starts again when the core stops.
//!
//! A core stops on a panic or an error of its own; one group's trouble is not the others'. Whatever it had not written is gone, as after a crash, and
//! the stores are opened again from disk. An error of the disk is everyone's trouble: then nothing is started again, and the process exits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::{ConfigError, ServerState, SnapshotPolicy, type_config::async_runtime::watch::WatchReceiver};
use tokio::time::Instant;

use crate::{
    Error, Leadership, Options, ReplicaId,
    disk::{Batch, Durability},
    group::GroupInner,
    network::ClientFactory,
    store::{LogStore, StateStore, StoreError},
    types::{Home, Raft},
};

/// A core that stopped is started again after so long; doubled each time it fails at once, up to the maximum.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(10);

/// How openraft is to behave.
pub(crate) fn raft_config(options: &Options) -> Result<openraft::Config, ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = openraft::Config {
        cluster_name: options.cluster_id.clone(),
        heartbeat_interval: millis(options.heartbeat),
        // A follower that has just answered an append needs no heartbeat.
        heartbeat_min_interval: Some(millis(options.heartbeat) / 2),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        install_snapshot_timeout: millis(options.snapshot_timeout),
        max_payload_entries: options.append_entries_max,
        max_append_entries: Some(options.append_entries_max),
        // A follower gets a snapshot when its entries are purged, and not sooner: the path through the log is the safer one.
        replication_lag_threshold: u64::MAX / 4,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        max_in_snapshot_log_to_keep: options.keep_logs,
        // Few at a time where few are kept, as in simulations: else nothing would be purged there, and no snapshot sent.
        purge_batch_size: options.keep_logs.clamp(1, 1024),
        // A restarted leader would go on in its old term, with entries in its log that the new actors have not seen.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        // A leader that only some can reach must not keep the others from electing one that a quorum can.
        quorum_loss_probe_interval: Some(3 * millis(options.election_max)),
        ..openraft::Config::default()
    };
    config.validate()
}

/// Opens the stores and starts the core.
pub(crate) async fn start(group: &Arc<GroupInner>) -> Result<Raft, Error> {
    let id = group.id();
    let (host, replica) = (group.host(), group.replica());
    let stopped = |reason: String| Error::Stopped { group: id, reason };
    let store_error = |error: StoreError| match error {
        StoreError::Disk(source) => Error::Disk { group: id, source },
        StoreError::Corrupt(reason) => Error::Corrupt { group: id, replica, reason },
    };
    // An earlier core of the group may have left something in the queue.
    host.writer().write(Batch::new(), Durability::Buffered).await.map_err(|error| stopped(error.to_string()))?;
    let log = LogStore::open(id, Arc::clone(host.disk()), host.writer().clone(), host.options()).map_err(store_error)?;
    let state = StateStore::open(group.state()).map_err(store_error)?;
    let clients = ClientFactory {
        group: id,
        links: Arc::clone(host.links()),
        options: Arc::clone(host.options()),
        sending: Arc::clone(&host.sending),
    };
    let raft =
        Raft::build(replica, Arc::clone(host.raft_config()), clients, log, state).await.map_err(|error| stopped(error.to_string()))?;
    let wait = group.votes_from().saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        // A candidate votes for itself, which it must not do either before the lease that it may have granted has ended.
        raft.runtime_config().elect(false);
        let raft = raft.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            raft.runtime_config().elect(true);
        });
    }
    raft.run();
    initialize(group, &raft).await?;
    Ok(raft)
}

/// Writes the first membership, if there is none yet.
async fn initialize(group: &GroupInner, raft: &Raft) -> Result<(), Error> {
    let config = group.config();
    if !config.initialize || !config.members.contains_key(&config.replica) {
        return Ok(());
    }
    let stopped = |reason: String| Error::Stopped { group: config.group, reason };
    if raft.is_initialized().await.map_err(|error| stopped(error.to_string()))? {
        return Ok(());
    }
    let members: BTreeMap<ReplicaId, Home> = config.members.iter().map(|(replica, node)| (*replica, Home { node: *node })).collect();
    match raft.initialize(members).await {
        // Another member was faster, and has sent its first entry since we looked.
        Ok(()) | Err(openraft::errors::RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(stopped(error.to_string())),
    }
}

/// Runs until the group is stopped.
pub(crate) async fn run(group: Arc<GroupInner>, mut raft: Raft) {
    let mut pause = RESTART_MIN;
    loop {
        let started = Instant::now();
        watch_leadership(&group, &raft).await;
        group.leadership.send_modify(|leadership| (leadership.here, leadership.leader) = (false, None));
        group.set_raft(None);
        // Its error is in the metrics, and was logged where it arose.
        let _ended = raft.shutdown().await;
        if group.stop.is_cancelled() || group.host().writer().alarm().raised() {
            return;
        }
        metrics::counter!("quorus_raft_core_restarts_total", "group" => group.id().to_string()).increment(1);
        if started.elapsed() > RESTART_MAX {
            pause = RESTART_MIN;
        }
        raft = loop {
            tracing::error!(group = group.id(), replica = group.replica(), ?pause, "the core of the group stopped; opening it again");
            tokio::select! {
                biased;
                () = group.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = RESTART_MAX.min(pause * 2);
            match start(&group).await {
                Ok(raft) => break raft,
                Err(error) => tracing::error!(%error, "cannot open the group"),
            }
            if group.host().writer().alarm().raised() {
                return;
            }
        };
        group.set_raft(Some(raft.clone()));
    }
}

/// Tells who leads, until the core stops or is to stop.
async fn watch_leadership(group: &GroupInner, raft: &Raft) {
    let mut server = raft.server_metrics();
    let mut all = raft.metrics();
    let label = group.id().to_string();
    let term_gauge = metrics::gauge!("quorus_raft_term", "group" => label.clone());
    let leader_gauge = metrics::gauge!("quorus_raft_leader", "group" => label.clone());
    let changes = metrics::counter!("quorus_raft_leader_changes_total", "group" => label);
    loop {
        // A new leader refuses proposals until a quorum has answered it once; only then it is one for us.
        let confirmed = {
            let all = all.borrow_and_update();
            (all.state == ServerState::Leader && all.last_quorum_acked.is_some()).then_some(all.current_term)
        };
        let (leadership, elected, missing) = {
            let server = server.borrow_and_update();
            let home = |replica: ReplicaId| server.membership_config.membership().get_node(&replica).map(|home| home.node);
            let vote = server.vote;
            let elected = server.state == ServerState::Leader && vote.committed && vote.leader_id.voted_for == group.replica();
            let here = elected && confirmed == Some(vote.leader_id.term);
            let leader = if elected { Some(group.host().options().node_id) } else { server.current_leader.and_then(home) };
            let known: BTreeSet<_> = server.membership_config.membership().nodes().map(|(replica, _)| *replica).collect();
            let missing: Vec<_> = group.config().learners.iter().filter(|(replica, _)| !known.contains(replica)).collect();
            (Leadership { term: vote.leader_id.term, leader, here }, elected, missing)
        };
        let before = group.leadership.send_replace(leadership);
        if before != leadership {
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            term_gauge.set(leadership.term as f64);
            leader_gauge.set(if leadership.here { 1.0 } else { 0.0 });
            if before.leader != leadership.leader && leadership.leader.is_some() {
                changes.increment(1);
            }
            tracing::info!(group = group.id(), term = leadership.term, leader = leadership.leader, here = leadership.here, "leadership");
        }
        if leadership.here && group.config().initialize {
            for (replica, node) in missing {
                tokio::spawn(add_learner(raft.clone(), *replica, Home { node: *node }));
            }
        }
        tokio::select! {
            biased;
            () = group.stop.cancelled() => return,
            changed = server.changed() => if changed.is_err() { return },
            changed = all.changed(), if elected && !leadership.here => if changed.is_err() { return },
        }
    }
}

async fn add_learner(raft: Raft, replica: ReplicaId, home: Home) {
    // Another change may be under way; the next leadership tries again.
    if let Err(error) = raft.add_learner(replica, home, false).await {
        tracing::debug!(replica, %error, "cannot add a learner now");
    }
}
