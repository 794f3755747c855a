//! What nodes say about their own replicas, without asking each other.

use std::collections::BTreeMap;

use quorus_client::{Output, export_replica};
use quorus_proto::v1::{self, ReplicaHead, export_replica_response::Part};

use crate::harness::*;

/// An export: the head, and each run with its events.
async fn export(cluster: &Cluster, node: u64, shard: u32) -> (ReplicaHead, BTreeMap<String, (v1::Run, Vec<v1::HistoryEvent>)>) {
    let mut stream = export_replica(&cluster.endpoint_of(node), shard).await.unwrap();
    let (mut head, mut runs) = (None, BTreeMap::new());
    while let Some(item) = stream.message().await.unwrap() {
        match item.part.unwrap() {
            Part::Head(part) => assert!(head.replace(part).is_none(), "two heads"),
            Part::Run(run) => assert!(runs.insert(run.run_uid.clone(), (run, Vec::new())).is_none(), "a run twice"),
            Part::Events(part) => runs.get_mut(&part.run_uid).unwrap().1.extend(part.events),
        }
    }
    let head = head.unwrap();
    assert_eq!((head.node_id, head.shard, head.runs), (node, shard, runs.len() as u64));
    (head, runs)
}

async fn history(cluster: &Cluster, run: &v1::Run) -> Vec<v1::HistoryEvent> {
    let request = v1::GetRunHistoryRequest { run_id: run.run_id.clone(), page_size: 1000, ..Default::default() };
    cluster.client().run_history(request).await.unwrap().events
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_the_same_index_have_the_same_digest_and_the_history_that_clients_read() {
    let mut cluster = Cluster::start_with(3, &[("QUORUS_SHARDS", "2")]).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 4)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!({"ok": true}))) });
    let mut started = Vec::new();
    for run in 0..3 {
        started.push(start(&client, "chain", &format!("before-{run}"), revision).await);
    }
    cluster.kill(2);
    for run in 0..3 {
        started.push(start(&client, "chain", &format!("after-{run}"), revision).await);
    }
    for run in &started {
        end(&client, &run.run_id).await;
    }
    cluster.restart(2);
    cluster.ready().await;
    let mut seen = 0;
    for shard in 0..=2 {
        let exports = eventually(&format!("replicas of shard {shard} are at the same index"), || async {
            let exports = [export(&cluster, 1, shard).await, export(&cluster, 2, shard).await, export(&cluster, 3, shard).await];
            exports.iter().all(|(head, _)| head.index == exports[0].0.index).then_some(exports)
        })
        .await;
        let (head, runs) = &exports[0];
        assert!(head.index > 0 && head.digest.len() == 64, "{head:?}");
        for (other, other_runs) in &exports {
            assert_eq!((other.term, &other.digest), (head.term, &head.digest), "shard {shard}");
            assert_eq!(other_runs, runs, "shard {shard}");
        }
        for (run, events) in runs.values() {
            assert_eq!(events.last().unwrap().sequence, run.sequence);
            assert_eq!(events, &history(&cluster, run).await);
            assert!(started.iter().any(|started| started.run_uid == run.run_uid));
        }
        seen += runs.len();
    }
    assert_eq!(seen, started.len());

    let nothing = export_replica(&cluster.endpoint_of(1), 99).await.unwrap_err();
    assert_eq!(nothing.reason(), "REPLICA_NOT_FOUND");

    // A node that is alone still says what it has.
    cluster.kill(2);
    cluster.kill(3);
    let alone = export(&cluster, 1, 0).await;
    assert!(alone.0.index > 0);
}
