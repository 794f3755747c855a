//! Every workload, small, against nodes that the tool starts. What is asserted are counts and the shape of results, never a time.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Longer than anything takes, however slow the machine.
const LONG: Duration = Duration::from_secs(120);
/// Of a condition that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn command(line: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_quorus-bench");
    let node = Path::new(program).with_file_name("quorusd");
    assert!(node.is_file(), "{} is not there: these tests need the whole workspace built (cargo build --workspace --bins)", node.display());
    let mut command = Command::new(program);
    command.args(line.split_whitespace()).env_remove("QUORUS_ENDPOINTS").env_remove("QUORUS_NAMESPACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(line: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(line).output().unwrap();
    (status.code().unwrap_or(-1), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The result of a load that must succeed, and say nothing else.
fn result(line: &str) -> Value {
    let (code, stdout, stderr) = run(&format!("{line} -o json"));
    assert_eq!((code, stderr.as_str()), (0, ""), "{line}");
    serde_json::from_str(&stdout).unwrap()
}

/// Small: one node and two shards.
const ONE: &str = "--cluster 1 --node-flag=--shards=2";

fn count(summary: &Value) -> u64 {
    for figure in ["p50", "p99", "p999", "max"] {
        assert!(summary[figure].as_f64().is_some(), "{figure} of {summary}");
    }
    summary["count"].as_u64().unwrap()
}

fn assert_nodes(nodes: &Value, number: usize) {
    assert_eq!(nodes.as_array().unwrap().len(), number);
    for node in nodes.as_array().unwrap() {
        assert!(node["rss_bytes"].as_u64().unwrap() > 0 && node["cpu_seconds"].is_f64() && node["bytes_written"].is_u64(), "{node}");
        assert!(node.get("absent").is_none(), "{node}");
    }
}

#[test]
fn a_chain_counts_its_runs_its_steps_and_the_times_between_them() {
    let result = result(&format!("chain {ONE} --runs 6 --steps 4 --concurrency 3 --warm-up 2"));
    assert_eq!((&result["runs"], &result["steps"]), (&json!(6), &json!(24)));
    assert!(result["steps_per_second"].as_f64().unwrap() > 0.0 && result["runs_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(count(&result["run_latency_ms"]), 6);
    assert_eq!(count(&result["step_latency_ms"]), 6 * 3, "none before the first step of a run");
    assert_eq!(result["gap_ms"], Value::Null);
    assert_nodes(&result["nodes"], 1);
    let cluster = &result["cluster"];
    assert_eq!((&cluster["nodes"], &cluster["shards"], &cluster["own"]), (&json!(1), &json!(2), &json!(true)));
    let chain = &result["configuration"]["work"]["chain"];
    assert_eq!((&chain["runs"], &chain["steps"], &chain["pace"]["concurrency"]), (&json!(6), &json!(4), &json!(3)));
}

#[test]
fn in_an_open_loop_all_runs_that_were_due_are_counted_and_a_result_can_be_repeated() {
    let first = result(&format!("chain {ONE} --runs 5 --steps 2 --rate 50 --warm-up 1"));
    assert_eq!((first["runs"].as_u64(), count(&first["run_latency_ms"])), (Some(5), 5));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    std::fs::write(&file, first.to_string()).unwrap();
    let second = result(&format!("repeat {}", file.display()));
    assert_eq!(second["configuration"], first["configuration"]);
    assert_eq!((&second["runs"], &second["steps"]), (&json!(5), &json!(10)));
}

#[test]
fn a_fanout_counts_its_items_whether_they_are_items_or_steps() {
    for plain in ["", "--plain"] {
        let result = result(&format!("fanout {ONE} --runs 2 --items 30 --warm-up 0 {plain}"));
        assert_eq!((&result["runs"], &result["steps"]), (&json!(2), &json!(60)));
        assert_eq!(count(&result["run_latency_ms"]), 2);
        assert_eq!(result["step_latency_ms"], Value::Null, "items do not wait for each other");
    }
}

#[test]
fn random_plans_of_a_seed_have_the_same_steps_each_time() {
    let line = format!("mixed {ONE} --seed 7 --plans 3 --steps 8 --runs 6 --warm-up 1 --concurrency 2");
    let (first, second) = (result(&line), result(&line));
    assert_eq!(first["runs"], 6);
    assert!(first["steps"].as_u64().unwrap() >= 6, "each plan has a task");
    assert_eq!(first["steps"], second["steps"]);
    assert_eq!(count(&first["step_latency_ms"]), count(&second["step_latency_ms"]));
}

#[test]
fn starts_have_no_steps() {
    let result = result(&format!("start {ONE} --runs 20 --concurrency 4"));
    assert_eq!((&result["runs"], &result["steps"], &result["step_latency_ms"]), (&json!(20), &json!(0), &Value::Null));
    assert_eq!(count(&result["run_latency_ms"]), 20);
}

#[test]
fn the_load_on_top_of_waiting_runs_is_compared_with_the_load_without() {
    for waits_for in ["signal", "timer"] {
        let result = result(&format!("waiting {ONE} --parked 40 --for {waits_for} --runs 4 --steps 2 --concurrency 2"));
        for load in [&result, &result["empty"]] {
            assert_eq!((&load["runs"], &load["steps"]), (&json!(4), &json!(8)));
            assert_nodes(&load["nodes"], 1);
        }
        assert_eq!((&result["parked"]["runs"], &result["parked"]["waits_for"]), (&json!(40), &json!(waits_for)));
        assert_nodes(&result["parked"]["nodes"], 1);
        let compared = &result["compared"];
        assert!(compared["step_rate"].is_f64() && compared["step_latency_p50"].is_f64(), "{compared}");
        assert_eq!(compared["rss_bytes_more"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_failover_tells_the_gap_of_every_client_at_every_event() {
    let line = "failover --cluster 3 --node-flag=--shards=3 --events 2 --clients 4 --rate 20 --before 1 --after 3";
    let result = result(line);
    assert_eq!(count(&result["gap_ms"]), 2 * 4);
    let events = result["events"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    let mut done = 0;
    for event in events {
        assert_eq!(event["gap_ms"].as_array().unwrap().len(), 4);
        assert_eq!((&event["failed"], &event["stopped_in_order"]), (&json!(0), &Value::Null), "{event}");
        assert!(event["shards_led"].as_u64().unwrap() > 0, "the node that leads the most: {event}");
        assert!(event["unanswered"].is_u64(), "{event}");
        done += event["done"].as_u64().unwrap();
    }
    assert_eq!((result["runs"].as_u64(), count(&result["run_latency_ms"])), (Some(done), done));
    let again = events[1]["node"].as_u64().unwrap();
    let node = &result["nodes"][again as usize - 1];
    assert!(node["cpu_seconds"].is_null() && node["absent"].as_str().unwrap().contains("started again"), "{node}");
}

#[test]
fn a_node_can_be_asked_to_stop_under_runs_with_steps() {
    let result =
        result("failover --cluster 3 --node-flag=--shards=3 --graceful --node 2 --steps 1 --clients 2 --rate 10 --before 1 --after 2");
    let event = &result["events"][0];
    assert_eq!((&event["node"], &event["stopped_in_order"], &event["failed"]), (&json!(2), &json!(true), &json!(0)));
    assert_eq!(result["steps"], result["runs"]);
}

#[test]
fn nodes_of_others_are_not_killed_and_misuse_says_what_to_do() {
    for (line, reason) in [
        ("failover", "add --cluster 3"),
        ("failover --cluster 1", "no majority"),
        ("failover --cluster 3 --node 4", "from 1 to 3"),
        ("chain --rate 5 --concurrency 5", "cannot be used with"),
    ] {
        let (code, stdout, stderr) = run(line);
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}: {stderr}");
        assert!(stderr.contains(reason), "{line}: {stderr}");
    }
    let (code, stdout, stderr) = run(&format!("fanout {ONE} --items 400000 --warm-up 0"));
    assert_eq!((code, stdout.as_str()), (1, ""), "a load with a run that failed has no figures");
    assert!(stderr.contains("RUN_STATUS_FAILED: ") && stderr.contains("(Quorus"), "the run's own reason: {stderr}");
    let (code, _, stderr) = run("repeat /nothing/here.json");
    assert!(code == 1 && stderr.contains("/nothing/here.json"), "{stderr}");
    let (code, _, stderr) = run("chain --cluster 1 --quorusd /nothing/here");
    assert!(code == 1 && stderr.contains("/nothing/here") && stderr.contains("--quorusd"), "{stderr}");
    let (code, _, stderr) = run("start --cluster 1 --node-flag=--no-such-flag");
    assert!(code == 1 && stderr.contains("node-1.log"), "the log of a node that does not start: {stderr}");
}

#[test]
fn results_are_for_people_too() {
    let (code, stdout, _) = run(&format!("chain {ONE} --runs 2 --steps 2 --concurrency 1"));
    assert_eq!(code, 0);
    for row in ["executed", "2 runs, 4 steps", "steps/s", "run latency", "step latency", "p99.9", "B a step"] {
        assert!(stdout.contains(row), "{row}: {stdout}");
    }
    let (code, stdout, _) = run(&format!("start {ONE} --runs 2 -o yaml"));
    assert_eq!(code, 0);
    assert!(stdout.contains("steps_per_second: 0"), "{stdout}");
}

/// Ends it with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    fn interrupt(&mut self) {
        assert!(Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap().success());
    }
}

/// The command lines of nodes with their data in a folder.
fn nodes_in(folder: &Path) -> Vec<Vec<String>> {
    let line = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let ours = words.first()?.ends_with("quorusd") && words.iter().any(|word| word.starts_with(folder.to_str().unwrap()));
        ours.then_some(words)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| line(entry.ok()?)).collect()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn an_interrupted_load_stops_its_nodes_and_prints_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().canonicalize().unwrap();
    let child = command(&format!("chain {ONE} --runs 1000000 --data {}", data.display())).spawn().unwrap();
    let mut tool = Guard(child);
    until("the node", || (!nodes_in(&data).is_empty()).then_some(()));
    let log = data.join("node-1.log");
    until("a node that is ready", || std::fs::read_to_string(&log).ok().filter(|text| text.contains("ready")));
    tool.interrupt();
    let status = until("the end", || tool.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    assert!(nodes_in(&data).is_empty(), "no node is left");
    let mut stdout = String::new();
    std::io::Read::read_to_string(tool.0.stdout.as_mut().unwrap(), &mut stdout).unwrap();
    assert_eq!(stdout, "");
}

#[tokio::test]
async fn a_cluster_of_somebody_else_is_left_as_it_was_and_its_figures_are_absent_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().canonicalize().unwrap();
    let child = command(&format!("worker {ONE} --data {}", data.display())).spawn().unwrap();
    let mut other = Guard(child);
    let mut line = String::new();
    BufReader::new(other.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim_end().strip_prefix("endpoints: ").unwrap();
    let words = nodes_in(&data).pop().unwrap();
    let http = words.iter().skip_while(|word| *word != "--http-listen").nth(1).unwrap();

    let load = format!("--endpoints {endpoint} --no-worker --runs 3 --steps 2 --concurrency 1");
    let unknown = result(&format!("chain {load}"));
    assert_eq!((&unknown["steps"], &unknown["step_latency_ms"]), (&json!(6), &Value::Null), "the worker is elsewhere");
    let node = &unknown["nodes"][0];
    assert!(node["rss_bytes"].is_null() && node["absent"].as_str().unwrap().contains("--http"), "{node}");

    let told = result(&format!("waiting {load} --http {http} --parked 10"));
    let node = &told["nodes"][0];
    assert!(node["rss_bytes"].is_u64() && node["bytes_written"].is_null() && node["absent"].is_string(), "{node}");
    let client = quorus_client::Client::with_endpoints([endpoint]).unwrap();
    let request = quorus_proto::v1::ListRunsRequest { workflow: "bench-waiting-signal".to_owned(), ..Default::default() };
    let left = client.list_runs(request).await.unwrap().runs;
    assert_eq!(left.len(), 10);
    assert!(left.iter().all(|run| quorus_client::is_final(run.status())), "runs that waited do not wait any more: {left:?}");

    other.interrupt();
    let status = until("the end", || other.0.try_wait().unwrap());
    assert!(status.success(), "a worker that is told to end has done its work: {status}");
    assert!(nodes_in(&data).is_empty());
}
