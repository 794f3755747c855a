//! Sagas, people and signals on a real cluster: what nodes' deaths may not change, and what is refused without changing anything.

use std::sync::Arc;

use quorus_client::{Client, Error, Output, TaskContext, TaskError};
use quorus_proto::v1::{self, CompensationState, RunStatus, StepStatus};
use tokio::sync::Notify;
use tonic::Code;

use crate::harness::*;

const SAGA: &str = r"
api_version: quorus/v1
kind: Workflow
metadata: {name: saga}
spec:
  steps:
    - {id: a, task: {type: work}, compensate: {task: {type: work}}}
    - {id: b, needs: [a], task: {type: work}, compensate: {task: {type: work}}}
    - {id: c, needs: [b], task: {type: work}, compensate: {task: {type: work}}}
    - {id: d, needs: [c], task: {type: work}, retry: {max_attempts: 1}, compensate: {task: {type: work}}}
    - {id: e, needs: [d], task: {type: work}, compensate: {task: {type: work}}}
  finally:
    - {id: tell, task: {type: work}}
";

const RELEASE: &str = r"
api_version: quorus/v1
kind: Workflow
metadata: {name: release}
spec:
  steps:
    - {id: build, task: {type: work}}
    - {id: sign_off, needs: [build], approval: {approvers: [managers], required: 2}}
    - {id: go, needs: [build], signal: {name: go}}
    - {id: deploy, needs: [sign_off, go], task: {type: work}}
";

const HELD: &str = r"
api_version: quorus/v1
kind: Workflow
metadata: {name: held}
spec:
  on_failure: hold
  steps:
    - {id: first, task: {type: work}, compensate: {task: {type: work}}}
    - {id: second, needs: [first], task: {type: work}, retry: {max_attempts: 1}}
    - {id: third, needs: [second], task: {type: work}}
";

async fn get(client: &Client, run_id: &str) -> v1::Run {
    client.get_run(v1::GetRunRequest { run_id: run_id.into(), ..Default::default() }).await.unwrap()
}

fn step<'r>(run: &'r v1::Run, id: &str) -> &'r v1::StepState {
    run.steps.iter().find(|step| step.step == id).unwrap_or_else(|| panic!("no step {id} in {run:#?}"))
}

/// Waits until a step stands like this.
async fn until_step(client: &Client, run_id: &str, id: &str, status: StepStatus) -> v1::Run {
    let what = format!("step {id} is {}", status.as_str_name());
    eventually(&what, || async {
        let run = client.get_run(v1::GetRunRequest { run_id: run_id.into(), ..Default::default() }).await.ok()?;
        let stands = run.steps.iter().any(|step| step.step == id && step.status() == status);
        stands.then_some(run)
    })
    .await
}

async fn until_status(client: &Client, run_id: &str, status: RunStatus) -> v1::Run {
    eventually(&format!("run {run_id} is {}", status.as_str_name()), || async {
        let run = client.get_run(v1::GetRunRequest { run_id: run_id.into(), ..Default::default() }).await.ok()?;
        (run.status() == status).then_some(run)
    })
    .await
}

fn person(subject: &str, role: &str) -> Option<v1::Principal> {
    Some(v1::Principal { subject: subject.into(), roles: vec![role.into()], ..Default::default() })
}

fn approve(subject: &str, role: &str) -> v1::ApproveStepRequest {
    v1::ApproveStepRequest { run_id: "r".into(), step: "sign_off".into(), principal: person(subject, role), ..Default::default() }
}

/// Refused with this code and reason, and nothing was recorded.
async fn refused<T: std::fmt::Debug>(client: &Client, run_id: &str, answer: Result<T, Error>, code: Code, reason: &str, before: u64) {
    let Err(Error::Api(error)) = answer else { panic!("not refused: {answer:?}") };
    assert_eq!((error.code, error.reason.as_str()), (code, reason), "{error:?}");
    assert_eq!(get(client, run_id).await.sequence, before, "a refusal changes nothing");
}

fn names(record: &Record) -> Vec<String> {
    record.attempts().into_iter().map(|attempt| attempt.step).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_undone_in_reverse_although_its_leader_dies_in_the_middle_of_it() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(&client, SAGA).await;
    let record = Record::default();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (begun.clone(), go_on.clone());
    let _worker = work(&cluster, "w", 4, &record, move |context| {
        let (begun, go_on) = signals.clone();
        async move {
            match context.task().step.as_str() {
                "d" => return Err(TaskError::failed("Broken", "it broke").non_retryable().nothing_done()),
                "b:compensate" => {
                    begun.notify_one();
                    go_on.notified().await;
                }
                _ => {}
            }
            Ok(Output::from(serde_json::json!(1)))
        }
    });
    let run = start(&client, "saga", "r", revision).await;
    begun.notified().await;
    let leader = cluster.leader_of(run.shard).await;
    cluster.kill(leader);
    go_on.notify_one();
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Failed, "{ended:#?}");
    assert_eq!(ended.compensation(), CompensationState::Completed, "{ended:#?}");
    assert_eq!(ended.undone, Vec::<String>::new());
    assert_eq!(ended.failure.as_ref().map(|failure| failure.r#type.as_str()), Some("Broken"));
    // Each once, in reverse; what failed without having done anything is not undone, and what was never begun neither.
    assert_eq!(names(&record), ["a", "b", "c", "d", "c:compensate", "b:compensate", "a:compensate", "tell"]);
    assert_eq!(step(&ended, "a").compensation(), CompensationState::Completed);
    assert_eq!(step(&ended, "e").status(), StepStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_and_signals_survive_the_death_of_the_leader_that_waits_for_them() {
    let mut cluster = Cluster::start_with(3, &[("QUORUS_UNVERIFIED_APPROVALS", "allow")]).await;
    let client = cluster.client();
    let revision = apply(&client, RELEASE).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    let run = start(&client, "release", "r", revision).await;
    let waiting = until_step(&client, "r", "sign_off", StepStatus::Awaiting).await;

    // Signals that came before a step is there to take them wait; the same one is recognised.
    let signal = || v1::SignalRunRequest { run_id: "r".into(), name: "other".into(), signal_id: "s".into(), ..Default::default() };
    client.signal_run(signal()).await.unwrap();
    assert_eq!(client.signal_run(signal()).await.unwrap().unread_signals, 1);

    let given = approve("ada", "managers");
    let once = v1::ApproveStepRequest { request_id: "ada-1".into(), ..given.clone() };
    let first = client.approve_step(once.clone()).await.unwrap();
    assert_eq!(step(&first, "sign_off").approval.as_ref().map(|approval| approval.decisions.len()), Some(1));
    assert!(first.sequence > waiting.sequence);

    let leader = cluster.leader_of(run.shard).await;
    cluster.kill(leader);
    let repeated = client.approve_step(once).await.unwrap();
    assert_eq!(repeated.sequence, first.sequence, "the same request again, to another leader, changes nothing");
    let before = repeated.sequence;
    refused(&client, "r", client.approve_step(given).await, Code::FailedPrecondition, "ALREADY_DECIDED", before).await;
    refused(&client, "r", client.approve_step(approve("eve", "interns")).await, Code::PermissionDenied, "NOT_AN_APPROVER", before).await;

    let pending = client.list_approvals(v1::ListApprovalsRequest::default()).await.unwrap().approvals;
    assert_eq!(pending.len(), 1, "{pending:#?}");
    assert_eq!(pending[0].step.as_ref().map(|step| step.step.as_str()), Some("sign_off"));
    let others = client.list_approvals(v1::ListApprovalsRequest { role: "others".into(), ..Default::default() }).await.unwrap();
    assert_eq!(others.approvals, Vec::new());
    let why = client.explain_run(v1::ExplainRunRequest { run_id: "r".into(), ..Default::default() }).await.unwrap();
    let reasons: Vec<_> = why.waiting.iter().map(|waiting| (waiting.step.as_str(), waiting.reason.as_str())).collect();
    assert!(reasons.contains(&("sign_off", "1 more of 2 approvals by managers")), "{reasons:?}");
    assert!(reasons.contains(&("go", "a signal \"go\"")), "{reasons:?}");
    assert!(reasons.contains(&("deploy", "waits for the end of sign_off, go")), "{reasons:?}");

    client.approve_step(approve("bob", "managers")).await.unwrap();
    cluster.restart(leader);
    cluster.ready().await;
    let payload = Some(v1::Payload { data: "{\"now\": true}".into(), encoding: String::new() });
    client.signal_run(v1::SignalRunRequest { run_id: "r".into(), name: "go".into(), payload, ..Default::default() }).await.unwrap();
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");
    assert_eq!(names(&record), ["build", "deploy"]);
    assert_eq!(ended.unread_signals, 1, "what nobody took is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_to_a_run_is_refused_with_its_reason() {
    let cluster = Cluster::start_with(1, &[("QUORUS_UNVERIFIED_APPROVALS", "allow")]).await;
    let client = cluster.client();
    let revision = apply(&client, RELEASE).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    start(&client, "release", "r", revision).await;
    until_step(&client, "r", "sign_off", StepStatus::Awaiting).await;
    let before = until_step(&client, "r", "go", StepStatus::Awaiting).await.sequence;
    let (run_id, reason) = (|| "r".to_owned(), || "no time".to_owned());

    // An approval is not evaded by who may not give it.
    let skip = v1::SkipStepRequest {
        run_id: run_id(),
        step: "sign_off".into(),
        reason: reason(),
        principal: person("eve", "interns"),
        ..Default::default()
    };
    refused(&client, "r", client.skip_step(skip.clone()).await, Code::PermissionDenied, "NOT_AN_APPROVER", before).await;
    let no_reason = v1::SkipStepRequest { reason: String::new(), ..skip.clone() };
    refused(&client, "r", client.skip_step(no_reason).await, Code::InvalidArgument, "INVALID_ARGUMENT", before).await;
    let unknown = v1::SkipStepRequest { step: "nothing".into(), ..skip.clone() };
    refused(&client, "r", client.skip_step(unknown).await, Code::NotFound, "UNKNOWN_STEP", before).await;
    let other = v1::ApproveStepRequest { step: "go".into(), ..approve("ada", "managers") };
    refused(&client, "r", client.approve_step(other).await, Code::FailedPrecondition, "STEP_NOT_WAITING", before).await;
    let retry = v1::RetryRunRequest { run_id: run_id(), ..Default::default() };
    refused(&client, "r", client.retry_run(retry.clone()).await, Code::FailedPrecondition, "RUN_ACTIVE", before).await;
    let nobody = v1::PauseRunRequest { run_id: "nobody".into(), ..Default::default() };
    let Err(Error::Api(error)) = client.pause_run(nobody).await else { panic!("there is no such run") };
    assert_eq!((error.code, error.reason.as_str()), (Code::NotFound, "RUN_NOT_FOUND"));

    // Who may give it may pass it by, which shows.
    client.skip_step(v1::SkipStepRequest { principal: person("ada", "managers"), ..skip }).await.unwrap();
    let history = client.run_history(v1::GetRunHistoryRequest { run_id: run_id(), ..Default::default() }).await.unwrap();
    assert!(history.events.iter().any(|event| event.r#override && event.repair == "skip"), "{history:#?}");
    client.signal_run(v1::SignalRunRequest { run_id: run_id(), name: "go".into(), ..Default::default() }).await.unwrap();
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");

    let before = ended.sequence;
    let signal = v1::SignalRunRequest { run_id: run_id(), name: "go".into(), ..Default::default() };
    refused(&client, "r", client.signal_run(signal).await, Code::FailedPrecondition, "RUN_ENDED", before).await;
    refused(&client, "r", client.retry_run(retry).await, Code::FailedPrecondition, "NOT_RETRYABLE", before).await;
    let restart = v1::RestartRunRequest { run_id: run_id(), step: "nothing".into(), ..Default::default() };
    refused(&client, "r", client.restart_run(restart.clone()).await, Code::NotFound, "UNKNOWN_STEP", before).await;
    let pause = v1::PauseRunRequest { run_id: run_id(), ..Default::default() };
    refused(&client, "r", client.pause_run(pause).await, Code::FailedPrecondition, "RUN_ENDED", before).await;

    // A remark is welcome at any time.
    let annotate = v1::AnnotateRunRequest { run_id: run_id(), text: "well done".into(), request_id: "note".into(), ..Default::default() };
    assert_eq!(client.annotate_run(annotate.clone()).await.unwrap().sequence, before + 1);
    assert_eq!(client.annotate_run(annotate).await.unwrap().sequence, before + 1, "the same request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_approval_is_not_evaded_by_a_restart_behind_it() {
    let cluster = Cluster::start_with(1, &[("QUORUS_UNVERIFIED_APPROVALS", "allow")]).await;
    let client = cluster.client();
    let revision = apply(&client, &RELEASE.replace("spec:\n", "spec:\n  on_failure: hold\n")).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    start(&client, "release", "r", revision).await;
    until_step(&client, "r", "sign_off", StepStatus::Awaiting).await;
    let reject = v1::ApproveStepRequest { reject: true, ..approve("ada", "managers") };
    let before = get(&client, "r").await.sequence;
    refused(&client, "r", client.approve_step(reject.clone()).await, Code::InvalidArgument, "INVALID_ARGUMENT", before).await;
    client.approve_step(v1::ApproveStepRequest { reason: "too risky".into(), ..reject }).await.unwrap();
    let held = until_status(&client, "r", RunStatus::NeedsAttention).await;
    assert_eq!(step(&held, "sign_off").failure.as_ref().map(|failure| failure.r#type.as_str()), Some("QuorusRejected"));

    let restart = v1::RestartRunRequest { run_id: "r".into(), step: "deploy".into(), ..Default::default() };
    refused(&client, "r", client.restart_run(restart.clone()).await, Code::FailedPrecondition, "NOT_RESTARTABLE", held.sequence).await;
    let skip = v1::SkipStepRequest {
        run_id: "r".into(),
        step: "sign_off".into(),
        reason: "no time".into(),
        principal: person("eve", "interns"),
        ..Default::default()
    };
    refused(&client, "r", client.skip_step(skip).await, Code::PermissionDenied, "NOT_AN_APPROVER", held.sequence).await;
    // Whoever begins again has to ask again.
    client.restart_run(v1::RestartRunRequest { step: "build".into(), ..restart }).await.unwrap();
    let again = until_step(&client, "r", "sign_off", StepStatus::Awaiting).await;
    assert_eq!(step(&again, "sign_off").approval.as_ref().map(|approval| approval.decisions.len()), Some(0), "{again:#?}");
    assert_eq!(names(&record), ["build", "build"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_of_people_for_whom_nobody_vouches_are_refused_by_default() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let revision = apply(&client, RELEASE).await;
    let record = Record::default();
    let _worker = work(&cluster, "w", 4, &record, |_| async { Ok(Output::from(serde_json::json!(1))) });
    start(&client, "release", "r", revision).await;
    until_step(&client, "r", "go", StepStatus::Awaiting).await;
    let before = until_step(&client, "r", "sign_off", StepStatus::Awaiting).await.sequence;
    // A client can't vouch for itself.
    let mut given = approve("ada", "managers");
    given.principal.as_mut().unwrap().verified = true;
    refused(&client, "r", client.approve_step(given).await, Code::PermissionDenied, "UNVERIFIED_PRINCIPAL", before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_run_needs_attention_nothing_begins_that_goes_forward() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let revision = apply(
        &client,
        "api_version: quorus/v1
kind: Workflow
metadata: {name: stuck}
spec:
  steps:
    - id: all
      for_each:
        in: [1]
        max_failures: 1
        steps:
          - {id: done, task: {type: work}, compensate: {task: {type: work}, retry: {max_attempts: 1}}}
          - {id: fails, needs: [done], task: {type: work}, retry: {max_attempts: 1}}
    - {id: go, signal: {name: go}, timeout: 1h}
    - {id: next, needs: [go], task: {type: work}}
    - {id: queued, task: {type: work, queue: late}}
",
    )
    .await;
    let record = Record::default();
    let repaired = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let answer = {
        let repaired = repaired.clone();
        move |context: TaskContext| {
            let (step, repaired) = (context.task().step.clone(), repaired.load(std::sync::atomic::Ordering::SeqCst));
            async move {
                // What begins too early fails, and the run with it.
                let well = match step.as_str() {
                    "all[0].done" => true,
                    "all[0].fails" => false,
                    _ => repaired,
                };
                if well { Ok(Output::from(serde_json::json!(1))) } else { Err(TaskError::failed("Broken", step).non_retryable()) }
            }
        }
    };
    let _worker = work(&cluster, "w", 4, &record, answer.clone());
    start(&client, "stuck", "r", revision).await;
    until_status(&client, "r", RunStatus::NeedsAttention).await;
    let late = quorus_client::Worker::builder(cluster.endpoints()).name("late").queue("late").register("work", answer).build().unwrap();
    let _late = tokio::spawn(async move { late.run(std::future::pending::<()>()).await });
    eventually("the late worker is there", || async {
        let workers = client.list_workers(v1::ListWorkersRequest::default()).await.ok()?.workers;
        workers.iter().any(|worker| worker.name == "late" && !worker.incarnation.is_empty()).then_some(())
    })
    .await;
    client.signal_run(v1::SignalRunRequest { run_id: "r".into(), name: "go".into(), ..Default::default() }).await.unwrap();
    let waits = get(&client, "r").await;
    assert_eq!(step(&waits, "go").status(), StepStatus::Succeeded);
    assert_eq!(step(&waits, "next").status(), StepStatus::Pending);
    assert_eq!(step(&waits, "queued").status(), StepStatus::Queued);

    repaired.store(true, std::sync::atomic::Ordering::SeqCst);
    client.retry_run(v1::RetryRunRequest { run_id: "r".into(), ..Default::default() }).await.unwrap();
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");
    assert_eq!((step(&ended, "next").attempt, step(&ended, "queued").attempt), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_run_is_paused_retried_and_migrated() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let revision = apply(&client, HELD).await;
    let record = Record::default();
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = broken.clone();
    let _worker = work(&cluster, "w", 4, &record, move |context| {
        let fails = context.task().step == "second" && is_broken.load(std::sync::atomic::Ordering::SeqCst);
        async move { if fails { Err(TaskError::failed("Broken", "it broke")) } else { Ok(Output::from(serde_json::json!(1))) } }
    });
    start(&client, "held", "r", revision).await;
    let held = until_status(&client, "r", RunStatus::NeedsAttention).await;
    assert_eq!(names(&record), ["first", "second"], "nothing is undone");
    assert_eq!(held.undone, ["first", "second"], "what people have to look after");

    // To a version with another last step, which has not begun; a step that has begun must be the same.
    let other = HELD.replace("- {id: third, needs: [second], task: {type: work}}", "- {id: fourth, needs: [second], task: {type: work}}");
    apply(&client, &other).await;
    let migrate = v1::MigrateRunRequest { run_id: "r".into(), dry_run: true, ..Default::default() };
    let answer = client.migrate_run(migrate.clone()).await.unwrap();
    assert_eq!((answer.workflow_version, answer.added, answer.removed), (2, vec!["fourth".to_owned()], vec!["third".to_owned()]));
    assert_eq!(get(&client, "r").await.sequence, held.sequence, "a dry run changes nothing");
    apply(&client, &other.replace("{id: first,", "{id: first, if: \"true\",")).await;
    let unfit = client.migrate_run(v1::MigrateRunRequest { dry_run: false, ..migrate.clone() }).await;
    refused(&client, "r", unfit, Code::FailedPrecondition, "NOT_MIGRATABLE", held.sequence).await;
    let migrated = client.migrate_run(v1::MigrateRunRequest { dry_run: false, workflow_version: 2, ..migrate }).await.unwrap();
    assert_eq!(migrated.run.map(|run| run.workflow_version), Some(2));

    client.pause_run(v1::PauseRunRequest { run_id: "r".into(), reason: "lunch".into(), ..Default::default() }).await.unwrap();
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    client.retry_run(v1::RetryRunRequest { run_id: "r".into(), ..Default::default() }).await.unwrap();
    let paused = until_step(&client, "r", "second", StepStatus::Queued).await;
    assert!(paused.paused, "{paused:#?}");
    assert_eq!(names(&record), ["first", "second"], "no attempt begins while it is paused");
    client.resume_run(v1::ResumeRunRequest { run_id: "r".into(), ..Default::default() }).await.unwrap();
    let ended = end(&client, "r").await;
    assert_eq!(ended.status(), RunStatus::Succeeded, "{ended:#?}");
    assert_eq!(names(&record), ["first", "second", "second", "fourth"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_starts_the_run_that_is_not_there_once() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    apply(&client, RELEASE).await;
    let start = v1::StartRunRequest { workflow: "release".into(), run_id: "r".into(), request_id: "q".into(), ..Default::default() };
    let request = v1::SignalWithStartRunRequest { start: Some(start), name: "go".into(), ..Default::default() };
    let first = client.signal_with_start_run(request.clone()).await.unwrap();
    let second = client.signal_with_start_run(request.clone()).await.unwrap();
    assert_eq!((first.existing, second.existing), (false, true));
    let (first, second) = (first.run.unwrap(), second.run.unwrap());
    assert_eq!((first.run_uid, first.unread_signals), (second.run_uid, second.unread_signals), "the same request");
    let other = v1::SignalWithStartRunRequest { signal_id: "another".into(), ..request };
    let third = client.signal_with_start_run(other).await.unwrap();
    assert_eq!((third.existing, third.run.map(|run| run.unread_signals)), (true, Some(2)));
}
