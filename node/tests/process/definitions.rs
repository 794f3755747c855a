//! Versions of a workflow, and what keeps a definition from being deleted.

use quorus_client::Error;
use quorus_proto::v1::{self, RunStatus};
use tonic::Code;

use crate::harness::*;

fn nap(seconds: u64) -> String {
    format!(
        "api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: nap}}\nspec: {{steps: [{{id: sleep, wait: {{for: {seconds}s}}}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_kept_and_a_workflow_in_use_is_not_deleted() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    apply(&client, &nap(1)).await;
    let revision = apply(&client, &nap(3600)).await;
    let request = v1::ListWorkflowVersionsRequest { name: "nap".into(), page_size: 1, ..Default::default() };
    let first = client.list_workflow_versions(request.clone()).await.unwrap();
    let second = client
        .list_workflow_versions(v1::ListWorkflowVersionsRequest { page_token: first.next_page_token.clone(), ..request })
        .await
        .unwrap();
    let numbers: Vec<_> = first.versions.iter().chain(&second.versions).map(|version| version.version).collect();
    assert_eq!((numbers, second.next_page_token.as_str()), (vec![2, 1], ""));

    start(&client, "nap", "sleeper", revision).await;
    let delete = || v1::DeleteWorkflowRequest { name: "nap".into(), ..Default::default() };
    let Error::Api(error) = client.delete_workflow(delete()).await.unwrap_err() else { panic!("not an answer") };
    assert_eq!((error.code, error.reason.as_str()), (Code::FailedPrecondition, "WORKFLOW_IN_USE"));
    assert!(error.message.contains("`sleeper`"), "{}", error.message);

    client.cancel_run(v1::CancelRunRequest { run_id: "sleeper".into(), ..Default::default() }).await.unwrap();
    assert_eq!(end(&client, "sleeper").await.status(), RunStatus::Cancelled);
    client.delete_workflow(delete()).await.unwrap();
    let unknown = client.list_workflow_versions(v1::ListWorkflowVersionsRequest { name: "nap".into(), ..Default::default() }).await;
    let Error::Api(error) = unknown.unwrap_err() else { panic!("not an answer") };
    assert_eq!((error.code, error.reason.as_str()), (Code::NotFound, "WORKFLOW_NOT_FOUND"));
}
