//! Node death alone repeats nothing: whatever stage a step is in when its leader dies, its worker executes it once.

use std::{sync::Arc, time::Duration};

use quorus_client::Output;
use quorus_proto::v1::RunStatus;
use tokio::sync::Notify;

use crate::harness::*;

/// A run of three steps whose leader dies at a crash point; another one goes on.
async fn dies_at(place: &str) {
    let marker = tempfile::tempdir().unwrap();
    let marker_file = marker.path().join("died");
    let wanted = format!("{place}@{}", marker_file.display());
    let cluster = Cluster::start_with(3, &[("QUORUS_CRASH_AT", &wanted)]).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 3)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 2, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    start(&client, "chain", "r", revision).await;
    let ended = end(&client, "r").await;
    assert!(marker_file.exists(), "no node died");
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:?}");
    assert!(ended.steps.iter().all(|step| step.attempt == 1), "{ended:?}");
    assert_eq!(record.counts().values().copied().collect::<Vec<_>>(), [1; 3], "{:?}", record.attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_before_a_lease_commits_repeats_nothing() {
    dies_at("lease-decided").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_between_a_leases_commit_and_its_push_repeats_nothing() {
    dies_at("lease-applied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_before_an_outcome_commits_repeats_nothing() {
    dies_at("outcome-decided").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_between_an_outcomes_commit_and_its_acknowledgement_repeats_nothing() {
    dies_at("outcome-applied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_while_the_worker_executes_repeats_nothing() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 2)).await;
    let record = Record::default();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (begun.clone(), go_on.clone());
    let _worker = work(&cluster, "w", 2, &record, move |context| {
        let (begun, go_on) = signals.clone();
        async move {
            if context.task().step == "s0" {
                begun.notify_one();
                go_on.notified().await;
            }
            Ok(Output::from(serde_json::json!(1)))
        }
    });
    let run = start(&client, "chain", "r", revision).await;
    begun.notified().await;
    let leader = cluster.leader_of(run.shard).await;
    cluster.kill(leader);
    go_on.notify_one();
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:?}");
    assert_eq!(record.counts().values().copied().collect::<Vec<_>>(), [1; 2], "{:?}", record.attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_after_all_nodes_died_at_once() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 20)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Output::from(serde_json::json!(1)))
    });
    for run in 0..5 {
        start(&client, "chain", &format!("r{run}"), revision).await;
    }
    eventually("steps were executed", || async { (record.attempts().len() > 20).then_some(()) }).await;
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.restart(node);
    }
    for run in 0..5 {
        let ended = end(&client, &format!("r{run}")).await;
        assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:?}");
    }
    let counts = record.counts();
    assert_eq!(counts.len(), 100);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_in_order_repeats_nothing_and_exits_cleanly() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 30)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(Output::from(serde_json::json!(1)))
    });
    for run in 0..4 {
        start(&client, "chain", &format!("r{run}"), revision).await;
    }
    for node in 1..=3 {
        assert!(cluster.stop(node), "node {node} did not exit cleanly: {}", cluster.log(node));
        cluster.restart(node);
        cluster.ready().await;
    }
    for run in 0..4 {
        assert_eq!(end(&client, &format!("r{run}")).await.status(), RunStatus::Succeeded);
    }
    assert!(record.counts().values().all(|count| *count == 1), "{:?}", record.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_takes_no_connections_that_it_will_not_answer() {
    let mut cluster = Cluster::start(3).await;
    let [port, http]: [u16; 2] =
        [cluster.endpoint_of(2), cluster.http_address(2)].map(|address| address.rsplit(':').next().unwrap().parse().unwrap());
    let is_closed = || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() };
    // It stops within moments, of which a busy machine can miss one.
    for _ in 0..5 {
        cluster.signal(2, libc::SIGTERM);
        eventually("the port is closed", || async { is_closed().await.then_some(()) }).await;
        let still_lives = http_get(http, "/livez").await.is_some();
        cluster.ended(2);
        if still_lives {
            return;
        }
        cluster.restart(2);
        cluster.ready().await;
    }
    panic!("its port was open for as long as it lived, though it answered nobody any more");
}

/// Kills at random moments. `QUORUS_TEST_KILLS` makes it a long one.
#[tokio::test(flavor = "multi_thread")]
async fn many_kills_at_random_moments_repeat_nothing() {
    let kills: u64 = std::env::var("QUORUS_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 10)).await;
    let record = Record::default();
    let _workers = ["w1", "w2"].map(|name| {
        work(&cluster, name, 8, &record, |_| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(Output::from(serde_json::json!(1)))
        })
    });
    let mut seed = 42_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut runs = 0;
    for _ in 0..kills {
        for _ in 0..5 {
            start(&client, "chain", &format!("r{runs}"), revision).await;
            runs += 1;
        }
        tokio::time::sleep(Duration::from_millis(random(400))).await;
        let node = 1 + random(3);
        cluster.kill(node);
        cluster.restart(node);
        cluster.ready().await;
    }
    for run in 0..runs {
        let ended = end(&client, &format!("r{run}")).await;
        assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:?}");
        assert!(ended.steps.iter().all(|step| step.attempt == 1), "{ended:?}");
    }
    let counts = record.counts();
    assert_eq!(counts.len(), 10 * runs);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
