//! Scientific workflows as they were really executed, while two nodes die on the way.
//!
//! The files (WfFormat 1.5, WfCommons) are not part of this project. The test looks for them in `QUORUS_WFINSTANCES`, then beside the checkout, and
//! says so when it does not find them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quorus_client::{Output, Worker};
use quorus_proto::v1::{self, RunStatus};

use crate::harness::*;

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/wfinstances");
    let folder = std::env::var_os("QUORUS_WFINSTANCES").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// When each step of each run began and ended, by one clock.
type Times = Arc<Mutex<BTreeMap<(String, String), Vec<(std::time::Instant, std::time::Instant)>>>>;

#[tokio::test(flavor = "multi_thread")]
async fn imported_workflows_execute_each_step_once_in_order_while_two_nodes_die() {
    let Some(folder) = folder() else {
        println!("skipped: no folder with WfFormat files; set QUORUS_WFINSTANCES to one");
        return;
    };
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let times = Times::default();
    let seen = times.clone();
    let workers: Vec<_> = (1..=2)
        .map(|number| {
            let seen = seen.clone();
            let worker = Worker::builder(cluster.endpoints()).name(format!("replay-{number}")).queue("replay").concurrency(16);
            let worker = worker.register("replay", move |context| {
                let seen = seen.clone();
                async move {
                    let began = std::time::Instant::now();
                    let input: serde_json::Value = context.input()?;
                    let seconds = input["runtime_seconds"].as_f64().unwrap_or(0.0).min(20.0);
                    tokio::time::sleep(Duration::from_secs_f64(seconds * 0.01)).await;
                    let task = context.task();
                    let key = (task.run_id.clone(), task.step.clone());
                    seen.lock().entry(key).or_default().push((began, std::time::Instant::now()));
                    Ok(Output::from(serde_json::json!({"slept": seconds})))
                }
            });
            tokio::spawn(worker.build().unwrap().run(std::future::pending()))
        })
        .collect();

    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(!files.is_empty());
    let mut runs = Vec::new();
    for (number, path) in files.iter().enumerate() {
        let imported = quorus_spec::wfformat::import(&std::fs::read_to_string(path).unwrap()).unwrap();
        let name = imported.workflow.metadata.as_ref().unwrap().name.clone();
        let definition = Some(v1::apply_workflow_request::Definition::Workflow(imported.workflow.clone()));
        let applied = client.apply_workflow(v1::ApplyWorkflowRequest { definition, ..Default::default() }).await.unwrap();
        let run_id = format!("imported-{number}");
        start(&client, &name, &run_id, applied.revision).await;
        runs.push((run_id, imported.workflow));
    }
    for node in [1, 2] {
        let before = times.lock().len();
        eventually("steps are executed", || async { (times.lock().len() > before + 20).then_some(()) }).await;
        cluster.kill(node);
        eventually("the others go on", || async { (times.lock().len() > before + 40).then_some(()) }).await;
        cluster.restart(node);
        cluster.ready().await;
    }
    for (run_id, workflow) in &runs {
        let ended = end(&client, run_id).await;
        assert_eq!(ended.status(), RunStatus::Succeeded, "{run_id}");
        assert!(ended.steps.iter().all(|step| step.attempt == 1), "{run_id}");
        let times = times.lock();
        for step in &workflow.spec.as_ref().unwrap().steps {
            let of = |id: &str| &times[&(run_id.clone(), id.to_owned())];
            assert_eq!(of(&step.id).len(), 1, "{run_id}: {} was executed once", step.id);
            for need in &step.needs {
                assert!(of(&need.step)[0].1 <= of(&step.id)[0].0, "{run_id}: {} began before {} had ended", step.id, need.step);
            }
        }
    }
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}
