//! Schedules and triggers on a real cluster: a firing is neither lost nor doubled by the death of who fires it, and an event starts one run.

use std::{collections::BTreeMap, time::Duration};

use quorus_client::Client;
use quorus_proto::v1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::*;

/// A workflow that ends at once.
const QUICK: &str = "api_version: quorus/v1
kind: Workflow
metadata: {name: quick}
spec: {steps: [{id: done, set: {at: \"${input.at}\"}}]}
";

fn schedule(text: &str) -> v1::Schedule {
    quorus_spec::read_resource(text, "schedule.yaml", "Schedule").unwrap()
}

async fn apply_schedule(client: &Client, text: &str) -> v1::ScheduleState {
    let request = v1::ApplyScheduleRequest { schedule: Some(schedule(text)), ..Default::default() };
    client.apply_schedule(request).await.unwrap().schedule.unwrap()
}

async fn firings(client: &Client, name: &str) -> Option<Vec<v1::Firing>> {
    let mut request = v1::ListFiringsRequest { name: name.to_owned(), page_size: 1000, ..Default::default() };
    let mut firings = Vec::new();
    loop {
        let page = client.list_firings(request.clone()).await.ok()?;
        firings.extend(page.firings);
        if page.next_page_token.is_empty() {
            return Some(firings);
        }
        request.page_token = page.next_page_token;
    }
}

async fn runs_with_label(client: &Client, key: &str, value: &str) -> Vec<v1::Run> {
    let mut request = v1::ListRunsRequest { page_size: 1000, labels: [(key.to_owned(), value.to_owned())].into(), ..Default::default() };
    let mut runs = Vec::new();
    loop {
        let page = client.list_runs(request.clone()).await.unwrap();
        runs.extend(page.runs);
        if page.next_page_token.is_empty() {
            return runs;
        }
        request.page_token = page.next_page_token;
    }
}

/// Waits until a schedule has so many firings that are started.
async fn started(client: &Client, name: &str, count: usize) -> Vec<v1::Firing> {
    eventually(&format!("{count} firings of {name} are started"), || async {
        let firings = firings(client, name).await?;
        (firings.iter().filter(|firing| firing.status() == v1::FiringStatus::Started).count() >= count).then_some(firings)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_leader_neither_loses_nor_doubles_a_firing() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    apply(&client, QUICK).await;
    let text = "api_version: quorus/v1
kind: Schedule
metadata: {name: beat}
spec: {every: 1s, overlap: allow, catch_up_window: 10m, run: {workflow: quick, input: {at: \"${schedule.scheduled_at}\"}}}
";
    apply_schedule(&client, text).await;
    let mut count = 0;
    for _ in 0..3 {
        count = started(&client, "beat", count + 2).await.len();
        let leader = cluster.leader_of(0).await;
        cluster.kill(leader);
        count = started(&client, "beat", count + 2).await.len();
        cluster.restart(leader);
        cluster.ready().await;
    }
    let pause = v1::PauseScheduleRequest { name: "beat".to_owned(), reason: "counting".to_owned(), ..Default::default() };
    client.pause_schedule(pause).await.unwrap();
    let firings = eventually("every firing is decided for good", || async {
        let firings = firings(&client, "beat").await?;
        let open = [v1::FiringStatus::Starting, v1::FiringStatus::Waiting];
        (!firings.iter().any(|firing| open.contains(&firing.status()))).then_some(firings)
    })
    .await;
    // Every second between the first and the last has one firing with one run, or a recorded reason.
    let mut by_second = BTreeMap::new();
    for firing in &firings {
        let first = firing.scheduled_at.unwrap().seconds;
        let last = firing.skipped_until.map_or(first, |until| until.seconds);
        for second in first..=last {
            assert!(by_second.insert(second, firing).is_none(), "second {second} twice: {firings:#?}");
        }
    }
    let seconds: Vec<i64> = by_second.keys().copied().collect();
    assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "a second is missing: {seconds:?}");
    let mut expected: Vec<String> = Vec::new();
    for firing in by_second.values() {
        match firing.status() {
            v1::FiringStatus::Started => expected.push(firing.run_id.clone()),
            v1::FiringStatus::Skipped => assert!(!firing.reason.is_empty(), "{firing:?}"),
            _ => panic!("{firing:?}"),
        }
    }
    for run in &expected {
        let ended = end(&client, run).await;
        assert_eq!(ended.status(), v1::RunStatus::Succeeded, "{ended:?}");
    }
    let runs = eventually("the list of runs has caught up", || async {
        let runs = runs_with_label(&client, "quorus.schedule", "beat").await;
        (runs.len() >= expected.len()).then_some(runs)
    })
    .await;
    let mut actual: Vec<String> = runs.iter().map(|run| run.run_id.clone()).collect();
    actual.sort();
    expected.sort();
    assert_eq!(actual, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_pauses_and_backfills_do_what_they_say() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    apply(&client, QUICK).await;
    let hold = "api_version: quorus/v1\nkind: Workflow\nmetadata: {name: hold}\nspec: {steps: [{id: hold, wait: {for: 1h}}]}\n";
    apply(&client, hold).await;
    let text = |name: &str, overlap: &str| {
        format!(
            "api_version: quorus/v1\nkind: Schedule\nmetadata: {{name: {name}}}\nspec: {{every: 1h, overlap: {overlap}, run: {{workflow: hold}}}}\n"
        )
    };
    let fire = |name: &str| {
        let request = v1::TriggerScheduleRequest { name: name.to_owned(), ..Default::default() };
        let client = client.clone();
        async move { client.trigger_schedule(request).await.unwrap() }
    };
    // Skip: the second one finds the first one's run.
    apply_schedule(&client, &text("skips", "skip")).await;
    fire("skips").await;
    started(&client, "skips", 1).await;
    fire("skips").await;
    eventually("the second firing is skipped", || async {
        let firings = firings(&client, "skips").await?;
        (firings.len() == 2 && firings[0].reason == "overlap").then_some(())
    })
    .await;
    // Terminate: the first one's run ends, the second one's starts.
    apply_schedule(&client, &text("ends-others", "terminate_other")).await;
    let first = fire("ends-others").await;
    started(&client, "ends-others", 1).await;
    fire("ends-others").await;
    started(&client, "ends-others", 2).await;
    assert_eq!(end(&client, &first.run_id).await.status(), v1::RunStatus::Terminated);
    // Cancel: the same, in order.
    apply_schedule(&client, &text("cancels-others", "cancel_other")).await;
    let first = fire("cancels-others").await;
    started(&client, "cancels-others", 1).await;
    fire("cancels-others").await;
    started(&client, "cancels-others", 2).await;
    assert_eq!(end(&client, &first.run_id).await.status(), v1::RunStatus::Cancelled);
    // Backfill: a run for each hour of a range, once.
    let text =
        "api_version: quorus/v1\nkind: Schedule\nmetadata: {name: makes-up}\nspec: {every: 1h, run: {workflow: quick, input: {at: x}}}\n";
    apply_schedule(&client, text).await;
    let second = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let request = v1::BackfillScheduleRequest {
        name: "makes-up".to_owned(),
        from: second(1_700_002_800),
        until: second(1_700_010_000),
        overlap: v1::OverlapPolicy::BufferOne.into(),
        request_id: "once".to_owned(),
        ..Default::default()
    };
    assert_eq!(client.backfill_schedule(request.clone()).await.unwrap().count, 3);
    assert_eq!(client.backfill_schedule(request).await.unwrap().count, 3);
    let made_up = started(&client, "makes-up", 3).await;
    assert_eq!(made_up.iter().filter(|firing| firing.cause() == v1::FiringCause::Backfill).count(), 3, "{made_up:#?}");
    // A refused start is a firing that failed, with its reason.
    let text = "api_version: quorus/v1\nkind: Schedule\nmetadata: {name: fails}\nspec: {every: 1h, run: {workflow: nothing}}\n";
    apply_schedule(&client, text).await;
    fire("fails").await;
    eventually("the firing failed", || async {
        let firings = firings(&client, "fails").await?;
        (firings.first()?.reason == "WORKFLOW_NOT_FOUND").then_some(())
    })
    .await;
    // A workflow that a schedule starts is not deleted.
    let request = v1::DeleteWorkflowRequest { name: "quick".to_owned(), ..Default::default() };
    let refused = client.delete_workflow(request).await.unwrap_err();
    assert_eq!(refused.reason(), "WORKFLOW_IN_USE", "{refused}");
    // A schedule that would never fire is refused.
    let text = "api_version: quorus/v1\nkind: Schedule\nmetadata: {name: never}\nspec: {cron: '0 0 30 2 *', run: {workflow: quick}}\n";
    let request = v1::ApplyScheduleRequest { schedule: Some(schedule(text)), ..Default::default() };
    let refused = client.apply_schedule(request).await.unwrap_err();
    assert!(refused.to_string().contains("never fire"), "{refused}");
}

struct HttpAnswer {
    status: u16,
    body: serde_json::Value,
}

async fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("\r\n{body}"));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        HttpAnswer { status, body: serde_json::from_str(body).unwrap_or_default() }
    };
    tokio::time::timeout(LONG, ask).await.unwrap()
}

/// What a sender of Standard Webhooks would put on a body.
fn signed(secret: &[u8], id: &str, body: &str) -> (String, String) {
    use base64::Engine as _;
    use hmac::Mac as _;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(format!("{id}.{now}.{body}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    (now, format!("v1,{signature}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_starts_one_run_whichever_node_hears_it_again() {
    let mut cluster = Cluster::start_with(3, &[("HOOK_SECRET", "a secret of the test")]).await;
    let client = cluster.client();
    apply(&client, QUICK).await;
    let text = "api_version: quorus/v1
kind: Trigger
metadata: {name: pushes}
spec:
  auth: {signature: [{env: HOOK_SECRET}]}
  filter: event.body.branch == 'main'
  start: {workflow: quick, input: {at: \"${event.body.commit}\"}, labels: {branch: \"${event.body.branch}\"}}
";
    let trigger = quorus_spec::read_resource(text, "trigger.yaml", "Trigger").unwrap();
    client.apply_trigger(v1::ApplyTriggerRequest { trigger: Some(trigger), ..Default::default() }).await.unwrap();

    let body = r#"{"branch": "main", "commit": "abc"}"#;
    let (timestamp, signature) = signed(b"a secret of the test", "m1", body);
    let headers = [("webhook-id", "m1"), ("webhook-timestamp", timestamp.as_str()), ("webhook-signature", signature.as_str())];
    let path = "/hooks/default/pushes";
    let first = post(&cluster.http_address(1), path, &headers, body).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let run_id = first.body["run_id"].as_str().unwrap().to_owned();
    assert_eq!(end(&client, &run_id).await.status(), v1::RunStatus::Succeeded);
    let again = post(&cluster.http_address(2), path, &headers, body).await;
    assert_eq!((again.status, again.body["run_id"].as_str()), (200, Some(run_id.as_str())), "{}", again.body);
    // Durably: after the death of all nodes, too.
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.restart(node);
    }
    cluster.ready().await;
    let (timestamp, signature) = signed(b"a secret of the test", "m1", body);
    let headers = [("webhook-id", "m1"), ("webhook-timestamp", timestamp.as_str()), ("webhook-signature", signature.as_str())];
    let again = eventually("the event is taken", || async {
        let answer = post(&cluster.http_address(3), path, &headers, body).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!((again.status, again.body["status"].as_str()), (200, Some("duplicate")), "{}", again.body);
    assert_eq!(runs_with_label(&client, "quorus.trigger", "pushes").await.len(), 1);

    // Nobody else starts anything.
    let forged = [("webhook-id", "m2"), ("webhook-timestamp", timestamp.as_str()), ("webhook-signature", signature.as_str())];
    let refused = post(&cluster.http_address(1), path, &forged, body).await;
    assert_eq!((refused.status, refused.body["error"]["reason"].as_str()), (401, Some("UNAUTHENTICATED")), "{}", refused.body);
    assert_eq!(post(&cluster.http_address(1), path, &[], body).await.status, 401);
    assert_eq!(post(&cluster.http_address(1), "/hooks/default/nothing", &headers, body).await.status, 404);
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(post(&cluster.http_address(1), path, &headers, &large).await.status, 413);
    let send = |id: &'static str, body: &'static str| {
        let address = cluster.http_address(2);
        async move {
            let (timestamp, signature) = signed(b"a secret of the test", id, body);
            let headers = [("webhook-id", id), ("webhook-timestamp", timestamp.as_str()), ("webhook-signature", signature.as_str())];
            post(&address, path, &headers, body).await
        }
    };
    assert_eq!(send("m3", "{").await.status, 422);
    assert_eq!(send("m4", "{}").await.status, 422);
    let other = send("m5", r#"{"branch": "dev"}"#).await;
    assert_eq!((other.status, other.body["status"].as_str()), (200, Some("ignored")), "{}", other.body);
    assert_eq!(runs_with_label(&client, "quorus.trigger", "pushes").await.len(), 1);

    client.pause_trigger(v1::PauseTriggerRequest { name: "pushes".to_owned(), ..Default::default() }).await.unwrap();
    eventually("the pause is known", || async { (send("m6", body).await.status == 503).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_signals_a_run_once_and_starts_it_if_it_is_not_there() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let order = "api_version: quorus/v1
kind: Workflow
metadata: {name: order}
spec:
  steps:
    - {id: first, signal: {name: paid}, timeout: 1h}
    - {id: second, needs: [first], signal: {name: paid}, timeout: 1h}
  output: [\"${steps.first.output.amount}\", \"${steps.second.output.amount}\"]
";
    apply(&client, order).await;
    for (name, start) in [("orders", ", start: {workflow: order}"), ("payments", "")] {
        let text = format!(
            "api_version: quorus/v1
kind: Trigger
metadata: {{name: {name}}}
spec:
  auth: {{unsigned: true}}
  event_id: \"${{event.body.id}}\"
  signal: {{run_id: \"order-${{event.body.order}}\", name: paid, payload: {{amount: \"${{event.body.amount}}\"}}{start}}}
"
        );
        let trigger = quorus_spec::read_resource(&text, "trigger.yaml", "Trigger").unwrap();
        client.apply_trigger(v1::ApplyTriggerRequest { trigger: Some(trigger), ..Default::default() }).await.unwrap();
    }
    let send = |node: u64, trigger: &'static str, id: u32, amount: u32| {
        let address = cluster.http_address(node);
        let body = serde_json::json!({"id": id, "order": 7, "amount": amount}).to_string();
        async move { post(&address, &format!("/hooks/default/{trigger}"), &[], &body).await }
    };
    let none = send(1, "payments", 1, 10).await;
    assert_eq!((none.status, none.body["error"]["reason"].as_str()), (422, Some("RUN_NOT_FOUND")), "{}", none.body);
    let first = send(1, "orders", 1, 10).await;
    assert_eq!((first.status, first.body["run_id"].as_str()), (202, Some("order-7")), "{}", first.body);
    assert_eq!(first.body["runs"][0]["signal"], "paid");
    // The same event again, heard by another node, is not the second payment.
    assert_eq!(send(2, "orders", 1, 10).await.status, 202);
    let second = send(3, "payments", 2, 20).await;
    assert_eq!(second.status, 202, "{}", second.body);
    let run = end(&client, "order-7").await;
    assert_eq!(run.status(), v1::RunStatus::Succeeded);
    assert_eq!(run.output.unwrap().data.as_ref(), b"[10,20]");
    // What was heard before is known also after the end; anything new comes too late.
    assert_eq!(send(1, "payments", 2, 20).await.status, 202);
    let late = send(1, "payments", 3, 30).await;
    assert_eq!((late.status, late.body["error"]["reason"].as_str()), (422, Some("RUN_ENDED")), "{}", late.body);

    let body = serde_json::json!({"id": 4, "order": 8, "amount": 1}).to_string().into();
    let test = v1::TestTriggerRequest { name: "orders".to_owned(), body, ..Default::default() };
    let event = client.test_trigger(test).await.unwrap().events.remove(0);
    assert!(event.passes);
    assert_eq!(event.signal.map(|signal| (signal.run_id, signal.name)), Some(("order-8".to_owned(), "paid".to_owned())));
    assert_eq!(event.start.map(|start| start.workflow), Some("order".to_owned()));
}

/// The bound of a whole test, so that a schedule that never fires is told as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_cron_schedule_of_seconds_fires_by_itself_and_stops_when_it_is_deleted() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    apply(&client, QUICK).await;
    let text = "api_version: quorus/v1\nkind: Schedule\nmetadata: {name: ticks}\nspec: {cron: '* * * * * *', time_zone: Asia/Tokyo, run: {workflow: quick, input: {at: \"${schedule.local_time}\"}}}\n";
    let state = apply_schedule(&client, text).await;
    assert!(state.next[0].local.ends_with("+09:00"), "{state:?}");
    let firings = started(&client, "ticks", 2).await;
    let input = end(&client, &firings.last().unwrap().run_id).await.input.unwrap();
    assert!(String::from_utf8_lossy(&input.data).contains("+09:00"), "{input:?}");
    client.delete_schedule(v1::DeleteScheduleRequest { name: "ticks".to_owned(), ..Default::default() }).await.unwrap();
    let gone = client.get_schedule(v1::GetScheduleRequest { name: "ticks".to_owned(), ..Default::default() }).await.unwrap_err();
    assert_eq!(gone.reason(), "SCHEDULE_NOT_FOUND");
    tokio::time::timeout(Duration::from_secs(60), async {
        // Whatever was being started when it was deleted ends; then there is nothing new.
        for run in runs_with_label(&client, "quorus.schedule", "ticks").await {
            end(&client, &run.run_id).await;
        }
    })
    .await
    .unwrap();
}
