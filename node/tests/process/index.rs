//! What there is to find and to count over all nodes, and how runs go when their time has come.

use std::{collections::BTreeSet, path::Path};

use quorus_client::{Client, Output, TaskError};
use quorus_proto::v1::{self, RunStatus};
use tonic::Code;

use crate::harness::*;

async fn search(client: &Client, filter: &str) -> BTreeSet<String> {
    let mut request = v1::ListRunsRequest { filter: filter.to_owned(), page_size: 3, ..Default::default() };
    let mut found = BTreeSet::new();
    loop {
        let page = client.list_runs(request.clone()).await.unwrap();
        assert!(page.runs.len() <= 3);
        for run in page.runs {
            assert!(found.insert(run.run_id.clone()), "{} is on two pages", run.run_id);
        }
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

async fn count(client: &Client, filter: &str, max: u64) -> (u64, bool) {
    let answer = client.count_runs(v1::CountRunsRequest { filter: filter.to_owned(), max, ..Default::default() }).await.unwrap();
    assert_eq!(answer.by_status.iter().map(|part| part.count).sum::<u64>(), answer.count);
    (answer.count, answer.more)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_finds_and_counts_the_same() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    apply(&client, &chain("alpha", 1)).await;
    let revision = apply(&client, &chain("beta", 2)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 8, &record, |context| async move {
        if context.task().run_id.ends_with("bad") {
            return Err(TaskError::failed("SchemaConflict", "the schema is another one").non_retryable());
        }
        Ok(Output::from(serde_json::json!(1)))
    });
    for number in 0..12 {
        let (workflow, end) = (if number % 3 == 0 { "alpha" } else { "beta" }, if number % 4 == 0 { "bad" } else { "good" });
        let request = v1::StartRunRequest {
            workflow: workflow.to_owned(),
            run_id: format!("run-{number}-{end}"),
            labels: [("team".to_owned(), if number % 2 == 0 { "payments" } else { "search" }.to_owned())].into(),
            min_revision: revision,
            ..Default::default()
        };
        let run = client.start_run(request).await.unwrap().run.unwrap();
        end_of(&client, &run.run_id).await;
    }
    let ids = |numbers: &[i32]| -> BTreeSet<String> {
        numbers.iter().map(|number| format!("run-{number}-{}", if number % 4 == 0 { "bad" } else { "good" })).collect()
    };
    let cases: [(&str, &[i32]); 9] = [
        ("", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("workflow=alpha", &[0, 3, 6, 9]),
        ("status=failed", &[0, 4, 8]),
        ("status=open", &[]),
        ("workflow=beta status=failed label.team=payments error=SchemaConflict started>2h ended>2h", &[4, 8]),
        ("label.team!=payments version=1", &[1, 3, 5, 7, 9, 11]),
        ("id=run-1*", &[1, 10, 11]),
        ("id=run-4-bad", &[4]),
        ("started<2020-01-01", &[]),
    ];
    for node in 1..=3 {
        let client = cluster.client_of(node);
        for (filter, numbers) in cases {
            let expected = ids(numbers);
            // Bounded-stale: a follower may lag behind by a moment.
            eventually(&format!("node {node} finds what {filter:?} means"), || async {
                (search(&client, filter).await == expected).then_some(())
            })
            .await;
            assert_eq!(count(&client, filter, 0).await, (expected.len() as u64, false), "{filter}");
        }
        assert_eq!(count(&client, "", 5).await, (5, true));
        assert_eq!(count(&client, "", 12).await, (12, false));
    }
    let refused = client.list_runs(v1::ListRunsRequest { filter: "statsu=failed".to_owned(), ..Default::default() }).await.unwrap_err();
    assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    assert!(refused.to_string().contains("did you mean `status`?"), "{refused}");
}

/// Waits for a run's end, or until it is gone.
async fn end_of(client: &Client, run_id: &str) {
    let request = v1::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() };
    eventually(&format!("{run_id} ends"), || async {
        match client.get_run(request.clone()).await {
            Ok(run) => quorus_client::is_final(run.status()).then_some(()),
            Err(error) => (error.reason() == "RUN_NOT_FOUND").then_some(()),
        }
    })
    .await;
}

async fn is_gone(client: &Client, run_id: &str) -> bool {
    let request = v1::GetRunRequest { run_id: run_id.to_owned(), consistency: v1::Consistency::Stale.into(), ..Default::default() };
    client.get_run(request).await.is_err_and(|error| error.api().is_some_and(|error| error.code == Code::NotFound))
}

/// The lines of a run's file.
fn exported(folder: &Path, run_id: &str) -> Vec<serde_json::Value> {
    let files = std::fs::read_dir(folder.join("default")).unwrap().map(|entry| entry.unwrap().path());
    let mut of_run: Vec<_> = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{run_id}-"))).collect();
    assert_eq!(of_run.len(), 1, "{run_id}: {of_run:?}");
    let text = std::fs::read_to_string(of_run.remove(0)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_whose_time_has_come_are_exported_and_go_from_every_node_also_when_a_leader_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let mut cluster = Cluster::start_with(3, &[("QUORUS_RETENTION", "1s"), ("QUORUS_EXPORT_DIR", &path)]).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 2)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 8, &record, |_| async { Ok(Output::from(serde_json::json!({"ok": true}))) });
    let ids: Vec<String> = (0..12).map(|number| format!("gone{number}")).collect();
    let mut uids = Vec::new();
    for id in &ids {
        uids.push(start(&client, "chain", id, revision).await.run_uid);
    }
    end_of(&client, &ids[11]).await;
    let killed = cluster.leader_of(1).await;
    cluster.kill(killed);
    for id in &ids {
        end_of(&client, id).await;
    }
    let others: Vec<u64> = (1..=3).filter(|node| *node != killed).collect();
    cluster.restart(killed);
    cluster.ready().await;
    for node in others.into_iter().chain([killed]) {
        let client = cluster.client_of(node);
        for id in &ids {
            eventually(&format!("node {node} has forgotten {id}"), || async { is_gone(&client, id).await.then_some(()) }).await;
        }
        eventually(&format!("node {node} lists nothing"), || async { search(&client, "").await.is_empty().then_some(()) }).await;
    }
    for (id, uid) in ids.iter().zip(&uids) {
        let lines = exported(folder.path(), id);
        assert_eq!(lines[0]["type"], "run");
        assert_eq!((&lines[0]["run"]["status"], &lines[0]["run_uid"]), (&"succeeded".into(), &uid.as_str().into()));
        let events = &lines[1..lines.len() - 1];
        assert_eq!(lines[0]["run"]["sequence"], events.len());
        assert!(events.iter().zip(1..).all(|(line, sequence)| line["type"] == "event" && line["event"]["sequence"] == sequence));
        assert_eq!(events.last().unwrap()["event"]["type"], "run_ended");
        assert_eq!(lines.last().unwrap()["type"], "end");
    }

    // The request is remembered, and starts nothing again; the id is free for another one.
    let again = v1::StartRunRequest {
        workflow: "chain".to_owned(),
        run_id: "gone0".to_owned(),
        request_id: "request-gone0".to_owned(),
        ..Default::default()
    };
    assert_eq!(client.start_run(again.clone()).await.unwrap_err().reason(), "RUN_PURGED");
    let reused = client.start_run(v1::StartRunRequest { request_id: "another".to_owned(), ..again }).await.unwrap();
    assert!(!reused.existing);
    assert_ne!(reused.run.unwrap().run_uid, uids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_run_is_removed_by_request_and_one_that_goes_on_is_not() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 1)).await;
    start(&client, "chain", "waits", revision).await;
    let purge = || client.purge_run(v1::PurgeRunRequest { run_id: "waits".to_owned(), ..Default::default() });
    assert_eq!(purge().await.unwrap_err().reason(), "RUN_NOT_ENDED");
    let run = client.terminate_run(v1::TerminateRunRequest { run_id: "waits".to_owned(), ..Default::default() }).await.unwrap();
    assert_eq!(run.status(), RunStatus::Terminated);
    assert_eq!(purge().await.unwrap().run_uid, run.run_uid);
    assert_eq!(purge().await.unwrap_err().reason(), "RUN_NOT_FOUND");
    for node in 1..=3 {
        let client = cluster.client_of(node);
        eventually(&format!("node {node} has forgotten it"), || async { is_gone(&client, "waits").await.then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_person_is_listed_until_somebody_settles_it() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let held = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: held}\nspec:\n  on_failure: hold\n  steps:\n    - {id: only, task: {type: work}, retry: {max_attempts: 1}}\n";
    let items = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: items}\nspec:\n  steps:\n    - id: all\n      for_each: {in: \"${input}\", max_failures: 5, steps: [{id: one, task: {type: work}, with: \"${item}\", retry: {max_attempts: 1}}]}\n";
    let waits = items.replace("name: items", "name: waits") + "    - {id: go, needs: [all], signal: {name: go}, timeout: 1h}\n";
    apply(&client, held).await;
    apply(&client, &waits).await;
    let revision = apply(&client, items).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 8, &record, |context| async move {
        let fails = context.task().run_id == "held" || context.task().step.contains("[1]");
        if fails { Err(TaskError::failed("Broken", "it broke").non_retryable()) } else { Ok(Output::from(serde_json::json!(1))) }
    });
    start(&client, "held", "held", revision).await;
    let input = Some(v1::Payload { data: "[1, 2, 3]".into(), encoding: String::new() });
    let request = v1::StartRunRequest { workflow: "items".to_owned(), run_id: "items".to_owned(), input, ..Default::default() };
    client.start_run(request).await.unwrap();
    assert_eq!(end(&client, "items").await.status(), RunStatus::Succeeded);
    let input = Some(v1::Payload { data: "[1, 2, 3]".into(), encoding: String::new() });
    let request = v1::StartRunRequest { workflow: "waits".to_owned(), run_id: "given-up".to_owned(), input, ..Default::default() };
    client.start_run(request).await.unwrap();

    let list = |client: Client, page_size: u32| async move {
        let mut request = v1::ListDeadLettersRequest { page_size, ..Default::default() };
        let mut found = BTreeSet::new();
        loop {
            let page = client.list_dead_letters(request.clone()).await.unwrap();
            for letter in page.dead_letters {
                assert_eq!(letter.failure.unwrap().r#type, "Broken");
                found.insert((letter.run_id, letter.step, letter.cause));
            }
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    };
    let item = ("items".to_owned(), "all[1]".to_owned(), "item_failed".to_owned());
    let given_up = ("given-up".to_owned(), "all[1]".to_owned(), "item_failed".to_owned());
    eventually("the item is listed while its run goes on", || async { list(client.clone(), 10).await.contains(&given_up).then_some(()) })
        .await;
    client.terminate_run(v1::TerminateRunRequest { run_id: "given-up".to_owned(), ..Default::default() }).await.unwrap();
    for node in 1..=3 {
        eventually(&format!("node {node} lists both"), || async {
            let found = list(cluster.client_of(node), 1).await;
            let run = found.iter().any(|(run, _, cause)| run == "held" && cause == "hold");
            (run && found.contains(&item) && found.len() == 2).then_some(())
        })
        .await;
    }
    let discard = || {
        let (run_id, step) = ("items".to_owned(), "all[1]".to_owned());
        client.discard_dead_letter(v1::DiscardDeadLetterRequest { run_id, step, reason: "gone".to_owned(), ..Default::default() })
    };
    discard().await.unwrap();
    assert_eq!(discard().await.unwrap_err().reason(), "NO_DEAD_LETTER");
    client.terminate_run(v1::TerminateRunRequest { run_id: "held".to_owned(), ..Default::default() }).await.unwrap();
    for node in 1..=3 {
        eventually(&format!("node {node} lists none"), || async { list(cluster.client_of(node), 10).await.is_empty().then_some(()) }).await;
    }
}
