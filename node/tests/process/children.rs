//! Runs that start others on any shard: each child once, whatever dies in between; ends and cancels cross shards; concurrency slots are shared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quorus_client::{Client, Output, TaskError};
use quorus_proto::v1::{self, RunStatus};
use tokio::sync::Semaphore;

use crate::harness::*;

const CHILD: &str = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: child}\nspec:\n  steps:\n    - {id: work, task: {type: work}}\n  output: \"${steps.work.output}\"\n";

const ONE_AT_A_TIME: &str = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: one}\nspec:\n  concurrency: {key: deploy, limit: 1, on_conflict: queue}\n  steps:\n    - {id: work, task: {type: work}, compensate: {task: {type: work}}}\n";

fn parent(children: usize) -> String {
    let steps: String =
        (0..children).map(|child| format!("    - {{id: c{child}, workflow: {{name: child}}, with: {{n: {child}}}}}\n")).collect();
    format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: parent}}\nspec:\n  steps:\n{steps}")
}

async fn get(client: &Client, run_id: &str) -> v1::Run {
    client.get_run(v1::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() }).await.unwrap()
}

/// A parent of eight children whose leader, or a child's, dies at a crash point.
async fn dies_at(place: &str) {
    let marker = tempfile::tempdir().unwrap();
    let marker_file = marker.path().join("died");
    let wanted = format!("{place}@{}", marker_file.display());
    let cluster = Cluster::start_with(3, &[("QUORUS_CRASH_AT", &wanted)]).await;
    let client = cluster.client();
    apply(&client, CHILD).await;
    let revision = apply(&client, &parent(8)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |context| async move { Ok(Output::from(context.input::<serde_json::Value>()?)) });
    start(&client, "parent", "p", revision).await;
    let ended = end(&client, "p").await;
    assert!(marker_file.exists(), "no node died");
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");
    let counts = record.counts();
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1; 8], "each child was started once: {:?}", record.attempts());
    let mut shards = BTreeSet::new();
    for (run_id, _) in counts.keys() {
        let child = end(&client, run_id).await;
        assert_eq!(child.status(), RunStatus::Succeeded);
        assert_eq!(child.parent.as_ref().map(|parent| parent.run_id.as_str()), Some("p"));
        shards.insert(child.shard);
    }
    assert!(shards.len() > 1, "children are on other shards: {shards:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_after_a_child_was_accepted_starts_no_second_one() {
    dies_at("child-accepted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_after_a_parent_was_told_of_an_end_changes_nothing() {
    dies_at("parent-told").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_parent_cancels_its_children() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    apply(&client, CHILD).await;
    let revision = apply(&client, &parent(3)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |context| async move {
        context.cancelled().await;
        Err(TaskError::Cancelled { nothing_done: true })
    });
    start(&client, "parent", "p", revision).await;
    eventually("all children are at work", || async { (record.attempts().len() == 3).then_some(()) }).await;
    client.cancel_run(v1::CancelRunRequest { run_id: "p".into(), reason: "enough".into(), ..Default::default() }).await.unwrap();
    assert_eq!(end(&client, "p").await.status(), RunStatus::Cancelled);
    for (run_id, _) in record.counts().keys() {
        assert_eq!(get(&client, run_id).await.status(), RunStatus::Cancelled, "a parent ends after its children");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_can_not_be_started_fails_its_step_with_the_reason() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let revision = apply(&client, &parent(1)).await;
    start(&client, "parent", "p", revision).await;
    let ended = end(&client, "p").await;
    assert_eq!(ended.status(), RunStatus::Failed);
    let failure = ended.steps[0].failure.clone().unwrap();
    assert!(failure.r#type == "QuorusChildRefused" && failure.message.contains("\"child\""), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_one_concurrency_key_go_one_after_another_through_the_death_of_a_node() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, ONE_AT_A_TIME).await;
    let record = Record::default();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (now.clone(), most.clone());
    let _worker = work(&cluster, "w", 8, &record, move |_| {
        let (now, most) = counters.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Output::from(serde_json::Value::Null))
        }
    });
    for run in 0..6 {
        start(&client, "one", &format!("r{run}"), revision).await;
    }
    eventually("the first one ended", || async { (!record.attempts().is_empty()).then_some(()) }).await;
    cluster.kill(1);
    cluster.restart(1);
    for run in 0..6 {
        assert_eq!(end(&client, &format!("r{run}")).await.status(), RunStatus::Succeeded);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(record.counts().values().all(|count| *count == 1), "{:?}", record.attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_repaired_after_its_end_waits_for_its_concurrency_key_again() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, ONE_AT_A_TIME).await;
    let record = Record::default();
    let gates: BTreeMap<&str, Semaphore> = ["first", "second", "third"].map(|run| (run, Semaphore::new(0))).into();
    let gates = Arc::new(gates);
    let of_worker = gates.clone();
    let _worker = work(&cluster, "w", 8, &record, move |context| {
        let gates = of_worker.clone();
        async move {
            let gate = &gates[context.task().run_id.as_str()];
            tokio::select! {
                permit = gate.acquire() => permit.unwrap().forget(),
                _ = context.cancelled() => return Err(TaskError::Cancelled { nothing_done: false }),
            }
            Ok(Output::from(serde_json::Value::Null))
        }
    });
    let begun = |run: &'static str, attempts: usize| {
        let record = record.clone();
        move || {
            let record = record.clone();
            async move { (record.attempts().iter().filter(|attempt| attempt.run_id == run).count() == attempts).then_some(()) }
        }
    };
    start(&client, "one", "first", revision).await;
    eventually("the first one works", begun("first", 1)).await;
    let terminate = v1::TerminateRunRequest { run_id: "first".into(), ..Default::default() };
    client.terminate_run(terminate).await.unwrap();
    start(&client, "one", "second", revision).await;
    eventually("the second one works", begun("second", 1)).await;

    // The key is the second one's: the first waits, through the death of whoever keeps the keys.
    client.retry_run(v1::RetryRunRequest { run_id: "first".into(), ..Default::default() }).await.unwrap();
    let keeper = cluster.leader_of(0).await;
    cluster.kill(keeper);
    cluster.restart(keeper);
    let explained = client.explain_run(v1::ExplainRunRequest { run_id: "first".into(), ..Default::default() }).await.unwrap();
    assert!(explained.run_reasons.iter().any(|reason| reason.contains("concurrency key \"deploy\"")), "{explained:?}");
    assert_eq!(get(&client, "first").await.status(), RunStatus::Queued);
    assert_eq!(record.attempts().iter().filter(|attempt| attempt.run_id == "first").count(), 1, "nothing begins");
    gates["second"].add_permits(1);
    assert_eq!(end(&client, "second").await.status(), RunStatus::Succeeded);
    eventually("the first one works again", begun("first", 2)).await;
    gates["first"].add_permits(1);
    assert_eq!(end(&client, "first").await.status(), RunStatus::Succeeded);

    // Backwards, too.
    start(&client, "one", "third", revision).await;
    eventually("the third one works", begun("third", 1)).await;
    client.compensate_run(v1::CompensateRunRequest { run_id: "first".into(), ..Default::default() }).await.unwrap();
    assert_eq!(get(&client, "first").await.status(), RunStatus::Queued);
    gates["third"].add_permits(1);
    gates["first"].add_permits(1);
    assert_eq!(end(&client, "third").await.status(), RunStatus::Succeeded);
    assert_eq!(end(&client, "first").await.status(), RunStatus::Cancelled);
    assert!(begun("first", 3)().await.is_some(), "it was undone: {:?}", record.attempts());
}
