use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use quorus_engine::{Principal, Timestamp};
use quorus_raft::{
    Entry, StateMachine,
    disk::{Batch, Disk, Durability, MemoryDisk},
};

use super::*;
use crate::{codec::golden, replica::state_digest};

/// A system group on one disk.
struct Group {
    disk: Arc<dyn Disk>,
    store: SystemStore,
    replica: SystemReplica,
    index: u64,
}

impl Group {
    fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let store = SystemStore::open(disk.clone()).unwrap();
        Self { disk, replica: SystemReplica::new(store.clone()), store, index: 0 }
    }

    fn apply(&mut self, commands: &[SystemCommand]) -> Vec<SystemAnswer> {
        let entries: Vec<_> = commands
            .iter()
            .map(|command| {
                self.index += 1;
                Entry { index: self.index, term: 1, record: command.encode(Timestamp(1000 + self.index as i64)) }
            })
            .collect();
        let mut batch = Batch::new();
        let answers = self.replica.apply(&entries, &mut batch).unwrap();
        self.disk.write(batch, Durability::Buffered).unwrap();
        self.replica.applied(self.index);
        answers.into_iter().map(|bytes| SystemAnswer::decode(bytes).unwrap()).collect()
    }

    fn apply_workflow(&mut self, name: &str, content: &'static str) -> WorkflowApplied {
        match self.apply(&[apply(name, content)]).remove(0) {
            SystemAnswer::WorkflowApplied(applied) => applied,
            other => panic!("{other:?}"),
        }
    }
}

fn principal() -> Principal {
    Principal { subject: "ada".into(), ..Principal::default() }
}

fn apply(name: &str, content: &'static str) -> SystemCommand {
    let mut digest = [0; 32];
    digest[..content.len()].copy_from_slice(content.as_bytes());
    SystemCommand::ApplyWorkflow {
        namespace: "default".into(),
        name: name.into(),
        workflow: Bytes::from_static(content.as_bytes()),
        digest,
        principal: principal(),
    }
}

fn delete(name: &str) -> SystemCommand {
    SystemCommand::DeleteWorkflow { namespace: "default".into(), name: name.into(), principal: principal() }
}

fn cluster(id: &str) -> ClusterInfo {
    let node = |number: u64| NodeInfo { address: format!("10.0.0.{number}:7401"), incarnation: format!("inc-{number}") };
    let replicas = |nodes: [u64; 3]| nodes.map(|node| (node + 10, ReplicaInfo { node, learner: false })).into();
    ClusterInfo {
        cluster_id: id.into(),
        nodes: [1, 2, 3].map(|number| (number, node(number))).into(),
        shard_count: 2,
        replication_factor: 3,
        placements: BTreeMap::from([0, 1, 2].map(|shard| (shard, PlacementInfo { epoch: 1, replicas: replicas([1, 2, 3]) }))),
        allow_unverified_approvals: true,
    }
}

fn update(node: u64, address: &str, incarnation: &str) -> SystemCommand {
    SystemCommand::UpdateNodeAddress { node, address: address.into(), incarnation: incarnation.into() }
}

#[test]
fn the_same_content_makes_no_new_version() {
    let mut group = Group::new();
    let first = group.apply_workflow("deploy", "a");
    assert_eq!((first.version, first.changed, first.revision), (1, true, 1));
    let again = group.apply_workflow("deploy", "a");
    assert_eq!(again, WorkflowApplied { changed: false, ..first });
    let second = group.apply_workflow("deploy", "b");
    assert_eq!((second.version, second.changed, second.revision), (2, true, 3));
    // Going back to older content is a new version, since only the latest is compared.
    assert_eq!(group.apply_workflow("deploy", "a").version, 3);

    let latest = group.store.workflow("default", "deploy", 0).unwrap().unwrap();
    assert_eq!((latest.version, latest.workflow.as_ref(), latest.applied_by), (3, &b"a"[..], principal()));
    assert_eq!(group.store.workflow("default", "deploy", 2).unwrap().unwrap().workflow.as_ref(), b"b");
    assert_eq!(group.store.workflow("default", "deploy", 9).unwrap(), None);
    assert_eq!(group.store.workflow("other", "deploy", 0).unwrap(), None);
}

#[test]
fn version_numbers_never_come_back_after_a_deletion() {
    let mut group = Group::new();
    group.apply(&[apply("deploy", "a"), apply("deploy", "b"), delete("deploy"), delete("deploy"), delete("never-there")]);
    assert_eq!(group.store.workflow("default", "deploy", 0).unwrap(), None);
    assert_eq!(group.store.workflow("default", "deploy", 1).unwrap(), None);
    // Also the content that was the latest before.
    assert_eq!(
        group.apply_workflow("deploy", "b"),
        WorkflowApplied { version: 3, changed: true, revision: 6, applied_at: Timestamp(1006), applied_by: principal() }
    );
    assert_eq!(group.store.workflow("default", "deploy", 2).unwrap(), None);
}

#[test]
fn a_deletion_says_whether_there_was_something() {
    let mut group = Group::new();
    let answers = group.apply(&[delete("deploy"), apply("deploy", "a"), delete("deploy"), delete("deploy")]);
    let existed: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            SystemAnswer::WorkflowDeleted { existed, revision } => Some((*existed, *revision)),
            _ => None,
        })
        .collect();
    assert_eq!(existed, [(false, 1), (true, 3), (false, 4)]);
}

#[test]
fn pages_together_are_all_workflows_that_exist() {
    let mut group = Group::new();
    for name in ["d", "a", "c", "b", "e"] {
        group.apply(&[apply(name, "1"), apply(name, "2")]);
    }
    group.apply(&[delete("c")]);
    for limit in 1..6 {
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = group.store.list_workflows("default", after.as_deref(), limit).unwrap();
            assert!(page.workflows.iter().all(|workflow| workflow.version == 2));
            names.extend(page.workflows.into_iter().map(|workflow| workflow.name));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(names, ["a", "b", "d", "e"], "limit {limit}");
    }
    assert_eq!(group.store.list_workflows("other", None, 10).unwrap(), WorkflowPage::default());
}

#[test]
fn the_first_cluster_wins() {
    let mut group = Group::new();
    assert_eq!(group.store.cluster(), None);
    let answers = group.apply(&[SystemCommand::RegisterCluster(cluster("one")), SystemCommand::RegisterCluster(cluster("two"))]);
    let registered = |changed| SystemAnswer::ClusterRegistered { cluster_id: "one".into(), changed };
    assert_eq!(answers, [registered(true), registered(false)]);
    assert_eq!(group.store.cluster().as_deref(), Some(&cluster("one")));
    assert_eq!(group.store.cluster().unwrap().replica_on(1, 2), Some((12, ReplicaInfo { node: 2, learner: false })));
}

#[test]
fn a_node_may_move_but_not_with_another_data_folder() {
    let mut group = Group::new();
    let verdicts = |group: &mut Group, commands: &[SystemCommand]| -> Vec<AddressVerdict> {
        group
            .apply(commands)
            .into_iter()
            .map(|answer| match answer {
                SystemAnswer::NodeAddress(verdict) => verdict,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(verdicts(&mut group, &[update(1, "there:1", "inc-1")]), [AddressVerdict::UnknownNode]);
    group.apply(&[SystemCommand::RegisterCluster(cluster("one"))]);
    assert_eq!(
        verdicts(
            &mut group,
            &[update(1, "there:1", "inc-1"), update(1, "there:1", "inc-1"), update(2, "there:2", "wiped"), update(9, "there:9", "inc-9"),]
        ),
        [AddressVerdict::Updated, AddressVerdict::Unchanged, AddressVerdict::OtherIncarnation, AddressVerdict::UnknownNode]
    );
    let cluster = group.store.cluster().unwrap();
    assert_eq!((cluster.nodes[&1].address.as_str(), cluster.nodes[&2].address.as_str()), ("there:1", "10.0.0.2:7401"));
}

#[test]
fn grouping_of_entries_changes_nothing() {
    let commands = [
        apply("a", "1"),
        SystemCommand::RegisterCluster(cluster("one")),
        apply("a", "1"),
        apply("b", "1"),
        delete("a"),
        update(3, "there:3", "inc-3"),
        apply("a", "2"),
        apply("a", "1"),
    ];
    let mut one_by_one = Group::new();
    let answers: Vec<_> = commands.iter().flat_map(|command| one_by_one.apply(std::slice::from_ref(command))).collect();
    for size in 2..=commands.len() {
        let mut grouped = Group::new();
        let grouped_answers: Vec<_> = commands.chunks(size).flat_map(|chunk| grouped.apply(chunk)).collect();
        assert_eq!(grouped_answers, answers);
        assert_eq!(state_digest(&*grouped.disk, 0).unwrap(), state_digest(&*one_by_one.disk, 0).unwrap());
        assert_eq!(grouped.store.view(), one_by_one.store.view());
    }
}

#[test]
fn what_is_in_memory_survives_a_restart_and_follows_a_snapshot() {
    let mut group = Group::new();
    let mut watch = group.store.subscribe();
    group.apply(&[SystemCommand::RegisterCluster(cluster("one")), apply("a", "1")]);
    assert!(watch.has_changed().unwrap());
    assert_eq!(watch.borrow_and_update().revision, 2);

    let reopened = SystemStore::open(group.disk.clone()).unwrap();
    assert_eq!(reopened.view(), group.store.view());

    let other: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let store = SystemStore::open(other.clone()).unwrap();
    let mut replica = SystemReplica::new(store.clone());
    crate::store::testing::copy_group(&*group.disk, &*other, SYSTEM_GROUP);
    replica.restored().unwrap();
    assert_eq!(store.view(), group.store.view());
}

#[test]
fn a_command_from_the_future_stops_the_replica_and_changes_nothing() {
    let mut group = Group::new();
    let mut batch = Batch::new();
    // Field 99: a member of the oneof that this version does not know.
    let entry = Entry { index: 1, term: 1, record: Bytes::from_static(&[0x9a, 0x06, 0x00]) };
    assert!(group.replica.apply(&[entry], &mut batch).is_err());
    assert!(batch.is_empty());
}

#[test]
fn commands_and_state_keep_their_bytes() {
    let time = Timestamp(1_700_000_000_123);
    for (name, command) in [
        ("system_apply_workflow_v1", apply("deploy", "content")),
        ("system_delete_workflow_v1", delete("deploy")),
        ("system_register_cluster_v1", SystemCommand::RegisterCluster(cluster("one"))),
        ("system_update_node_address_v1", update(1, "there:1", "inc-1")),
    ] {
        let bytes = command.encode(time);
        golden::check(name, &bytes);
        assert_eq!(SystemCommand::decode(bytes).unwrap(), (time, command));
    }
    golden::check("system_cluster_v1", &crate::codec::encode_cluster(&cluster("one")));
    let version = WorkflowVersion {
        namespace: String::new(),
        name: String::new(),
        version: 3,
        workflow: Bytes::from_static(b"content"),
        digest: [7; 32],
        applied_at: time,
        applied_by: principal(),
        revision: 9,
    };
    golden::check("system_workflow_version_v1", &workflow::encode_version(&version));
    let name = workflow::WorkflowName { latest_version: 3, latest_digest: Some([7; 32]), first_version: 2 };
    golden::check("system_workflow_name_v1", &workflow::encode_name(&name));
}

#[test]
fn versions_are_listed_newest_first_in_pages() {
    let mut group = Group::new();
    for content in ["one", "two", "three"] {
        group.apply_workflow("deploy", content);
    }
    let numbers = |page: &VersionPage| page.versions.iter().map(|version| version.version).collect::<Vec<_>>();
    let first = group.store.list_versions("default", "deploy", 0, 2).unwrap();
    assert_eq!((numbers(&first), first.next), (vec![3, 2], Some(2)));
    let second = group.store.list_versions("default", "deploy", 2, 2).unwrap();
    assert_eq!((numbers(&second), second.next), (vec![1], None));
    assert_eq!(group.store.list_versions("default", "other", 0, 2).unwrap(), VersionPage::default());
    group.apply(&[delete("deploy")]);
    assert_eq!(group.store.list_versions("default", "deploy", 0, 2).unwrap(), VersionPage::default(), "deleted");
    group.apply_workflow("deploy", "four");
    let reborn = group.store.list_versions("default", "deploy", 0, 9).unwrap();
    assert_eq!((numbers(&reborn), reborn.next), (vec![4], None), "numbers go on, what was deleted stays so");
}
