use std::sync::Mutex;

use serde_json::json;

use super::{super::read::read, *};

/// Remembers what it is told, and can stop an experiment at an activity.
#[derive(Default)]
struct Watcher {
    seen: Mutex<Vec<String>>,
    stop_at: Option<(String, CancellationToken)>,
}

impl Observer for Watcher {
    fn part(&self, title: &str) {
        self.seen.lock().unwrap().push(title.to_owned());
    }

    fn begins(&self, activity: &Activity) {
        self.seen.lock().unwrap().push(activity.name.clone());
        if let Some((name, token)) = &self.stop_at
            && *name == activity.name
        {
            token.cancel();
        }
    }

    fn ended(&self, _: &Activity, _: &Run) {}

    fn note(&self, _: &str) {}
}

fn sh(kind: &str, name: &str, script: &str) -> Value {
    json!({"type": kind, "name": name, "provider": {"type": "process", "path": "sh", "arguments": ["-c", script]}})
}

/// An experiment whose hypothesis is that a file holds `ok`.
fn experiment(folder: &std::path::Path, method: Value) -> Experiment {
    let file = folder.join("state").display().to_string();
    std::fs::write(&file, "ok").unwrap();
    let mut probe = sh("probe", "holds", "cat \"$0\"; test \"$(cat $0)\" = ok");
    probe["provider"]["arguments"] = json!(["-c", "test \"$(cat ${file})\" = ok"]);
    probe["tolerance"] = json!(0);
    let mut mend = sh("action", "mend", "");
    mend["provider"]["arguments"] = json!(["-c", "printf ok > ${file}"]);
    let root = json!({
        "title": "t", "description": "d", "configuration": {"file": file},
        "steady-state-hypothesis": {"title": "h", "probes": [probe]},
        "method": method, "rollbacks": [mend],
    });
    read(&root.to_string()).0.unwrap()
}

fn breaking() -> Value {
    json!([sh("action", "break", "printf bad > ${file}")])
}

async fn played(experiment: &Experiment, options: &Options) -> Journal {
    play(experiment, options, &Stops::default(), Arc::new(Watcher::default())).await.unwrap()
}

#[tokio::test]
async fn a_method_that_breaks_the_hypothesis_makes_the_experiment_deviate_and_is_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), breaking());
    let journal = played(&experiment, &Options::default()).await;
    assert_eq!((journal.status, journal.deviated), (Status::Completed, true));
    assert!(journal.steady_states.before.unwrap().steady_state_met);
    assert!(!journal.steady_states.after.unwrap().steady_state_met);
    assert_eq!((journal.run.len(), journal.rollbacks.len()), (1, 1));
    assert_eq!(std::fs::read_to_string(folder.path().join("state")).unwrap(), "ok");
}

#[tokio::test]
async fn nothing_is_done_if_the_hypothesis_does_not_hold_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), breaking());
    std::fs::write(folder.path().join("state"), "bad").unwrap();
    let journal = played(&experiment, &Options::default()).await;
    assert_eq!((journal.status, journal.deviated), (Status::Completed, false));
    assert!(journal.run.is_empty() && journal.rollbacks.is_empty() && journal.steady_states.after.is_none());
    let always = played(&experiment, &Options { rollbacks: RollbackStrategy::Always, ..Options::default() }).await;
    assert_eq!(always.rollbacks.len(), 1);
}

#[tokio::test]
async fn strategies_decide_when_the_hypothesis_is_tested_and_what_is_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let harmless = experiment(folder.path(), json!([sh("action", "nothing", "true")]));
    let deviated = Options { rollbacks: RollbackStrategy::Deviated, hypothesis: HypothesisStrategy::AfterMethodOnly, ..Options::default() };
    let journal = played(&harmless, &deviated).await;
    assert!(journal.steady_states.before.is_none() && journal.steady_states.after.is_some() && journal.rollbacks.is_empty());
    let broken = experiment(folder.path(), breaking());
    let journal = played(&broken, &deviated).await;
    assert!(journal.deviated && journal.rollbacks.len() == 1);
    let never = Options { rollbacks: RollbackStrategy::Never, hypothesis: HypothesisStrategy::BeforeMethodOnly, ..Options::default() };
    let journal = played(&broken, &never).await;
    assert!(!journal.deviated && journal.rollbacks.is_empty() && journal.steady_states.after.is_none());
}

#[tokio::test]
async fn a_hypothesis_that_fails_during_the_method_ends_it_fast() {
    let folder = tempfile::tempdir().unwrap();
    let mut method = breaking();
    method.as_array_mut().unwrap().push(sh("action", "long", "sleep 1000"));
    let experiment = experiment(folder.path(), method);
    let options = Options {
        hypothesis: HypothesisStrategy::Continuously,
        fail_fast: true,
        frequency: Duration::from_millis(20),
        ..Options::default()
    };
    let journal = played(&experiment, &options).await;
    assert_eq!((journal.status, journal.deviated), (Status::Failed, true));
    assert!(journal.steady_states.during.iter().any(|state| !state.steady_state_met));
    // The long action was stopped, or a look came before its turn did.
    assert!(journal.run.get(1).is_none_or(|run| run.status == RunStatus::Failed));
    assert_eq!(journal.rollbacks.len(), 1);
}

#[tokio::test]
async fn an_experiment_that_is_stopped_ends_in_order_with_its_rollbacks() {
    let folder = tempfile::tempdir().unwrap();
    let mut method = breaking();
    method.as_array_mut().unwrap().extend([sh("action", "long", "sleep 1000"), sh("action", "never", "true")]);
    let experiment = experiment(folder.path(), method);
    let stops = Stops::default();
    let watcher = Watcher { stop_at: Some(("long".to_owned(), stops.method.clone())), ..Watcher::default() };
    let journal = play(&experiment, &Options::default(), &stops, Arc::new(watcher)).await.unwrap();
    assert_eq!(journal.status, Status::Interrupted);
    assert_eq!(journal.run.iter().map(Run::name).collect::<Vec<_>>(), ["break", "long"]);
    assert_eq!(journal.rollbacks.len(), 1);
    assert_eq!(std::fs::read_to_string(folder.path().join("state")).unwrap(), "ok");
}

#[tokio::test]
async fn activities_in_the_background_go_on_beside_others_and_are_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let signal = folder.path().join("signal").display().to_string();
    // The first can only end if the second runs meanwhile.
    let mut waits = sh("action", "waits", &format!("while ! test -e {signal}; do sleep 0.01; done"));
    waits["background"] = json!(true);
    let method = json!([waits, sh("action", "signals", &format!("touch {signal}"))]);
    let journal = played(&experiment(folder.path(), method), &Options::default()).await;
    assert_eq!(journal.run.iter().map(|run| (run.name(), run.done())).collect::<Vec<_>>(), [("waits", true), ("signals", true)]);
}

#[tokio::test]
async fn a_dry_run_does_nothing_and_leaves_a_whole_journal() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), breaking());
    let journal = played(&experiment, &Options { dry: Some(Dry::Activities), ..Options::default() }).await;
    assert_eq!(journal.status, Status::Completed);
    assert_eq!((journal.run.len(), journal.rollbacks.len()), (1, 1));
    assert!(journal.run[0].output.is_null());
    assert_eq!(std::fs::read_to_string(folder.path().join("state")).unwrap(), "ok");
}

#[tokio::test]
async fn the_journal_has_the_shape_of_the_chaos_toolkit_and_no_secrets() {
    let root = json!({
        "title": "t", "description": "d",
        "secrets": {"api": {"token": "s3cret-value"}},
        "method": [sh("action", "tells", "echo ${token}"), sh("action", "fails", "exit 3"), sh("probe", "missing", "")],
    });
    let mut experiment = read(&root.to_string()).0.unwrap();
    experiment.method[2].provider = super::super::model::Provider::Process { path: "/no/such/program".to_owned(), arguments: Value::Null };
    let journal = played(&experiment, &Options::default()).await;
    assert_eq!(journal.actions_that_failed(), ["fails: exit code 3: "]);
    let value = serde_json::to_value(&journal).unwrap();
    assert!(!value.to_string().contains("s3cret-value"), "{value}");
    assert_eq!(value["run"][0]["output"]["stdout"], "***\n");
    assert_eq!(value["run"][2]["status"], "failed");
    assert!(value["run"][2]["exception"][0].as_str().unwrap().contains("/no/such/program"));
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "chaoslib-version",
        "deviated",
        "duration",
        "end",
        "experiment",
        "node",
        "platform",
        "rollbacks",
        "run",
        "start",
        "status",
        "steady_states",
    ];
    assert_eq!(keys, expected);
    assert_eq!(value["steady_states"], json!({"before": null, "after": null, "during": []}));
}
