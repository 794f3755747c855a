//! What a cluster does when nothing goes wrong.

use quorus_client::Output;
use quorus_proto::v1::RunStatus;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_to_its_end_and_every_node_tells_the_same() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, &chain("chain", 5)).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!({"ok": true}))) });
    start(&client, "chain", "r1", revision).await;
    let ended = end(&client, "r1").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:?}");
    for node in 1..=3 {
        let run =
            cluster.client_of(node).get_run(quorus_proto::v1::GetRunRequest { run_id: "r1".into(), ..Default::default() }).await.unwrap();
        assert_eq!(run.status(), RunStatus::Succeeded);
        assert!(run.steps.iter().all(|step| step.attempt == 1), "{run:?}");
    }
    assert_eq!(record.counts().values().copied().collect::<Vec<_>>(), [1; 5]);
}
