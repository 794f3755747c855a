use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::{super::super::read::read, *};

/// Stands in for this program's other parts: writes down what it is asked, and leaves what the real ones would leave.
const PROGRAM: &str = r#"#!/bin/sh
echo "$*" >> "$LOG"
case "$1 $2" in
"cluster up") echo '{"nodes": [{"id": 1, "grpc": "127.0.0.1:7401"}]}' > "$4/stage.json"; echo '{"at_us": 3}' > "$4/nemesis.jsonl"; echo hello > "$4/node-1.log" ;;
"cluster down") ;;
workload*) while [ $# -gt 0 ]; do [ "$1" = --results ] && cd "$2"; shift; done; echo '{"mono_us": 1}' > ledger.jsonl; [ -n "$SILENT" ] || echo '{"id": 1}' > history.jsonl ;;
"probe runs-ended") [ -z "$MOVING" ] || { echo '{"open": 3}'; exit 1; } ;;
export*) [ -z "$MOVING" ] || { echo "error: shard 1 did not come to rest" >&2; exit 2; } ;;
recheck*) echo '{"verdict": "x"}' > "$2/results.json"; exit ${JUDGED:-0} ;;
"fault broken") echo "error: no such fault" >&2; exit 1 ;;
esac
"#;

struct Trial {
    folder: tempfile::TempDir,
    outcome: Outcome,
}

impl Trial {
    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    fn result(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("results").join(name)).unwrap_or_default()
    }
}

async fn hold(fault: &str, target: Target, judged: &str, before: impl FnOnce(&mut Day)) -> Trial {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, PROGRAM).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let environment = vec![("LOG".to_owned(), folder.path().join("log").display().to_string()), ("JUDGED".to_owned(), judged.to_owned())];
    let process = |arguments: Value| json!({"type": "process", "path": program, "arguments": arguments});
    let root = json!({
        "title": "t", "description": "d", "configuration": {"target": "nobody"},
        "steady-state-hypothesis": {"title": "h", "probes": [
            {"type": "probe", "name": "p", "tolerance": 0, "provider": process(json!(["probe", "leader", "--target", "${target}"]))}]},
        "method": [{"type": "action", "name": "f", "provider": process(json!(["fault", fault, "--target", "${target}"]))}],
        "extensions": [{"name": "quorus", "settle_seconds": 0, "expects": {"kill": 1}}],
    });
    let (experiment, findings) = read(&root.to_string());
    let mut day = Day {
        experiment: experiment.unwrap_or_else(|| panic!("{}", findings.render("f"))),
        options: Options { environment: environment.clone(), ..Options::default() },
        target,
        allow_remote: false,
        no_workload: false,
        keep: false,
        results: Folder::create(folder.path().join("results")).unwrap(),
        about: About { seed: 5, ..About::default() },
        tools: Tools { program, environment },
        stops: Stops::default(),
        show: Arc::new(Show::new(true)),
    };
    day.about.game_day = day.experiment.game_day.clone();
    before(&mut day);
    Trial { outcome: day.hold().await, folder }
}

#[tokio::test]
async fn a_whole_day_is_held_in_its_order_and_leaves_its_evidence() {
    let trial = hold("kill", Target::Private, "0", |_| {}).await;
    assert_eq!(trial.outcome.harness_errors, Vec::<String>::new());
    assert_eq!(trial.outcome.judgement, Some(Judgement::Valid));
    let mut asked = trial.asked();
    // The workload runs beside the others, so its line may stand anywhere among them.
    asked.retain(|line| !line.starts_with("workload"));
    let expected = [
        "cluster up",
        "probe ready",
        "probe leader",
        "fault kill",
        "probe leader",
        "heal --target",
        "probe ready",
        "probe runs-ended",
        &format!("export {}", trial.folder.path().join("results").display()),
        &format!("recheck {}", trial.folder.path().join("results").display()),
        "cluster down",
    ];
    assert_eq!(asked, expected);
    assert_eq!((trial.result("nemesis.jsonl"), trial.result("ledger.jsonl")), ("{\"at_us\": 3}\n".into(), "{\"mono_us\": 1}\n".into()));
    assert_eq!(trial.result("nodes/1/log"), "hello\n");
    let setup: Value = serde_json::from_str(&trial.result("setup.json")).unwrap();
    assert_eq!((setup["title"].as_str(), setup["seed"].as_u64(), setup["expects"]["kill"].as_u64()), (Some("t"), Some(5), Some(1)));
    assert!(setup["healed_us"].as_u64() > Some(0) && setup["exported_us"].as_u64() >= setup["healed_us"].as_u64());
    let target = fs::read_to_string(trial.folder.path().join("log")).unwrap();
    assert!(target.contains("fault kill --target stage:/"), "the experiment's target is the stage: {target}");
}

#[tokio::test]
async fn a_fault_that_could_not_be_made_is_told_to_the_judge() {
    let trial = hold("broken", Target::Private, "2", |_| {}).await;
    assert_eq!(trial.outcome.judgement, Some(Judgement::Unknown));
    assert_eq!(trial.outcome.harness_errors, ["f: exit code 1: error: no such fault"]);
    assert_eq!(trial.result("harness.jsonl"), "\"f: exit code 1: error: no such fault\"\n");
}

fn told(name: &str) -> impl FnOnce(&mut Day) {
    move |day| {
        day.tools.environment.push((name.to_owned(), "1".to_owned()));
        day.experiment.game_day.end_within_seconds = 0;
    }
}

#[tokio::test]
async fn a_day_whose_clients_left_no_word_is_not_judged() {
    let trial = hold("kill", Target::Private, "1", told("SILENT")).await;
    assert_eq!(trial.outcome.judgement, None);
    assert!(trial.outcome.harness_errors.iter().any(|error| error.contains("nothing can be judged")), "{:?}", trial.outcome.harness_errors);
    assert_eq!(trial.asked().last().map(String::as_str), Some("cluster down"));
}

#[tokio::test]
async fn replicas_that_still_move_are_not_judged() {
    let trial = hold("kill", Target::Private, "1", told("MOVING")).await;
    assert_eq!(trial.outcome.judgement, None);
    let errors = &trial.outcome.harness_errors;
    assert!(errors.iter().any(|error| error.contains("did not come to rest")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("runs were still going on")), "{errors:?}");
}

#[tokio::test]
async fn the_data_of_a_violation_is_kept_and_the_stage_is_taken_down_all_the_same() {
    let trial = hold("kill", Target::Private, "1", |_| {}).await;
    assert_eq!(trial.outcome.judgement, Some(Judgement::Violated));
    assert_eq!(trial.result("data/node-1.log"), "hello\n");
    assert_eq!(trial.asked().last().map(String::as_str), Some("cluster down"));
}

#[tokio::test]
async fn a_day_that_is_stopped_still_heals_and_takes_its_stage_down() {
    let trial = hold("kill", Target::Private, "2", |day| day.stops.method.cancel()).await;
    let asked = trial.asked();
    assert!(!asked.contains(&"fault kill".to_owned()), "{asked:?}");
    assert!(asked.contains(&"heal --target".to_owned()) && asked.last().map(String::as_str) == Some("cluster down"), "{asked:?}");
    assert!(trial.outcome.harness_errors.iter().any(|error| error.contains("interrupted")), "{:?}", trial.outcome.harness_errors);
}

#[tokio::test]
async fn a_cluster_outside_of_this_machine_is_not_touched_unless_it_is_meant() {
    let cluster = tempfile::tempdir().unwrap();
    fs::write(cluster.path().join("dev.json"), r#"{"nodes": [{"id": 1, "grpc": "10.1.2.3:7401"}]}"#).unwrap();
    let trial = hold("kill", Target::Dev(cluster.path().to_owned()), "0", |_| {}).await;
    assert!(trial.outcome.harness_errors[0].contains("--allow-remote"), "{:?}", trial.outcome.harness_errors);
    assert!(trial.asked().is_empty() && trial.outcome.journal.is_none());
}

#[tokio::test]
async fn a_folder_without_a_cluster_says_so() {
    let nobody = tempfile::tempdir().unwrap();
    let trial = hold("kill", Target::Dev(nobody.path().to_owned()), "0", |_| {}).await;
    assert!(trial.outcome.harness_errors[0].contains("is the cluster up?"), "{:?}", trial.outcome.harness_errors);
}

#[tokio::test]
async fn without_a_target_only_the_activities_are_carried_out() {
    let trial = hold("kill", Target::None, "0", |_| {}).await;
    assert_eq!(trial.asked(), ["probe leader", "fault kill", "probe leader"]);
    assert!(trial.outcome.harness_errors.is_empty() && trial.outcome.judgement.is_none());
}
