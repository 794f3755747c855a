//! A paused workflow: whoever starts its runs, on whichever node, they are accepted and wait; when it is resumed each of them runs, once.

use std::{collections::BTreeSet, sync::Arc};

use quorus_client::{Client, Output};
use quorus_proto::v1::{self, RunStatus, StepStatus};
use tokio::sync::Semaphore;

use crate::harness::*;

const PARENT: &str = "api_version: quorus/v1
kind: Workflow
metadata: {name: parent}
spec: {steps: [{id: child, workflow: {name: deploy}}, {id: after, needs: [child], set: done}]}
";

const SCHEDULE: &str = "api_version: quorus/v1
kind: Schedule
metadata: {name: beat}
spec: {every: 1s, overlap: allow, catch_up_window: 10m, run: {workflow: deploy}}
";

async fn pause(client: &Client) -> v1::PauseWorkflowResponse {
    let request = v1::PauseWorkflowRequest { name: "deploy".into(), reason: "a bad build".into(), ..Default::default() };
    client.pause_workflow(request).await.unwrap()
}

async fn resume(client: &Client) -> bool {
    client.resume_workflow(v1::ResumeWorkflowRequest { name: "deploy".into(), ..Default::default() }).await.unwrap().changed
}

async fn get(client: &Client, run_id: &str) -> v1::Run {
    client.get_run(v1::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() }).await.unwrap()
}

async fn runs_of(client: &Client, filter: &str) -> Vec<v1::Run> {
    let request = v1::ListRunsRequest { filter: filter.to_owned(), page_size: 1000, ..Default::default() };
    client.list_runs(request).await.unwrap().runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_workflow_begins_nothing_until_it_is_resumed_through_the_death_of_a_node() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    apply(&client, PARENT).await;
    let revision = apply(&client, &chain("deploy", 2)).await;
    let record = Record::default();
    let go_on = Arc::new(Semaphore::new(0));
    let waits = go_on.clone();
    let _worker = work(&cluster, "w", 8, &record, move |context| {
        let waits = waits.clone();
        async move {
            if context.task().run_id == "before" && context.task().step == "s0" {
                waits.acquire().await.unwrap().forget();
            }
            Ok(Output::from(serde_json::json!(1)))
        }
    });
    start(&client, "deploy", "before", revision).await;
    eventually("a run is at work", || async { (!record.attempts().is_empty()).then_some(()) }).await;

    let paused = pause(&cluster.client_of(2)).await;
    assert!(paused.changed && paused.unconfirmed_shards.is_empty(), "{paused:?}");
    // From here on nothing begins, on whichever node it is started.
    let mut parked = BTreeSet::new();
    for number in 0..9 {
        let id = format!("r{number}");
        let run = start(&cluster.client_of(1 + number % 3), "deploy", &id, revision).await;
        assert_eq!(run.status(), RunStatus::Queued, "{run:?}");
        parked.insert(id);
    }
    assert!(!pause(&client).await.changed, "it is paused already");

    // By the clock, and by a parent.
    let text = quorus_spec::read_resource(SCHEDULE, "schedule.yaml", "Schedule").unwrap();
    client.apply_schedule(v1::ApplyScheduleRequest { schedule: Some(text), ..Default::default() }).await.unwrap();
    start(&client, "parent", "p", revision).await;
    let child = eventually("the child is parked, and its parent's step waits", || async {
        let child = runs_of(&client, "workflow=deploy parent=p").await.pop()?;
        let step = get(&client, "p").await.steps.into_iter().find(|step| step.step == "child")?;
        (child.status() == RunStatus::Queued && step.status() == StepStatus::Running).then_some(child.run_id)
    })
    .await;
    let scheduled = eventually("two firings are parked", || async {
        let runs = runs_of(&client, "workflow=deploy status=queued").await;
        let scheduled: Vec<_> = runs.into_iter().map(|run| run.run_id).filter(|id| !parked.contains(id) && *id != child).collect();
        (scheduled.len() >= 2).then_some(scheduled)
    })
    .await;
    client.pause_schedule(v1::PauseScheduleRequest { name: "beat".into(), ..Default::default() }).await.unwrap();

    // Everybody can see why.
    let why = client.explain_run(v1::ExplainRunRequest { run_id: "r0".into(), ..Default::default() }).await.unwrap();
    let reason = why.run_reasons.first().cloned().unwrap_or_default();
    assert!(reason.starts_with("its workflow is paused by ") && reason.contains(" since ") && reason.ends_with(": a bad build"), "{why:?}");
    let shown = client.get_workflow(v1::GetWorkflowRequest { name: "deploy".into(), ..Default::default() }).await.unwrap();
    assert!(shown.paused.is_some() && shown.parked_runs >= 12, "{shown:?}");
    let listed = client.list_workflows(v1::ListWorkflowsRequest::default()).await.unwrap().workflows;
    assert_eq!(listed.iter().map(|workflow| workflow.paused.is_some()).collect::<Vec<_>>(), [true, false]);

    // What went on before goes on, and a parked run can be ended.
    go_on.add_permits(1);
    assert_eq!(end(&client, "before").await.status(), RunStatus::Succeeded);
    client.cancel_run(v1::CancelRunRequest { run_id: "r1".into(), reason: "not today".into(), ..Default::default() }).await.unwrap();
    client.terminate_run(v1::TerminateRunRequest { run_id: "r2".into(), reason: "no".into(), ..Default::default() }).await.unwrap();
    assert_eq!(end(&client, "r1").await.status(), RunStatus::Cancelled);
    assert_eq!(end(&client, "r2").await.status(), RunStatus::Terminated);

    // Who keeps the pause dies, and with it leaders of shards: the new ones know of it.
    let keeper = cluster.leader_of(0).await;
    cluster.kill(keeper);
    for number in 9..18 {
        let id = format!("r{number}");
        assert_eq!(start(&client, "deploy", &id, revision).await.status(), RunStatus::Queued);
        parked.insert(id);
    }
    cluster.restart(keeper);
    cluster.ready().await;
    let steps = |id: &str| [(id.to_owned(), "s0".to_owned()), (id.to_owned(), "s1".to_owned())];
    assert_eq!(record.counts().into_keys().collect::<Vec<_>>(), steps("before"), "nothing else has begun");

    assert!(resume(&client).await);
    let ended: BTreeSet<_> = parked.into_iter().filter(|id| id != "r1" && id != "r2").chain(scheduled).chain([child]).collect();
    for id in &ended {
        assert_eq!(end(&client, id).await.status(), RunStatus::Succeeded);
    }
    assert_eq!(end(&client, "p").await.status(), RunStatus::Succeeded);
    assert!(!resume(&client).await);
    start(&client, "deploy", "later", revision).await;
    end(&client, "later").await;
    let counts = record.counts();
    assert!(counts.values().all(|count| *count == 1), "each step once: {counts:?}");
    for id in &ended {
        assert!(steps(id).iter().all(|step| counts.contains_key(step)), "{id}");
    }
    assert!(!counts.keys().any(|(id, _)| id == "r1" || id == "r2"), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_start_that_comes_after_the_answer_begins_also_not_by_a_leader_that_slept_through_it() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("deploy", 1)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 8, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    for round in 0..2 {
        // A node that leads shards, and perhaps group 0, hears nothing of the pause, and wakes up when it was answered.
        let sleeper = 1 + round;
        let others = Client::with_endpoints((1..=3).filter(|node| *node != sleeper).map(|node| cluster.endpoint_of(node))).unwrap();
        cluster.signal(sleeper, libc::SIGSTOP);
        eventually("all leaders know", || async { pause(&others).await.unconfirmed_shards.is_empty().then_some(()) }).await;
        cluster.signal(sleeper, libc::SIGCONT);
        let of_sleeper = cluster.client_of(sleeper);
        let starts = (0..24).map(|number| {
            let (client, id) = (if number % 2 == 0 { &of_sleeper } else { &others }, format!("r{round}-{number}"));
            async move { start(client, "deploy", &id, revision).await.status() }
        });
        let statuses = futures::future::join_all(starts).await;
        assert!(statuses.iter().all(|status| *status == RunStatus::Queued), "{statuses:?}");
        assert!(!record.attempts().iter().any(|attempt| attempt.run_id.starts_with(&format!("r{round}-"))));
        assert!(resume(&client).await);
        for number in 0..24 {
            assert_eq!(end(&client, &format!("r{round}-{number}")).await.status(), RunStatus::Succeeded);
        }
    }
    assert!(record.counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_knows_too_little_is_named_and_one_that_follows_it_asks_first() {
    let folder = tempfile::tempdir().unwrap();
    let stall = folder.path().join("stall");
    let mut cluster = Cluster::start_with(3, &[("QUORUS_STALL_SYSTEM", stall.to_str().unwrap())]).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("deploy", 1)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 8, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    let leaders = || async { client.cluster_status().await.unwrap().shards.into_iter().map(|status| (status.shard, status.leader_node)) };
    let keeper = cluster.leader_of(0).await;
    let late = 1 + keeper % 3;
    let dies = 1 + late % 3;
    let of_keeper = cluster.client_of(keeper);
    let led_by = |node| async move { leaders().await.filter(|led| led.0 > 0 && led.1 == node).map(|led| led.0).collect::<BTreeSet<_>>() };
    eventually("all of them lead", || async { (!led_by(late).await.is_empty() && !led_by(dies).await.is_empty()).then_some(()) }).await;

    // One node leads shards and does not hear of the pause: the answer says which.
    let before = led_by(late).await;
    std::fs::write(&stall, cluster.pid(late).to_string()).unwrap();
    let paused = pause(&of_keeper).await;
    let unconfirmed: BTreeSet<_> = paused.unconfirmed_shards.iter().copied().collect();
    assert!(paused.changed && !unconfirmed.is_empty(), "{paused:?}");
    // Leaderships may be moved meanwhile.
    let of_late: BTreeSet<_> = led_by(late).await.union(&before).copied().collect();
    assert!(unconfirmed.is_subset(&of_late), "{unconfirmed:?} of {of_late:?}");

    // Another one dies, whose shards were confirmed. The late node takes some of them over, and still knows nothing of the pause.
    let inherited = led_by(dies).await;
    cluster.kill(dies);
    eventually("the late node leads shards of the dead one", || async {
        let led = led_by(late).await;
        (led.iter().any(|shard| inherited.contains(shard)) && led_by(dies).await.is_empty()).then_some(())
    })
    .await;
    let mut kept = 0;
    for number in 0..64 {
        let run = start(&of_keeper, "deploy", &format!("r{number}"), revision).await;
        if !unconfirmed.contains(&run.shard) {
            assert_eq!(run.status(), RunStatus::Queued, "shard {} was confirmed", run.shard);
            kept += usize::from(led_by(late).await.contains(&run.shard));
        }
    }
    assert!(kept > 0, "some of them were started by the late node");

    std::fs::remove_file(&stall).unwrap();
    eventually("all leaders know", || async { pause(&of_keeper).await.unconfirmed_shards.is_empty().then_some(()) }).await;
    for number in 64..96 {
        assert_eq!(start(&of_keeper, "deploy", &format!("r{number}"), revision).await.status(), RunStatus::Queued);
    }
    assert!(resume(&of_keeper).await);
    for number in 0..96 {
        assert_eq!(end(&of_keeper, &format!("r{number}")).await.status(), RunStatus::Succeeded);
    }
    assert!(record.counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_workflow_that_is_there_is_paused_and_what_waits_for_a_slot_is_parked_with_it() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let unknown = v1::PauseWorkflowRequest { name: "deploy".into(), ..Default::default() };
    let error = client.pause_workflow(unknown).await.unwrap_err();
    assert_eq!(error.api().map(|error| error.reason.clone()), Some("WORKFLOW_NOT_FOUND".to_owned()), "{error:?}");
    assert!(!resume(&client).await);

    let yaml = chain("deploy", 1).replace("spec:\n", "spec:\n  concurrency: {key: one}\n");
    let revision = apply(&client, &yaml).await;
    let record = Record::default();
    let go_on = Arc::new(Semaphore::new(0));
    let waits = go_on.clone();
    let _worker = work(&cluster, "w", 8, &record, move |_| {
        let waits = waits.clone();
        async move {
            waits.acquire().await.unwrap().forget();
            Ok(Output::from(serde_json::json!(1)))
        }
    });
    for id in ["first", "second"] {
        start(&client, "deploy", id, revision).await;
    }
    eventually("the first one is at work", || async { (record.attempts().len() == 1).then_some(()) }).await;
    let waiters = || async {
        let answer = client.list_concurrency(v1::ListConcurrencyRequest::default()).await.ok()?;
        Some(answer.keys.first()?.waiting)
    };
    eventually("the second one stands in line", || async { (waiters().await? == 1).then_some(()) }).await;
    assert!(pause(&client).await.changed);
    assert_eq!(waiters().await, Some(0));
    go_on.add_permits(2);
    assert_eq!(end(&client, "first").await.status(), RunStatus::Succeeded);
    assert_eq!(start(&client, "deploy", "third", revision).await.status(), RunStatus::Queued);
    eventually("both are parked", || async {
        let request = v1::GetWorkflowRequest { name: "deploy".into(), ..Default::default() };
        (client.get_workflow(request).await.ok()?.parked_runs == 2).then_some(())
    })
    .await;
    assert_eq!(record.attempts().len(), 1, "there is room, and nobody takes it");
    assert!(resume(&client).await);
    go_on.add_permits(1);
    for id in ["second", "third"] {
        assert_eq!(end(&client, id).await.status(), RunStatus::Succeeded);
    }
    let order: Vec<_> = record.attempts().into_iter().map(|attempt| attempt.run_id).collect();
    assert_eq!(order, ["first", "second", "third"], "in the order of their starts");
}
