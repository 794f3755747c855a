//! Flow control over real nodes: who gets a task, who gets none, and how many at a time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use quorus_client::{Client, Output, TaskContext, TaskError, Worker};
use quorus_proto::v1::{self, RunStatus};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::harness::*;

/// A worker with labels; what it executes is noted under its name.
struct Labelled {
    task: JoinHandle<()>,
}

impl Drop for Labelled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Notes = Arc<parking_lot::Mutex<Vec<(String, String)>>>;

fn labelled(cluster: &Cluster, name: &str, labels: &[(&str, &str)], notes: &Notes) -> Labelled {
    let (notes, me) = (notes.clone(), name.to_owned());
    let mut builder = Worker::builder(cluster.endpoints()).name(name).queue("default").concurrency(4);
    for (label, value) in labels {
        builder = builder.label(*label, *value);
    }
    let worker = builder
        .register("work", move |context: TaskContext| {
            let (notes, me) = (notes.clone(), me.clone());
            async move {
                notes.lock().push((me, context.task().run_id.clone()));
                Ok(Output::from(serde_json::json!(1)))
            }
        })
        .build()
        .unwrap();
    Labelled { task: tokio::spawn(async move { worker.run(std::future::pending::<()>()).await.unwrap() }) }
}

async fn worker_is_there(client: &Client, name: &str) {
    eventually(&format!("worker {name} is there"), || async {
        let workers = client.list_workers(v1::ListWorkersRequest::default()).await.ok()?.workers;
        workers.iter().any(|worker| worker.name == name && !worker.incarnation.is_empty()).then_some(())
    })
    .await;
}

async fn queue(client: &Client, name: &str) -> v1::QueueStatus {
    client.list_queues(v1::ListQueuesRequest { queue: name.into() }).await.unwrap().queues.remove(0)
}

fn selecting(name: &str, selectors: &str) -> String {
    format!(
        "api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n    - {{id: s, task: {{type: work, selectors: {{{selectors}}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_go_to_workers_with_the_labels_and_not_to_drained_ones_or_from_paused_queues() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    apply(&client, &selecting("gpu", "gpu: \"yes\"")).await;
    let revision = apply(&client, &chain("any", 1)).await;
    let notes = Notes::default();
    let _plain = labelled(&cluster, "plain", &[], &notes);
    worker_is_there(&client, "plain").await;

    // Nobody has the label: the tasks wait, and others are served meanwhile.
    for run in 0..6 {
        start(&client, "gpu", &format!("gpu-{run}"), revision).await;
    }
    start(&client, "any", "any-0", revision).await;
    assert_eq!(end(&client, "any-0").await.status(), RunStatus::Succeeded);
    let waiting = queue(&client, "default").await;
    assert_eq!((waiting.waiting, waiting.workers), (6, 1), "{waiting:?}");
    assert_eq!((waiting.demands[0].waiting, waiting.demands[0].workers), (6, 0));
    assert_eq!(waiting.waiting_by_priority, [0, 0, 6, 0, 0]);

    // Whichever nodes lead them, they go to the one that has it.
    let _gpu = labelled(&cluster, "gpu", &[("gpu", "yes"), ("zone", "a")], &notes);
    for run in 0..6 {
        assert_eq!(end(&client, &format!("gpu-{run}")).await.status(), RunStatus::Succeeded);
    }
    assert!(notes.lock().iter().filter(|(_, run)| run.starts_with("gpu-")).all(|(worker, _)| worker == "gpu"));

    // A drained worker gets nothing; it is listed as such by every node.
    assert!(
        client
            .drain_worker(v1::DrainWorkerRequest { name: "plain".into(), reason: "test".into(), ..Default::default() })
            .await
            .unwrap()
            .changed
    );
    for node in 1..=3 {
        let of_node = cluster.client_of(node);
        eventually("the drain is known", || async {
            let workers = of_node.list_workers(v1::ListWorkersRequest::default()).await.ok()?.workers;
            let drained: Vec<_> = workers.iter().filter(|worker| worker.drained.is_some()).map(|worker| worker.name.as_str()).collect();
            // Each node's own built-in worker is listed, too.
            let of_ours = workers.iter().filter(|worker| ["plain", "gpu"].contains(&worker.name.as_str())).count();
            (drained == ["plain"] && of_ours == 2).then_some(())
        })
        .await;
    }
    notes.lock().clear();
    for run in 1..13 {
        start(&client, "any", &format!("any-{run}"), revision).await;
    }
    for run in 1..13 {
        end(&client, &format!("any-{run}")).await;
    }
    // What was on its way when it was drained may still have come.
    let late = notes.lock().iter().filter(|(worker, _)| worker == "plain").count();
    assert!(late <= 4, "{late} tasks went to the drained worker");
    notes.lock().clear();
    for run in 13..25 {
        start(&client, "any", &format!("any-{run}"), revision).await;
        end(&client, &format!("any-{run}")).await;
    }
    assert!(notes.lock().iter().all(|(worker, _)| worker == "gpu"), "{:?}", notes.lock());

    // A paused queue leases nothing, on whichever node a run is led.
    assert!(
        client
            .pause_queue(v1::PauseQueueRequest { queue: "default".into(), reason: "test".into(), ..Default::default() })
            .await
            .unwrap()
            .changed
    );
    for node in 1..=3 {
        let of_node = cluster.client_of(node);
        eventually("the pause is known", || async { queue(&of_node, "default").await.paused.map(drop) }).await;
    }
    for run in 0..6 {
        start(&client, "any", &format!("paused-{run}"), revision).await;
    }
    eventually("all tasks wait", || async { (queue(&client, "default").await.waiting == 6).then_some(()) }).await;
    assert!(notes.lock().iter().all(|(_, run)| !run.starts_with("paused-")));
    client.resume_queue(v1::ResumeQueueRequest { queue: "default".into(), ..Default::default() }).await.unwrap();
    for run in 0..6 {
        assert_eq!(end(&client, &format!("paused-{run}")).await.status(), RunStatus::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_all_nodes_also_when_its_keeper_dies() {
    const MOST: usize = 3;
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let limit = v1::Limit {
        metadata: Some(v1::Metadata { name: "three".into(), ..Default::default() }),
        spec: Some(v1::LimitSpec {
            target: Some(v1::limit_spec::Target::TaskType("work".into())),
            concurrency: MOST as u32,
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(client.apply_limit(v1::ApplyLimitRequest { limit: Some(limit), ..Default::default() }).await.unwrap().changed);
    for node in 1..=3 {
        let of_node = cluster.client_of(node);
        eventually("the limit is known", || async {
            let limits = of_node.list_limits(v1::ListLimitsRequest::default()).await.ok()?.limits;
            (limits.len() == 1).then_some(())
        })
        .await;
    }
    let revision = apply(&client, &chain("limited", 2)).await;
    let (now, most, total) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let go_on = Arc::new(Semaphore::new(0));
    let record = Record::default();
    let counters = (now.clone(), most.clone(), total.clone(), go_on.clone());
    let _worker = work(&cluster, "w", 50, &record, move |_| {
        let (now, most, total, go_on) = counters.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            total.fetch_add(1, Ordering::SeqCst);
            go_on.acquire().await.map_err(|_| TaskError::Cancelled { nothing_done: true })?.forget();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Output::from(serde_json::json!(1)))
        }
    });
    const RUNS: usize = 12;
    for run in 0..RUNS {
        start(&client, "limited", &format!("r-{run}"), revision).await;
    }
    // As many as may are under way, and no more, although there is room for all.
    eventually("the limit is reached", || async { (now.load(Ordering::SeqCst) == MOST).then_some(()) }).await;
    eventually("the keeper says so", || async {
        let status = client.list_limits(v1::ListLimitsRequest { name: "three".into() }).await.ok()?.limits.pop()?;
        let used = status.uses.first()?;
        (used.in_use as usize == MOST && used.waiting as usize == RUNS - MOST).then_some(())
    })
    .await;
    go_on.add_permits(4);
    eventually("the next ones begin", || async { (total.load(Ordering::SeqCst) == MOST + 4).then_some(()) }).await;

    // The keeper dies with what it knew, and with shards of its own.
    let keeper = cluster.leader_of(0).await;
    cluster.kill(keeper);
    go_on.add_permits(2 * RUNS);
    for run in 0..RUNS {
        assert_eq!(end(&client, &format!("r-{run}")).await.status(), RunStatus::Succeeded);
    }
    assert_eq!(most.load(Ordering::SeqCst), MOST, "never more, and at times as many");
    let counts: BTreeMap<_, _> = record.counts();
    assert!(counts.values().all(|attempts| *attempts == 1), "{counts:?}");

    // Nobody knows of a limit that is not there.
    let error = client.delete_limit(v1::DeleteLimitRequest { name: "other".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(error.api().map(|error| error.reason.clone()), Some("LIMIT_NOT_FOUND".to_owned()), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_delays_attempts_and_uses_none_up() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let limit = v1::Limit {
        metadata: Some(v1::Metadata { name: "fragile".into(), ..Default::default() }),
        spec: Some(v1::LimitSpec {
            target: Some(v1::limit_spec::Target::TaskType("work".into())),
            breaker: Some(v1::Breaker {
                failures: 2,
                open_for: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    client.apply_limit(v1::ApplyLimitRequest { limit: Some(limit), ..Default::default() }).await.unwrap();
    let yaml = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: fragile}\nspec:\n  steps:\n    - {id: s, task: {type: work}, retry: {max_attempts: 3, initial_interval: 1ms, jitter: none}}\n";
    let revision = apply(&client, yaml).await;
    let record = Record::default();
    let failing = Arc::new(AtomicUsize::new(2));
    let left = failing.clone();
    let _worker = work(&cluster, "w", 1, &record, move |_| {
        let left = left.clone();
        async move {
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => Err(TaskError::failed("Down", "it is down")),
                Err(_) => Ok(Output::from(serde_json::json!(1))),
            }
        }
    });
    start(&client, "fragile", "r", revision).await;
    // Two attempts fail; the third and last one waits, and is not used up.
    let status = || async { client.list_limits(v1::ListLimitsRequest { name: "fragile".into() }).await.ok()?.limits.pop()?.uses.pop() };
    eventually("the breaker is open and a task waits", || async {
        let used = status().await?;
        (used.breaker() == v1::BreakerState::Open && used.waiting == 1).then_some(())
    })
    .await;
    assert_eq!(record.attempts().len(), 2);
    let reset = client.reset_breaker(v1::ResetBreakerRequest { name: "fragile".into(), ..Default::default() }).await.unwrap();
    assert_eq!(reset.reset, 1);
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:?}");
    assert_eq!(record.attempts().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_says_so_fails_what_finds_no_room() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let limit = v1::Limit {
        metadata: Some(v1::Metadata { name: "one".into(), ..Default::default() }),
        spec: Some(v1::LimitSpec { concurrency: 1, on_exceeded: v1::OnLimit::Fail.into(), ..Default::default() }),
        ..Default::default()
    };
    client.apply_limit(v1::ApplyLimitRequest { limit: Some(limit), ..Default::default() }).await.unwrap();
    let yaml = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: one}\nspec:\n  steps:\n    - {id: s, task: {type: work}, limits: [one]}\n";
    let revision = apply(&client, yaml).await;
    let record = Record::default();
    let (begun, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let signals = (begun.clone(), go_on.clone());
    let _worker = work(&cluster, "w", 5, &record, move |_| {
        let (begun, go_on) = signals.clone();
        async move {
            begun.add_permits(1);
            go_on.acquire().await.map_err(|_| TaskError::Cancelled { nothing_done: true })?.forget();
            Ok(Output::from(serde_json::json!(1)))
        }
    });
    start(&client, "one", "first", revision).await;
    tokio::time::timeout(LONG, begun.acquire()).await.unwrap().unwrap().forget();
    start(&client, "one", "second", revision).await;
    let second = end(&client, "second").await;
    assert_eq!(second.status(), RunStatus::Failed);
    assert_eq!(second.failure.unwrap().r#type, "QuorusLimitExceeded");
    go_on.add_permits(1);
    assert_eq!(end(&client, "first").await.status(), RunStatus::Succeeded);
    assert_eq!(record.attempts().len(), 1);
}
