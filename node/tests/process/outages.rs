//! Nodes that are gone or silent: a minority changes nothing but a short gap, without a majority nothing is promised and nothing is lost.

use std::time::Duration;

use futures::StreamExt;
use quorus_client::{Client, Error, Output};
use quorus_proto::v1::{self, RunStatus};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_any_request() {
    let cluster = Cluster::start(3).await;
    let revision = apply(&cluster.client_of(2), &chain("chain", 1)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    for run in 0..9 {
        let id = format!("r{run}");
        start(&cluster.client_of(1 + run % 3), "chain", &id, revision).await;
        let other = cluster.client_of(1 + (run + 1) % 3);
        assert_eq!(other.get_run(v1::GetRunRequest { run_id: id.clone(), ..Default::default() }).await.unwrap().run_id, id);
        assert_eq!(end(&cluster.client_of(1 + (run + 2) % 3), &id).await.status(), RunStatus::Succeeded);
    }
    let listed = cluster.client_of(3).list_runs(v1::ListRunsRequest { page_size: 4, ..Default::default() }).await.unwrap();
    assert_eq!(listed.runs.len(), 4);
    assert!(!listed.next_page_token.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_one_true_answer() {
    let cluster = Cluster::start(3).await;
    let revision = apply(&cluster.client(), &chain("chain", 1)).await;
    let request = |request_id: &str| v1::StartRunRequest {
        workflow: "chain".into(),
        request_id: request_id.into(),
        min_revision: revision,
        ..Default::default()
    };
    let first = cluster.client_of(1).start_run(request("a")).await.unwrap();
    let again = cluster.client_of(2).start_run(request("a")).await.unwrap();
    let other = cluster.client_of(3).start_run(request("b")).await.unwrap();
    let uid = |response: &v1::StartRunResponse| response.run.as_ref().unwrap().run_uid.clone();
    assert_eq!(uid(&first), uid(&again));
    assert!(!first.existing && again.existing);
    assert_ne!(uid(&first), uid(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_minority_changes_nothing_but_a_gap() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 5)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    for silent in 1..=3 {
        cluster.signal(silent, libc::SIGSTOP);
        for run in 0..3 {
            let id = format!("r{silent}-{run}");
            start(&client, "chain", &id, revision).await;
            assert_eq!(end(&client, &id).await.status(), RunStatus::Succeeded);
        }
        cluster.signal(silent, libc::SIGCONT);
        cluster.ready().await;
    }
    assert!(record.counts().values().all(|count| *count == 1), "{:?}", record.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_answer_is_unavailable_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 3)).await;
    for run in 0..10 {
        start(&client, "chain", &format!("r{run}"), revision).await;
    }
    cluster.kill(2);
    cluster.kill(3);
    let mut raw = v1::run_service_client::RunServiceClient::connect(cluster.endpoints()[0].clone()).await.unwrap();
    let mut request = tonic::Request::new(v1::StartRunRequest { workflow: "chain".into(), run_id: "late".into(), ..Default::default() });
    request.set_timeout(Duration::from_secs(2));
    let status = raw.start_run(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
    let mut request = tonic::Request::new(v1::GetRunRequest { run_id: "r0".into(), ..Default::default() });
    request.set_timeout(Duration::from_secs(2));
    let status = raw.get_run(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "a linearizable read needs a majority: {status:?}");
    let stale = v1::GetRunRequest { run_id: "r0".into(), consistency: v1::Consistency::Stale.into(), ..Default::default() };
    assert_eq!(raw.get_run(stale).await.unwrap().into_inner().run.unwrap().run_id, "r0");

    cluster.restart(2);
    cluster.restart(3);
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    for run in 0..10 {
        assert_eq!(end(&client, &format!("r{run}")).await.status(), RunStatus::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_gathers_a_bounded_number_of_requests_and_tells_the_others_at_once() {
    // Room for 2 changes at a time, so for 8 that wait.
    let mut cluster = Cluster::start_with(3, &[("QUORUS_LIMITS_CHANGES", "2")]).await;
    let revision = apply(&cluster.client(), &chain("chain", 1)).await;
    start(&cluster.client(), "chain", "before", revision).await;
    cluster.kill(2);
    cluster.kill(3);
    let raw = v1::run_service_client::RunServiceClient::connect(cluster.endpoints()[0].clone()).await.unwrap();
    let start = |number: u32, within: Duration| {
        let mut raw = raw.clone();
        let (workflow, request_id, run_id) = ("chain".into(), format!("r{number}"), format!("r{number}"));
        let message = v1::StartRunRequest { workflow, request_id, run_id, ..Default::default() };
        let mut request = tonic::Request::new(message);
        request.set_timeout(within);
        async move { raw.start_run(request).await.map_err(|status| Error::from(status).reason().to_owned()) }
    };
    // Of runs whose shards the others led: what this node leads it goes on to lead, and its two places for changes are soon taken by what can't be done.
    let probed = futures::future::join_all((0..120).map(|number| start(number, Duration::from_millis(900)))).await;
    let elsewhere =
        (0..120).zip(probed).filter(|(_, ended)| ended.as_ref().is_err_and(|reason| reason.is_empty() || reason == "NO_LEADER"));
    let elsewhere: Vec<u32> = elsewhere.map(|(number, _)| number).collect();
    // Eight of those found room to wait and heard nothing, so they are known; the others of their shards were refused.
    let &[one, ..] = elsewhere.as_slice() else { panic!("node 1 led every shard") };
    let mut waiting: futures::stream::FuturesUnordered<_> = (0..20).map(|_| start(one, Duration::from_mins(1))).collect();
    for _ in 0..12 {
        let reason = waiting.next().await.unwrap().unwrap_err();
        assert!(reason == "OVERLOADED" || reason == "NO_LEADER", "{reason}");
    }
    // The others wait for what they were told to wait for.
    cluster.restart(2);
    let mut done = 0;
    while let Some(ended) = waiting.next().await {
        match ended {
            Ok(_) => done += 1,
            // There is room for two at a time on the leader, and nobody knows what the node that was killed did with the first tries.
            Err(reason) => assert!(reason == "OVERLOADED" || reason == "OUTCOME_UNKNOWN", "{reason}"),
        }
    }
    assert!(done > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_at_the_address_of_a_dead_one_is_sent_nothing_that_it_carries_out() {
    // Long enough for the other node to come while the dead one is still taken for the leader.
    let slow = [("QUORUS_SHARDS", "1"), ("QUORUS_RAFT_ELECTION_MIN", "3s"), ("QUORUS_RAFT_ELECTION_MAX", "4s")];
    let mut cluster = Cluster::start_with(3, &slow).await;
    let revision = apply(&cluster.client(), &chain("chain", 1)).await;
    let dead = cluster.leader_of(1).await;
    let alive = cluster.client_of(1 + dead % 3);
    cluster.kill(dead);
    let address = cluster.endpoint_of(dead);
    let listen = address.trim_start_matches("http://").to_owned();
    let _other = Cluster::start_with(1, &[("QUORUS_SHARDS", "1"), ("QUORUS_LISTEN", &listen)]).await;
    let of_other = Client::with_endpoints([address]).unwrap();
    apply(&of_other, &chain("chain", 1)).await;

    start(&alive, "chain", "r", revision).await;
    let get = || v1::GetRunRequest { run_id: "r".into(), ..Default::default() };
    assert_eq!(of_other.get_run(get()).await.unwrap_err().reason(), "RUN_NOT_FOUND");
    assert_eq!(alive.get_run(get()).await.unwrap().run_id, "r");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused() {
    let mut cluster = Cluster::start(3).await;
    cluster.kill(3);
    cluster.wipe(3);
    cluster.restart(3);
    let log = eventually("node 3 gave up", || async { cluster.log(3).contains("belongs to cluster").then(|| cluster.log(3)) }).await;
    assert!(log.contains("can't come back under its old id"), "{log}");
    // The others don't care.
    apply(&cluster.client_of(1), &chain("chain", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_replaced_and_one_that_was_told_to_stop_stops() {
    let cluster = Cluster::start_with(1, &[("QUORUS_LEASE", "3s")]).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 1)).await;
    let record = Record::default();
    let dying = work(&cluster, "dies", 1, &record, |_| async { std::future::pending().await });
    start(&client, "chain", "r", revision).await;
    eventually("the first worker has the task", || async { (record.attempts().len() == 1).then_some(()) }).await;
    drop(dying);
    let _worker = work(&cluster, "lives", 1, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded);
    assert_eq!((ended.steps[0].attempt, ended.steps[0].preemptions), (2, 1), "a lost worker is a preemption: {ended:?}");
    let tokens: Vec<_> = record.attempts().iter().map(|attempt| attempt.token).collect();
    assert!(tokens[0] < tokens[1], "tokens rise: {tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_its_worker_and_a_terminated_one_does_not_wait_for_it() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 2)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 2, &record, |context| async move {
        context.cancelled().await;
        Err(quorus_client::TaskError::Cancelled { nothing_done: true })
    });
    for (run, verb) in [("c", "cancel"), ("t", "terminate")] {
        start(&client, "chain", run, revision).await;
        eventually("the task is executed", || async { record.attempts().iter().any(|attempt| attempt.run_id == run).then_some(()) }).await;
        let status = if verb == "cancel" {
            client.cancel_run(v1::CancelRunRequest { run_id: run.into(), reason: "test".into(), ..Default::default() }).await.unwrap();
            RunStatus::Cancelled
        } else {
            client
                .terminate_run(v1::TerminateRunRequest { run_id: run.into(), reason: "test".into(), ..Default::default() })
                .await
                .unwrap();
            RunStatus::Terminated
        };
        assert_eq!(end(&client, run).await.status(), status);
        eventually("the worker stopped", || async { record.attempts().iter().all(|attempt| attempt.ended).then_some(()) }).await;
    }
    let error = client.cancel_run(v1::CancelRunRequest { run_id: "t".into(), ..Default::default() }).await.unwrap_err();
    assert!(matches!(error, Error::Api(_)), "a terminated run can't be cancelled: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_finds_no_majority_yet_does_not_say_that_it_serves() {
    let mut cluster = Cluster::start(3).await;
    (1..=3).for_each(|node| cluster.kill(node));
    cluster.restart(1);
    let said = eventually("node 1 answers", || cluster.health_of(1)).await;
    assert_eq!(said, ServingStatus::NotServing);
    cluster.restart(2);
    eventually("node 1 serves", || async { (cluster.health_of(1).await == Some(ServingStatus::Serving)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_leaves_the_bound_leads_nothing_until_it_is_right_again() {
    let clocks = tempfile::tempdir().unwrap();
    let files = clocks.path().join("clock-{id}");
    let cluster = Cluster::start_with(3, &[("QUORUS_GAME_DAY_CLOCK_FILE", files.to_str().unwrap()), ("QUORUS_SHARDS", "3")]).await;
    let wrong = cluster.leader_of(1).await;
    let set = |ms: &str| std::fs::write(clocks.path().join(format!("clock-{wrong}")), ms).unwrap();
    set("5000");
    eventually("other nodes lead everything", || async {
        for shard in 1..=3 {
            if cluster.leader_of(shard).await == wrong {
                return None;
            }
        }
        Some(())
    })
    .await;
    assert!(cluster.log(wrong).contains("clock is off"), "{}", cluster.log(wrong));
    // Its runs go on elsewhere, and it still answers for all.
    let client = cluster.client_of(wrong);
    let revision = apply(&client, &chain("chain", 2)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    for run in 0..6 {
        let id = format!("r{run}");
        start(&client, "chain", &id, revision).await;
        assert_eq!(end(&client, &id).await.status(), RunStatus::Succeeded);
    }
    set("0");
    eventually("the clock is right again", || async { cluster.log(wrong).contains("clock is right again").then_some(()) }).await;
    cluster.ready().await;
}
