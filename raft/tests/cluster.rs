//! Three hosts over real gRPC and real disks.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use quorus_proto::peer::{
    InstallSnapshotRequest, RaftHello, RaftLogId, RaftMembership, RaftReplica, RaftSnapshotEnd, RaftSnapshotHeader, RaftVote, RaftVoters,
    install_snapshot_request::Part, raft_service_client::RaftServiceClient,
};
use quorus_raft::{
    ApplyError, Entry, Error, GroupConfig, Host, Index, MembershipError, Net as _, NodeId, Options, Peers, ProposeError, ReadError,
    StateMachine, TransferError,
    disk::{Batch, Disk, DiskError, RocksDisk, RocksOptions},
};
use support::{Book, GROUP, Records, Running, leader, propose};
use tempfile::TempDir;
use tonic::{Code, transport::Channel};

struct Cluster {
    folders: Vec<TempDir>,
    book: Arc<Book>,
    options: Options,
    nodes: BTreeMap<NodeId, Running>,
}

/// Waits for the lock of a host that was killed: the thread that closes its disk may still be at it.
async fn open_disk(folder: &Path) -> Arc<dyn Disk> {
    loop {
        match RocksDisk::open(folder, &RocksOptions::default()) {
            Ok(disk) => return Arc::new(disk),
            Err(DiskError::Failed { reason, .. }) if reason.contains("lock hold") => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Cluster {
    async fn start(options: Options) -> Self {
        let folders = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut cluster = Self { folders, book: Arc::default(), options, nodes: BTreeMap::new() };
        for node in 1..=3 {
            cluster.start_node(node).await;
        }
        cluster
    }

    async fn start_node(&mut self, node: NodeId) {
        let disk = open_disk(self.folders[node as usize - 1].path()).await;
        let running = Running::start(node, 3, &self.book, disk, self.options.clone()).await;
        self.nodes.insert(node, running);
    }

    /// Stops a node, and returns its id and the term in which it led.
    async fn stop_leader(&mut self) -> (NodeId, u64) {
        let (id, term) = {
            let (_, term) = leader(self.nodes.values(), 0).await;
            let id = self.nodes.iter().find(|(_, node)| node.group.leadership().borrow().here).map(|(id, _)| *id);
            (id.unwrap(), term)
        };
        self.nodes.remove(&id).unwrap().kill().await;
        (id, term)
    }
}

fn follower(cluster: &Cluster) -> &Running {
    cluster.nodes.values().find(|node| !node.group.leadership().borrow().here).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proposed_on_the_leader_is_read_on_a_follower() {
    let cluster = Cluster::start(Options::default()).await;
    let (leading, term) = leader(cluster.nodes.values(), 0).await;
    let index = propose(leading, "one").await;
    for node in cluster.nodes.values() {
        assert!(node.group.read_barrier().await.unwrap() >= index);
        assert_eq!(node.records(), ["one"]);
    }
    assert!(leading.group.quorum_acked_within(Duration::from_secs(60)));
    let status = leading.group.status();
    assert_eq!((status.term, status.healthy, status.applied), (term, true, Some(index)));
    assert_eq!(status.voters, [(100, 1), (200, 2), (300, 3)]);
    assert_eq!(status.replicas.len(), 2);

    let refused = follower(&cluster).group.propose(term, Bytes::from("two")).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { leader: Some(_) })), "{refused:?}");
    let refused = leading.group.propose(term + 1, Bytes::from("three")).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    assert!(!follower(&cluster).group.quorum_acked_within(Duration::from_secs(60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_proposals_keep_their_order() {
    let cluster = Cluster::start(Options::default()).await;
    let (leading, term) = leader(cluster.nodes.values(), 0).await;
    let mut pending = Vec::new();
    let expected: Vec<String> = (0..2000).map(|number| format!("record {number}")).collect();
    for record in &expected {
        pending.push(leading.group.propose_pipelined(term, Bytes::from(record.clone())).await.unwrap());
    }
    for (pending, record) in pending.into_iter().zip(&expected) {
        assert_eq!(pending.applied().await.unwrap().answer, record.as_bytes());
    }
    let reading = follower(&cluster);
    reading.group.read_barrier().await.unwrap();
    assert_eq!(reading.records(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_goes_the_others_go_on_and_it_catches_up() {
    let mut cluster = Cluster::start(Options::default()).await;
    propose(leader(cluster.nodes.values(), 0).await.0, "before").await;
    let (gone, term) = cluster.stop_leader().await;
    let (next, later) = leader(cluster.nodes.values(), term).await;
    assert!(later > term);
    propose(next, "without").await;
    cluster.start_node(gone).await;
    let returned = &cluster.nodes[&gone];
    returned.group.read_barrier().await.unwrap();
    assert_eq!(returned.records(), ["before", "without"]);

    // All at once: what was acknowledged is there, in a later term.
    for (_, node) in std::mem::take(&mut cluster.nodes) {
        node.kill().await;
    }
    for node in 1..=3 {
        cluster.start_node(node).await;
    }
    let (leading, last) = leader(cluster.nodes.values(), later).await;
    assert!(last > later);
    propose(leading, "after").await;
    assert_eq!(leading.records(), ["before", "without", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_behind_the_log_gets_a_snapshot() {
    let options = Options { snapshot_every: 50, keep_logs: 5, ..Options::default() };
    let mut cluster = Cluster::start(options).await;
    let (leading, _) = leader(cluster.nodes.values(), 0).await;
    propose(leading, "first").await;
    let lagging = *cluster.nodes.iter().find(|(_, node)| !node.group.leadership().borrow().here).unwrap().0;
    cluster.nodes.remove(&lagging).unwrap().kill().await;
    let (leading, term) = leader(cluster.nodes.values(), 0).await;
    let mut pending = Vec::new();
    // Large records, so that the snapshot has several chunks.
    let large = "x".repeat(10_000);
    for number in 0..300 {
        let record = Bytes::from(format!("record {number} {large}"));
        pending.push(leading.group.propose_pipelined(term, record).await.unwrap());
    }
    for pending in pending {
        pending.applied().await.unwrap();
    }
    let expected = leading.records();
    cluster.start_node(lagging).await;
    let returned = &cluster.nodes[&lagging];
    returned.group.read_barrier().await.unwrap();
    assert_eq!(returned.records(), expected);
    // And it goes on through the log.
    let (leading, _) = leader(cluster.nodes.values(), 0).await;
    propose(leading, "last").await;
    returned.group.read_barrier().await.unwrap();
    assert_eq!(returned.records().last().unwrap(), "last");

    // What it got is its own now: it survives a restart.
    cluster.nodes.remove(&lagging).unwrap().kill().await;
    cluster.start_node(lagging).await;
    let returned = &cluster.nodes[&lagging];
    returned.group.read_barrier().await.unwrap();
    assert_eq!(returned.records().len(), expected.len() + 1);
}

/// The messages of a snapshot that replaces everything by one row.
fn strange_snapshot(to: NodeId, vote: u64) -> Vec<InstallSnapshotRequest> {
    let replica = to * 100;
    let header = RaftSnapshotHeader {
        hello: Some(RaftHello { cluster_id: "test".to_owned(), from_node: 9, to_node: to }),
        group: GROUP,
        replica,
        vote: Some(RaftVote { term: vote, replica: 900, committed: true }),
        last: Some(RaftLogId { term: vote, index: 10_000 }),
        membership: Some(RaftMembership {
            log_id: Some(RaftLogId { term: 1, index: 1 }),
            configs: vec![RaftVoters { replicas: vec![100, 200, 300] }],
            replicas: (1..=3).map(|node| RaftReplica { replica: node * 100, node }).collect(),
        }),
    };
    let row = [&[0, 0, 0, 1, 0, 0, 0, 7, b'k'][..], b"strange"].concat();
    [Part::Header(header), Part::Chunk(Bytes::from(row))].map(|part| InstallSnapshotRequest { part: Some(part) }).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_off_changes_nothing() {
    let cluster = Cluster::start(Options::default()).await;
    let (leading, term) = leader(cluster.nodes.values(), 0).await;
    propose(leading, "kept").await;
    let (to, reading) = cluster.nodes.iter().find(|(_, node)| !node.group.leadership().borrow().here).unwrap();
    reading.group.read_barrier().await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", cluster.book.address(*to).unwrap())).unwrap().connect().await.unwrap();
    let mut client = RaftServiceClient::new(channel);

    // The caller goes away in the middle. What it sent must have arrived before, so it goes when the second message was taken from it.
    let (sent, mut taken) = tokio::sync::mpsc::channel(1);
    let messages = futures::stream::iter(strange_snapshot(*to, term + 1)).chain(futures::stream::once(async move {
        sent.send(()).await.unwrap();
        std::future::pending().await
    }));
    tokio::select! {
        answer = client.install_snapshot(messages) => panic!("{answer:?}"),
        _ = taken.recv() => {}
    }

    // Another ends without the seal. It is refused with another word as long as the first one is still looked at.
    let refused = loop {
        let messages = futures::stream::iter(strange_snapshot(*to, term + 1));
        let refused = client.install_snapshot(messages).await.unwrap_err();
        if refused.code() != Code::ResourceExhausted {
            break refused;
        }
    };
    assert_eq!(refused.message(), "the snapshot was cut off");

    // Nor does one that says that there was more.
    let end = RaftSnapshotEnd { chunks: 2, bytes: 20 };
    let mut messages = strange_snapshot(*to, term + 1);
    messages.push(InstallSnapshotRequest { part: Some(Part::End(end)) });
    let refused = client.install_snapshot(futures::stream::iter(messages)).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");

    let (leading, _) = leader(cluster.nodes.values(), 0).await;
    propose(leading, "goes on").await;
    reading.group.read_barrier().await.unwrap();
    assert_eq!(reading.records(), ["kept", "goes on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leadership_is_handed_over() {
    let cluster = Cluster::start(Options::default()).await;
    let (leading, term) = leader(cluster.nodes.values(), 0).await;
    propose(leading, "one").await;
    let (target, other) = cluster.nodes.iter().find(|(_, node)| !node.group.leadership().borrow().here).unwrap();
    assert_eq!(other.group.transfer_leader(*target).await, Err(TransferError::NotLeader));
    assert_eq!(leading.group.transfer_leader(9).await, Err(TransferError::NotAVoter { node: 9 }));
    leading.group.transfer_leader(*target).await.unwrap();
    let (now, later) = leader([other], term).await;
    assert!(later > term);
    propose(now, "two").await;
    assert_eq!(now.records(), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_answers_nothing_and_invents_nothing() {
    let options = Options { read_timeout: Duration::from_millis(600), ..Options::default() };
    let mut cluster = Cluster::start(options).await;
    propose(leader(cluster.nodes.values(), 0).await.0, "one").await;
    cluster.stop_leader().await;
    let first = *cluster.nodes.keys().next().unwrap();
    cluster.nodes.remove(&first).unwrap().kill().await;
    let alone = cluster.nodes.values().next().unwrap();
    let read = alone.group.read_barrier().await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_follows_and_a_replica_keeps_its_identity() {
    let book = Arc::<Book>::default();
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let config = |node: NodeId, replica| GroupConfig {
        group: GROUP + 1,
        replica,
        members: BTreeMap::from([(10, 1)]),
        learners: BTreeMap::from([(20, 2)]),
        initialize: node == 1,
    };
    let mut nodes = Vec::new();
    for node in 1..=2 {
        let disk = open_disk(folders[node as usize - 1].path()).await;
        nodes.push(Running::start(node, node, &book, disk, Options::default()).await);
    }
    let leading = nodes[0].host.open(config(1, 10), Box::new(Records { group: GROUP + 1 })).await.unwrap();
    let learning = nodes[1].host.open(config(2, 20), Box::new(Records { group: GROUP + 1 })).await.unwrap();
    let mut leadership = leading.leadership();
    let term = leadership.wait_for(|leadership| leadership.here).await.unwrap().term;
    leading.propose(term, Bytes::from("one")).await.unwrap();
    // It hears of the leader, and of the group, once it is added.
    let mut leadership = learning.leadership();
    leadership.wait_for(|leadership| leadership.leader == Some(1)).await.unwrap();
    learning.read_barrier().await.unwrap();
    assert_eq!(support::records(nodes[1].disk.as_ref(), GROUP + 1), ["one"]);
    assert_eq!(leading.status().learners, [(20, 2)]);

    let again = nodes[1].host.open(config(2, 20), Box::new(Records { group: GROUP + 1 })).await;
    assert!(matches!(again, Err(Error::AlreadyOpen { .. })));
    let host = Host::new(Options::default(), nodes[0].disk.clone(), Arc::new(Peers::new(book))).unwrap();
    let wrong = host.open(config(2, 11), Box::new(Records { group: GROUP + 1 })).await;
    assert!(matches!(wrong, Err(Error::OtherReplica { wanted: 11, found: 10, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_ends_every_wait() {
    let mut cluster = Cluster::start(Options::default()).await;
    let (leading, term) = leader(cluster.nodes.values(), 0).await;
    propose(leading, "one").await;
    let group = leading.group.clone();
    let id = *cluster.nodes.iter().find(|(_, node)| node.group.leadership().borrow().here).unwrap().0;
    let waiting = tokio::spawn({
        let group = group.clone();
        async move { group.wait_applied(u64::MAX).await }
    });
    let stopping = cluster.nodes.remove(&id).unwrap();
    stopping.host.shutdown().await;
    assert_eq!(waiting.await.unwrap(), Err(ReadError::Stopped));
    assert_eq!(group.propose(term, Bytes::from("two")).await, Err(ProposeError::Stopped));
    assert_eq!(group.read_barrier().await, Err(ReadError::Stopped));
    assert!(!group.leadership().borrow().here);
}

/// Fails or panics the first times, then works.
struct Moody {
    records: Records,
    moods: Vec<&'static str>,
}

impl StateMachine for Moody {
    fn apply(&mut self, entries: &[Entry], batch: &mut Batch) -> Result<Vec<Bytes>, ApplyError> {
        match self.moods.pop() {
            Some("fails") => Err(ApplyError::new("in no mood")),
            Some(mood) => panic!("{mood}"),
            None => self.records.apply(entries, batch),
        }
    }

    fn applied(&mut self, index: Index) {
        self.records.applied(index);
    }

    fn restored(&mut self) -> Result<(), ApplyError> {
        self.records.restored()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_stops_is_started_again_and_nothing_is_applied_twice() {
    let folder = tempfile::tempdir().unwrap();
    let node = Running::start(1, 1, &Arc::default(), open_disk(folder.path()).await, Options::default()).await;
    let group = GROUP + 1;
    let config = GroupConfig { group, members: BTreeMap::from([(100, 1)]), ..support::config(1, 1) };
    let moody = Moody { records: Records { group }, moods: vec!["panics", "fails"] };
    let moody = node.host.open(config, Box::new(moody)).await.unwrap();
    let mut leadership = moody.leadership();
    let term = leadership.wait_for(|leadership| leadership.here).await.unwrap().term;
    let outcome = moody.propose(term, Bytes::from("one")).await;
    assert_eq!(outcome, Err(ProposeError::Stopped), "it is in the log, but was not applied");
    // Once for each mood, in a later term each time; then it is applied, as it was committed.
    let later = leadership.wait_for(|leadership| leadership.here && leadership.term > term + 1).await.unwrap().term;
    moody.propose(later, Bytes::from("two")).await.unwrap();
    assert_eq!(support::records(node.disk.as_ref(), group), ["one", "two"]);
    // The other group of the host was not touched.
    assert_eq!(node.group.leadership().borrow().term, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_moves_from_one_node_to_others() {
    let cluster = Cluster::start(Options::default()).await;
    let group = GROUP + 1;
    let first = GroupConfig { group, replica: 1, members: BTreeMap::from([(1, 1)]), learners: BTreeMap::new(), initialize: true };
    let open = async |node: NodeId, config: &GroupConfig| {
        cluster.nodes[&node].host.open(config.clone(), Box::new(Records { group })).await.unwrap()
    };
    let here = open(1, &first).await;
    let term = here.leadership().wait_for(|leadership| leadership.here).await.unwrap().term;
    here.propose(term, Bytes::from("one")).await.unwrap();
    let mut joining = Vec::new();
    for (node, replica) in [(2, 2), (3, 3)] {
        joining.push(open(node, &GroupConfig { replica, initialize: false, ..first.clone() }).await);
        here.add_learner(replica, node).await.unwrap();
    }
    let unknown = here.set_voters(BTreeSet::from([1, 9])).await;
    assert!(matches!(unknown, Err(MembershipError::Refused { .. })), "{unknown:?}");
    here.set_voters(BTreeSet::from([1, 2, 3])).await.unwrap();
    here.set_voters(BTreeSet::from([2, 3])).await.unwrap();
    let mut leadership = joining[0].leadership();
    let leader = leadership.wait_for(|leadership| leadership.term > term && leadership.leader.is_some()).await.unwrap().leader;
    let leading = &joining[usize::from(leader == Some(3))];
    let term = leading.leadership().wait_for(|leadership| leadership.here).await.unwrap().term;
    leading.propose(term, Bytes::from("two")).await.unwrap();
    assert_eq!(leading.status().voters, [(2, 2), (3, 3)]);
    for (node, group_here) in [(2, &joining[0]), (3, &joining[1])] {
        group_here.read_barrier().await.unwrap();
        assert_eq!(support::records(cluster.nodes[&node].disk.as_ref(), group), ["one", "two"]);
    }
}
