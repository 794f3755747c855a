//! Gates and guards against a server that answers as Prometheus does.

use serde_json::json;

use super::*;
use crate::executors::testing::{Bench, Stub};

fn vector(values: &[&str]) -> String {
    let series: Vec<_> = values.iter().map(|value| json!({"metric": {}, "value": [1.5, value]})).collect();
    json!({"status": "success", "data": {"resultType": "vector", "result": series}}).to_string()
}

fn script(stub: &Stub, answers: &[(u16, String)]) {
    stub.script(&answers.iter().map(|(status, body)| (*status, "content-type: application/json", body.as_str())).collect::<Vec<_>>());
}

fn gate(stub: &Stub, more: &Value) -> Bench {
    let query = json!({"prometheus": {"url": format!("{}/prom/", stub.base()), "query": "up{a=\"b c\"}", "headers": {"x-scope": "t"}, "allow_private": true}});
    let mut request = json!({"queries": {"value": query}, "single": true, "condition": "value < 0.05", "interval_ms": 5, "hold_for_ms": 0, "no_data": "wait", "guard": false, "breach_for_ms": 0});
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    Bench::new(TASK_TYPE, &request)
}

#[tokio::test]
async fn a_gate_waits_for_its_condition_through_missing_and_strange_values() {
    let stub = Stub::start().await;
    let answers = [vector(&[]), vector(&["NaN"]), vector(&["0.5"]), vector(&["0.01"])].map(|body| (200, body));
    script(&stub, &answers);
    assert_eq!(gate(&stub, &json!({})).output().await, json!({"values": {"value": 0.01}}));
    let requests = stub.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!((requests[0].path.as_str(), requests[0].query["query"].as_str()), ("/prom/api/v1/query", "up{a=\"b c\"}"));
    assert_eq!(requests[0].header("x-scope"), "t");
}

#[tokio::test]
async fn a_gate_fails_at_once_by_fail_if_and_by_data_that_is_missing() {
    let stub = Stub::start().await;
    script(&stub, &[(200, vector(&["0.9"]))]);
    let failure = gate(&stub, &json!({"fail_if": "value > 0.5"})).failure().await;
    assert_eq!((failure.r#type.as_str(), failure.non_retryable, failure.nothing_done), ("QuorusGateFailed", true, true));
    assert_eq!(serde_json::from_slice::<Value>(&failure.details.unwrap().data).unwrap(), json!({"values": {"value": 0.9}}));
    script(&stub, &[(200, vector(&[]))]);
    assert_eq!(gate(&stub, &json!({"no_data": "fail"})).failure().await.r#type, "QuorusGateNoData");
    script(&stub, &[(200, vector(&["NaN"]))]);
    let mut tried = gate(&stub, &json!({"fail_if": "value > 0.5 || value < 0.5 || value == value"})).start();
    tried.step().await;
    tried.strings.stop.send_replace(Some(Stop::LeaseLost));
    assert_eq!(tried.end().await, cancelled(true), "NaN satisfies nothing, not even fail_if");
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_asked_again_then_fails_with_the_cause() {
    let stub = Stub::start().await;
    script(&stub, &[(503, "overloaded".to_owned())]);
    let failure = gate(&stub, &json!({})).failure().await;
    assert_eq!((failure.r#type.as_str(), failure.non_retryable, failure.nothing_done), ("QuorusGateUnavailable", false, true));
    assert!(failure.message.contains("query `value`: Prometheus answered 503: overloaded"), "{failure:?}");
    assert_eq!(stub.requests().len(), 5);
    script(&stub, &[(503, String::new()), (503, String::new()), (200, vector(&["0"]))]);
    gate(&stub, &json!({})).output().await;
}

#[tokio::test]
async fn how_long_it_held_is_kept_and_another_attempt_goes_on_from_there() {
    let stub = Stub::start().await;
    script(&stub, &[(200, vector(&["0"]))]);
    let hour = 3_600_000;
    let mut bench = gate(&stub, &json!({"hold_for_ms": hour}));
    let mut tried = bench.start();
    while tried.checkpoints.is_empty() && stub.requests().len() < 3 {
        tried.step().await;
    }
    tried.strings.stop.send_replace(Some(Stop::Draining { until: Instant::now() }));
    let Ending::Released(given_back) = tried.end().await else { panic!("not given back") };
    let kept: Kept = serde_json::from_slice(&given_back.checkpoint.unwrap().data).unwrap();
    assert!(kept.ms > 0 && kept.ms < hour, "{kept:?}");
    // The next attempt needs only what is left.
    bench.task.checkpoint = Some(payload(&Kept { ms: hour - 1 }));
    bench.output().await;
}

#[tokio::test]
async fn a_guard_runs_until_it_is_cancelled_or_its_condition_is_broken() {
    let stub = Stub::start().await;
    script(&stub, &[(200, vector(&["0"]))]);
    let bench = gate(&stub, &json!({"guard": true, "breach_for_ms": 10}));
    let mut tried = bench.start();
    while stub.requests().len() < 5 {
        tried.step().await;
    }
    script(&stub, &[(200, vector(&["0.9"])), (200, vector(&["0"])), (200, vector(&["0.9"]))]);
    let Ending::Failed(failure) = tried.end().await else { panic!("not a failure") };
    assert_eq!((failure.r#type.as_str(), failure.non_retryable), ("QuorusGuardBreached", true));
    script(&stub, &[(200, vector(&["0"]))]);
    let mut tried = bench.start();
    tried.strings.stop.send_replace(Some(Stop::Cancelled { until: Instant::now() + Duration::from_secs(60) }));
    assert_eq!(tried.end().await, cancelled(true));
}

#[tokio::test]
async fn several_queries_of_both_kinds_are_judged_together() {
    let stub = Stub::start().await;
    script(&stub, &[(200, vector(&["0.02"]))]);
    let api = Stub::start().await;
    api.script(&[(200, "content-type: application/json", r#"{"rates": {"baseline": 0.03}}"#)]);
    let queries = json!({
        "canary": {"prometheus": {"url": stub.base(), "query": "c", "headers": {}, "allow_private": true}},
        "baseline": {"http": {"url": format!("{}/stats", api.base()), "headers": {}, "value": "response.body.rates.baseline", "allow_private": true}},
    });
    let request = json!({"queries": queries, "single": false, "condition": "values.canary <= values.baseline", "interval_ms": 5});
    assert_eq!(Bench::new(TASK_TYPE, &request).output().await, json!({"values": {"baseline": 0.03, "canary": 0.02}}));
}

/// A Prometheus from the system's packages; `None`, with a word about it, if there is none.
async fn real_prometheus() -> Option<(tokio::process::Child, tempfile::TempDir, u16)> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = tokio::process::Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    match started {
        Ok(child) => Some((child, folder, port)),
        Err(error) => {
            eprintln!("SKIPPED: no Prometheus on this machine ({error}); install the package `prometheus` to test against a real one");
            None
        }
    }
}

#[tokio::test]
async fn a_real_prometheus_is_understood() {
    let Some((_child, _folder, port)) = real_prometheus().await else { return };
    let gate = |query: &str, no_data: &str| {
        let query =
            json!({"prometheus": {"url": format!("http://127.0.0.1:{port}"), "query": query, "headers": {}, "allow_private": true}});
        let request =
            json!({"queries": {"value": query}, "single": true, "condition": "value < 0.05", "interval_ms": 50, "no_data": no_data});
        Bench::new(TASK_TYPE, &request)
    };
    // It takes a moment to come up: an attempt that fails because of that is tried again.
    let first = async {
        loop {
            match gate("vector(0.01)", "wait").run().await {
                Ending::Succeeded(output) => return serde_json::from_slice::<Value>(&output.data).unwrap(),
                Ending::Failed(failure) => assert_eq!(failure.r#type, "QuorusGateUnavailable", "{failure:?}"),
                other => panic!("{other:?}"),
            }
        }
    };
    let output = tokio::time::timeout(Duration::from_secs(60), first).await.unwrap();
    assert_eq!(output, json!({"values": {"value": 0.01}}));
    assert_eq!(gate("scalar(vector(0))", "wait").output().await, json!({"values": {"value": 0.0}}));
    assert_eq!(gate("absent_metric", "fail").failure().await.r#type, "QuorusGateNoData");
    let failure = gate("sum(", "wait").failure().await;
    assert!(failure.message.contains("parse error"), "{failure:?}");
}

#[tokio::test]
async fn a_condition_that_is_none_fails_and_never_means_false() {
    let stub = Stub::start().await;
    script(&stub, &[(200, vector(&["0"]))]);
    for (condition, kind) in [("value <", "QuorusInvalidRequest"), ("value + 1.0", "QuorusExpression")] {
        let failure = gate(&stub, &json!({"condition": condition})).failure().await;
        assert!(
            failure.non_retryable && failure.nothing_done && (failure.r#type == kind || failure.r#type == "QuorusInvalidRequest"),
            "{failure:?}"
        );
    }
}
