//! Every scenario of `examples/` on a cluster of real nodes, as its README says: real stubs and workers of `quorus`, all side by side; its good
//! path, and one that goes bad. Judged from outside: by how runs end, by what the stubs were asked, and by what the commands were.
//!
//! Only pauses are shorter than in the files ([`SHORTER`]); steps, bounds and policies are those of the examples.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use quorus_client::Client;
use quorus_proto::v1::{self, CompensationState, RunStatus};
use serde_json::{Value, json};

use crate::harness::*;

/// Pauses of the examples, and how long they are here. A gate is asked once a second at most.
const SHORTER: [(&str, &str); 6] = [
    ("interval", "1s"),
    ("hold_for", "2s"),
    ("breach_for", "1s"),
    ("initial_interval", "50ms"),
    ("max_interval", "100ms"),
    ("stagger", "50ms"),
];

/// Examples whose failure takes back what was done.
const SAGAS: [&str; 8] =
    ["release", "etl-partitions", "secret-rotation", "autoscale-warmup", "multi-cloud", "feature-rollout", "canary", "blue-green"];

/// Stands in for programs that fail: `echo` writes down what it was asked for, and fails for names that begin with `bad-`.
const ECHO: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$ECHO_LOG"
printf '%s\n' "$*"
case "$*" in *" bad-"*) exit 1;; esac
"#;

/// A scenario, and what it has to come to.
#[derive(Default)]
struct Case {
    example: &'static str,
    /// In place of what `input.json` says.
    input: Value,
    bad: bool,
    status: RunStatus,
    failure: &'static str,
    output: Value,
    /// All that the stub was asked to change, in order. Not looked at if empty.
    changes: &'static [&'static str],
}

fn good(example: &'static str, input: Value, output: Value) -> Case {
    Case { example, input, status: RunStatus::Succeeded, output, ..Case::default() }
}

fn bad(example: &'static str, input: Value, failure: &'static str, changes: &'static [&'static str]) -> Case {
    Case { example, input, bad: true, status: RunStatus::Failed, failure, changes, ..Case::default() }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The command line of this workspace, which is built beside the node.
fn quorus(cluster: &Cluster) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_quorusd")).with_file_name("quorus");
    assert!(program.is_file(), "{} is missing: build the workspace, or `cargo build -p quorus-client`", program.display());
    let mut command = Command::new(program);
    command.env("QUORUS_ENDPOINTS", cluster.endpoints().join(",")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A stub on a free port, and where it is.
fn stub(cluster: &Cluster, file: &Path) -> (Running, String) {
    let mut command = quorus(cluster);
    command.args(["stub", "serve", "--listen", "127.0.0.1:0", "-f"]).arg(file).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http://"), "{}: {line}", file.display());
    (Running(child), line.trim().to_owned())
}

/// The text with shorter pauses.
fn shorter(text: &str) -> String {
    let mut text = text.to_owned();
    for (key, value) in SHORTER {
        let key = format!("{key}: ");
        let (mut done, mut rest) = (String::new(), text.as_str());
        while let Some(at) = rest.find(&key) {
            let (before, after) = rest.split_at(at + key.len());
            let whole = !before[..at].ends_with(|last: char| last == '_' || last.is_alphanumeric());
            let end = after.find(|next: char| !next.is_alphanumeric()).unwrap_or(after.len());
            done.push_str(before);
            done.push_str(if whole && after.starts_with(|first: char| first.is_ascii_digit()) { value } else { &after[..end] });
            rest = &after[end..];
        }
        text = done + rest;
    }
    text
}

/// A run of a case, with its environment.
struct Play {
    case: Case,
    id: String,
    stub: Option<(Running, String)>,
}

impl Play {
    /// Starts a case as its README says.
    fn start(cluster: &Cluster, dir: &Path, case: Case) -> Self {
        let path = if case.bad { "bad" } else { "good" };
        let (folder, id) = (examples().join(case.example), format!("{}-{path}", case.example));
        let file = folder.join(if case.bad { "bad.stub.yaml" } else { "stub.yaml" });
        let stub = folder.join("stub.yaml").is_file().then(|| stub(cluster, &file));
        let mut input: Value = serde_json::from_str(&fs::read_to_string(folder.join("input.json")).unwrap()).unwrap();
        let asked = input.as_object_mut().unwrap();
        for value in asked.values_mut().filter(|value| value.as_str() == Some("http://127.0.0.1:8099")) {
            *value = Value::from(stub.as_ref().unwrap().1.clone());
        }
        asked.extend(case.input.as_object().cloned().unwrap_or_default());
        let workflow = dir.join(case.example).join("workflow.yaml");
        let mut command = quorus(cluster);
        command.args(["start", "--id", &id, "--input", &input.to_string(), "-f"]).arg(workflow).stderr(Stdio::piped());
        let started = command.output().unwrap();
        assert!(started.status.success(), "{id}: {}", String::from_utf8_lossy(&started.stderr));
        Self { case, id, stub }
    }

    /// Waits until the run has come to what was expected, and compares.
    async fn judge(&self, client: &Client) -> v1::Run {
        let (id, case) = (&self.id, &self.case);
        let get = || client.get_run(v1::GetRunRequest { run_id: id.clone(), ..Default::default() });
        let rests = |run: &v1::Run| run.ended_at.is_some() || run.status() == RunStatus::NeedsAttention;
        let run = eventually(&format!("run {id} comes to rest"), || async { get().await.ok().filter(rests) }).await;
        assert_eq!(run.status(), case.status, "{id}: {run:#?}");
        let failure = run.failure.as_ref().map_or("", |failure| failure.r#type.as_str());
        if !case.failure.is_empty() {
            assert!(case.failure.split('|').any(|expected| expected == failure), "{id}: {failure}");
        }
        if !case.output.is_null() {
            let output: Value = serde_json::from_slice(&run.output.as_ref().unwrap().data).unwrap();
            assert_eq!(output, case.output, "{id}");
        }
        if !case.changes.is_empty() {
            // Calls for help go out while the run waits for people.
            let wanted = case.changes.len();
            eventually(&format!("{id} asks for {wanted} changes"), || async { (self.changes().await.len() >= wanted).then_some(()) }).await;
            assert_eq!(self.changes().await, case.changes, "{id}");
        }
        run
    }

    /// What the stub was asked to change. Snapshots, scans and findings are asked for side by side, in any order.
    async fn changes(&self) -> Vec<String> {
        let address = self.stub.as_ref().unwrap().1.trim_start_matches("http://");
        let answer = http_get(address.rsplit(':').next().unwrap().parse().unwrap(), "/_stub/requests").await.unwrap();
        let asked: Vec<Value> = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let text = |asked: &Value, key: &str| asked[key].as_str().unwrap().to_owned();
        let any_order = ["/snapshots/", "/accounts/", "/findings", "/api/v1/query"];
        let change = |asked: &Value| {
            let (method, path) = (text(asked, "method"), text(asked, "path"));
            let counts = method != "GET" && !any_order.iter().any(|prefix| path.starts_with(prefix));
            let body = if method == "PUT" { format!(" {}", asked["body"]) } else { String::new() };
            counts.then(|| format!("{method} {path}{body}"))
        };
        asked.iter().filter_map(change).collect()
    }
}

fn good_cases() -> Vec<Case> {
    vec![
        good("release", json!({}), json!({"version": "1.4.0", "deployed": 3})),
        good("failover", json!({}), json!({"cluster": "orders-db", "primary": "replica"})),
        good("etl-partitions", json!({}), json!({"loaded": 3, "failed": 0})),
        good("secret-rotation", json!({"grace": "1s"}), json!({"credential": "orders-db", "revoked": true})),
        good("autoscale-warmup", json!({"lasts": "1s"}), Value::Null),
        good("incident-remediation", json!({}), json!({"restarted": "succeeded", "rolled_back": "skipped"})),
        good("compliance-scan", json!({}), json!({"scanned": 5, "unreachable": 0, "critical": 0})),
        good("multi-cloud", json!({}), Value::Null),
        good("feature-rollout", json!({"soak": "1s"}), json!({"feature": "new-basket", "stages": 4})),
        good("canary", json!({}), json!({"service": "payments", "version": "2.1.0"})),
        good("blue-green", json!({"soak": "2s"}), json!({"active": "green", "version": "12"})),
        // One bad image is tolerated.
        good("image-fan-out", json!({"images": ["a.png", "b.png", "bad-c.png"]}), json!({"total": 3, "failed": 1})),
        good("post-mortem", json!({}), json!({"incident": "2026-17", "post_mortem": "https://docs.example.org/17"})),
        good("spot-training", json!({}), json!({"accuracy": 0.93})),
    ]
}

/// Each with a concurrency key of its own, so that it does not wait for the good one.
fn bad_cases() -> Vec<Case> {
    let attention = |case: Case| Case { status: RunStatus::NeedsAttention, ..case };
    vec![
        bad(
            "release",
            json!({"environment": "test"}),
            "",
            &[
                "POST /services/accounts/deploy",
                "POST /services/orders/deploy",
                "POST /services/orders/rollback",
                "POST /services/accounts/rollback",
                "POST /notifications",
            ],
        ),
        // After the promotion there is no way back: nothing is unfenced, and people are called.
        attention(bad(
            "failover",
            json!({"cluster": "users-db"}),
            "",
            &[
                "POST /users-db/primary/fence",
                "POST /users-db/replica/promote",
                r#"PUT /users-db/endpoint {"primary":"replica"}"#,
                r#"PUT /users-db/endpoint {"primary":"replica"}"#,
                r#"PUT /users-db/endpoint {"primary":"replica"}"#,
                "POST /pages",
            ],
        )),
        bad("etl-partitions", json!({"day": "2026_02_01", "partitions": ["bad-north", "south", "bad-west"]}), "", &[]),
        bad(
            "secret-rotation",
            json!({"credential": "users-db"}),
            "",
            &[
                "POST /credentials/users-db/versions",
                r#"PUT /consumers/orders {"version":"new"}"#,
                r#"PUT /consumers/reports {"version":"new"}"#,
                r#"PUT /consumers/reports {"version":"old"}"#,
                r#"PUT /consumers/orders {"version":"old"}"#,
                "DELETE /credentials/users-db/versions/new",
            ],
        ),
        bad(
            "autoscale-warmup",
            json!({}),
            "QuorusGateFailed",
            &[r#"PUT /services/shop/replicas {"replicas":8}"#, r#"PUT /services/shop/replicas {"replicas":2}"#],
        ),
        // The restart does not work, the person on call does not want the rollback: somebody is paged.
        bad(
            "incident-remediation",
            json!({"service": "billing"}),
            "",
            &["POST /services/billing/restart", "POST /services/billing/restart", "POST /pages"],
        ),
        bad("compliance-scan", json!({}), "NotCompliant", &["POST /reports"]),
        // A cloud that answers 503 is in doubt, so it is taken back as well.
        bad(
            "multi-cloud",
            json!({"others": ["gamma"]}),
            "",
            &[
                "POST /alpha/deployments",
                "POST /gamma/deployments",
                "POST /gamma/deployments",
                "POST /gamma/deployments",
                "DELETE /gamma/deployments/7",
                "DELETE /alpha/deployments/7",
            ],
        ),
        bad(
            "feature-rollout",
            json!({"feature": "old-basket", "soak": "10m"}),
            "QuorusGuardBreached",
            &[r#"PUT /features/old-basket {"percent":1}"#, r#"PUT /features/old-basket {"percent":0}"#],
        ),
        bad(
            "canary",
            json!({"service": "billing"}),
            // The comparison and the guard see the same metric; either may be the first.
            "QuorusGateFailed|QuorusGuardBreached",
            &[
                "POST /services/billing/canary",
                r#"PUT /services/billing/traffic {"canary":5}"#,
                r#"PUT /services/billing/traffic {"canary":0}"#,
                "DELETE /services/billing/canary",
            ],
        ),
        bad(
            "blue-green",
            json!({"service": "audit", "soak": "10m"}),
            "QuorusGuardBreached",
            &[
                "POST /audit/sets/green",
                "POST /audit/replication",
                r#"PUT /audit/active {"set":"green"}"#,
                r#"PUT /audit/active {"set":"blue"}"#,
                "DELETE /audit/replication",
                "DELETE /audit/sets/green",
            ],
        ),
        bad("image-fan-out", json!({"images": ["bad-a.png", "b.png", "bad-c.png"]}), "", &[]),
        attention(bad(
            "post-mortem",
            json!({"incident": "2026-18"}),
            "",
            &["POST /documents", "POST /documents", "POST /documents", "POST /documents", "POST /documents", "POST /reminders"],
        )),
        bad("spot-training", json!({"dataset": "cats", "accuracy": 0.99}), "NotGoodEnough", &[]),
    ]
}

/// The workflows of all scenarios with shorter pauses, below a folder.
fn workflows(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        fs::create_dir(dir.join(&name)).unwrap();
        for file in fs::read_dir(&entry).unwrap().map(|file| file.unwrap().path()) {
            let text = fs::read_to_string(&file).unwrap();
            if text.contains("kind: Workflow\n") {
                fs::write(dir.join(&name).join(file.file_name().unwrap()), shorter(&text)).unwrap();
            }
        }
        names.push(name);
    }
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_to_its_expected_end_and_so_does_its_failure() {
    let settings =
        [("QUORUS_HTTP_ALLOW_PRIVATE", "127.0.0.0/8"), ("QUORUS_UNVERIFIED_APPROVALS", "allow"), ("QUORUS_SECRET_VAULT_TOKEN", "v")];
    let cluster = Cluster::start_with(3, &settings).await;
    let client = cluster.client();
    let dir = tempfile::tempdir().unwrap();
    let names = workflows(dir.path());
    for cases in [good_cases(), bad_cases()] {
        let mut played: Vec<_> = cases.iter().map(|case| case.example).collect();
        played.sort_unstable();
        assert_eq!(played, names, "every example has a good path and a bad one here");
    }

    let (programs, log) = (dir.path().join("programs"), dir.path().join("echo.log"));
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("echo"), ECHO).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(programs.join("echo")).status().unwrap().success());
    let mut worker = quorus(&cluster);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    worker.args(["worker", "exec", "--queue", "deploy,etl,images,spot,on_demand", "--label", "gpu=a100", "--concurrency", "8"]);
    let _worker = Running(worker.env("PATH", path).env("ECHO_LOG", &log).spawn().unwrap());
    let applied = quorus(&cluster).args(["apply", "-f"]).arg(dir.path().join("multi-cloud")).stderr(Stdio::piped()).output().unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));

    let plays: Vec<_> = good_cases().into_iter().chain(bad_cases()).map(|case| Play::start(&cluster, dir.path(), case)).collect();

    // People, as the READMEs say.
    let mut signal = quorus(&cluster);
    signal.args(["runs", "signal", "incident-remediation-good", "resolved", "--payload", "{}"]);
    assert!(signal.status().unwrap().success());
    let mut signal = quorus(&cluster);
    signal.args(["runs", "signal", "post-mortem-good", "written", "--payload", r#"{"url": "https://docs.example.org/17"}"#]);
    assert!(signal.status().unwrap().success());
    let principal = v1::Principal { subject: "bob".into(), roles: vec!["on_call".into()], ..Default::default() };
    let rejection = v1::ApproveStepRequest {
        run_id: "incident-remediation-bad".into(),
        step: "allowed".into(),
        reject: true,
        reason: "the release is needed".into(),
        principal: Some(principal),
        ..Default::default()
    };
    eventually("the rollback can be rejected", || async { client.approve_step(rejection.clone()).await.ok() }).await;

    for play in &plays {
        let run = play.judge(&client).await;
        // Whatever could be undone was. What has no `compensate` and is in doubt, such as a check, is listed and left.
        if play.case.bad && SAGAS.contains(&play.case.example) {
            assert_eq!(run.compensation(), CompensationState::Completed, "{run:#?}");
        }
    }
    let commands = fs::read_to_string(&log).unwrap();
    let times = |wanted: &str| commands.lines().filter(|line| *line == wanted).count();
    assert_eq!((times("migrate to 1.4.0"), times("roll back 1.4.0")), (2, 1), "{commands}");
    assert_eq!((times("create staging_2026_01_31"), times("drop staging_2026_01_31"), times("swap staging_2026_01_31")), (1, 0, 1));
    assert_eq!((times("create staging_2026_02_01"), times("drop staging_2026_02_01"), times("swap staging_2026_02_01")), (1, 1, 0));
    assert_eq!((times("fetch bad-a.png"), times("index 2 images")), (4, 1), "{commands}");
    assert_eq!((times("publish birds"), times("prepare cats"), times("publish cats")), (1, 1, 0), "{commands}");
}
