//! Workflows: apply, read, list, delete, plan. Changes go to the system group's leader; everything else is answered from this node's copy.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quorus_proto::v1::{self, Workflow, workflow_service_client::WorkflowServiceClient, workflow_service_server::WorkflowService};
use quorus_raft::{Group, ProposeError};
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, errors,
    forward::{self, Journey},
    from_proto, in_use, limits, to_proto, workflow_pause,
};
use crate::system::{SystemAnswer, SystemCommand, WorkflowVersion};

/// Serves workflows.
pub struct Workflows {
    pub(crate) context: Arc<ApiContext>,
}

fn client(channel: Channel) -> WorkflowServiceClient<Channel> {
    WorkflowServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A definition that was checked.
struct Checked {
    workflow: Workflow,
    plan: Arc<quorus_engine::Plan>,
    warnings: Vec<v1::Problem>,
}

#[tonic::async_trait]
impl WorkflowService for Workflows {
    async fn apply_workflow(&self, request: Request<v1::ApplyWorkflowRequest>) -> Result<Response<v1::ApplyWorkflowResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.into_inner();
        let _permit = self.context.admission.change()?;
        let definition = message.definition.clone().map(|definition| match definition {
            v1::apply_workflow_request::Definition::Workflow(workflow) => Given::Message(workflow.into()),
            v1::apply_workflow_request::Definition::Source(source) => Given::Text(source),
        });
        let checked = check(definition).map_err(|problems| errors::invalid_workflow(&problems))?;
        let group = self.context.system_group()?;
        if message.dry_run {
            return self.would_apply(&group, checked).await.map(Response::new);
        }
        let here = || self.apply_here(&group, &checked, &message);
        let there = |channel| async { Ok(client(channel).apply_workflow(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way_with_room(&group), &journey, true, here, there).await.map(Response::new)
    }

    async fn get_workflow(&self, request: Request<v1::GetWorkflowRequest>) -> Result<Response<v1::GetWorkflowResponse>, Status> {
        let v1::GetWorkflowRequest { mut namespace, name, version: number } = request.into_inner();
        namespaced(&mut namespace)?;
        let _permit = self.context.admission.read()?;
        let find = || self.context.system.workflow(&namespace, &name, number).map_err(|error| errors::internal(&error));
        let mut found = find()?;
        // The latest of this node's copy may not be the latest, and what it does not have may be there.
        if number == 0 || found.is_none() {
            self.context.system_group()?.read_barrier().await.map_err(|_| errors::no_leader(0))?;
            found = find()?;
        }
        let found = found.ok_or_else(|| errors::workflow_not_found(&namespace, &name, number))?;
        let mut shown = version(&found)?;
        workflow_pause::show_all(&self.context, &mut shown)?;
        Ok(Response::new(v1::GetWorkflowResponse { workflow: Some(shown) }))
    }

    async fn list_workflows(&self, request: Request<v1::ListWorkflowsRequest>) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        let v1::ListWorkflowsRequest { mut namespace, page_size, page_token } = request.into_inner();
        namespaced(&mut namespace)?;
        let _permit = self.context.admission.read()?;
        let after = Some(page_token.as_str()).filter(|token| !token.is_empty());
        let page = self
            .context
            .system
            .list_workflows(&namespace, after, limits::page_size(page_size))
            .map_err(|error| errors::internal(&error))?;
        let mut workflows = page.workflows.iter().map(version).collect::<Result<Vec<_>, _>>()?;
        workflows.iter_mut().for_each(|shown| workflow_pause::show(&self.context, shown));
        Ok(Response::new(v1::ListWorkflowsResponse { workflows, next_page_token: page.next.unwrap_or_default() }))
    }

    async fn list_workflow_versions(
        &self,
        request: Request<v1::ListWorkflowVersionsRequest>,
    ) -> Result<Response<v1::ListWorkflowVersionsResponse>, Status> {
        let v1::ListWorkflowVersionsRequest { mut namespace, name, page_size, page_token } = request.into_inner();
        namespaced(&mut namespace)?;
        let _permit = self.context.admission.read()?;
        let before = match page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| errors::invalid(vec![("page_token".into(), "is not one that a list returned".into())]))?,
        };
        let limit = limits::page_size(page_size);
        let find = || self.context.system.list_versions(&namespace, &name, before, limit).map_err(|error| errors::internal(&error));
        let mut page = find()?;
        if page.versions.is_empty() && before == 0 {
            self.context.system_group()?.read_barrier().await.map_err(|_| errors::no_leader(0))?;
            page = find()?;
            if page.versions.is_empty() {
                return Err(errors::workflow_not_found(&namespace, &name, 0));
            }
        }
        let versions = page.versions.iter().map(version).collect::<Result<_, _>>()?;
        let next_page_token = page.next.map(|version| version.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListWorkflowVersionsResponse { versions, next_page_token }))
    }

    async fn delete_workflow(&self, request: Request<v1::DeleteWorkflowRequest>) -> Result<Response<v1::DeleteWorkflowResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        namespaced(&mut message.namespace)?;
        let _permit = self.context.admission.change()?;
        let group = self.context.system_group()?;
        if !journey.forwarded {
            in_use::check(&self.context, &journey, &message.namespace, &message.name).await?;
        }
        let here = || self.delete_here(&group, &message);
        let there = |channel| async { Ok(client(channel).delete_workflow(journey.onward(message.clone())).await?.into_inner()) };
        // A deletion that is repeated finds nothing to delete, so the caller must know that its outcome was unknown.
        forward::by_leader(self.context.way_with_room(&group), &journey, false, here, there).await.map(Response::new)
    }

    async fn pause_workflow(&self, request: Request<v1::PauseWorkflowRequest>) -> Result<Response<v1::PauseWorkflowResponse>, Status> {
        workflow_pause::pause(&self.context, request).await
    }

    async fn resume_workflow(&self, request: Request<v1::ResumeWorkflowRequest>) -> Result<Response<v1::ResumeWorkflowResponse>, Status> {
        workflow_pause::resume(&self.context, request).await
    }

    async fn plan_workflow(&self, request: Request<v1::PlanWorkflowRequest>) -> Result<Response<v1::PlanWorkflowResponse>, Status> {
        let _permit = self.context.admission.read()?;
        let definition = request.into_inner().definition.map(|definition| match definition {
            v1::plan_workflow_request::Definition::Workflow(workflow) => Given::Message(workflow.into()),
            v1::plan_workflow_request::Definition::Source(source) => Given::Text(source),
        });
        Ok(Response::new(match check(definition) {
            Err(problems) => v1::PlanWorkflowResponse { problems, ..v1::PlanWorkflowResponse::default() },
            Ok(Checked { plan, warnings, .. }) => v1::PlanWorkflowResponse {
                steps: plan.steps.iter().map(|step| quorus_spec::planned_step(&plan, step)).collect(),
                problems: warnings,
                critical_path: plan.critical_path().iter().map(ToString::to_string).collect(),
            },
        }))
    }
}

impl Workflows {
    async fn apply_here(
        &self,
        group: &Group,
        checked: &Checked,
        message: &v1::ApplyWorkflowRequest,
    ) -> Option<Result<v1::ApplyWorkflowResponse, Status>> {
        let (bytes, digest) = quorus_spec::canonical(&checked.workflow);
        let (namespace, name) = names(Some(&checked.workflow));
        let principal = from_proto::principal(message.principal.clone());
        let command = SystemCommand::ApplyWorkflow { namespace, name, workflow: bytes.clone(), digest, principal };
        let answer = match self.propose(group, &command).await? {
            Ok(SystemAnswer::WorkflowApplied(applied)) => applied,
            Ok(_) => return Some(Err(errors::outcome_unknown())),
            Err(status) => return Some(Err(status)),
        };
        let workflow = v1::WorkflowVersion {
            workflow: Some(checked.workflow.clone()),
            version: answer.version,
            digest: quorus_spec::digest_hex(&digest),
            applied_at: Some(to_proto::time(answer.applied_at)),
            applied_by: Some(to_proto::principal(&answer.applied_by)),
            ..v1::WorkflowVersion::default()
        };
        let warnings = checked.warnings.clone();
        Some(Ok(v1::ApplyWorkflowResponse { workflow: Some(workflow), changed: answer.changed, revision: answer.revision, warnings }))
    }

    async fn would_apply(&self, group: &Group, checked: Checked) -> Result<v1::ApplyWorkflowResponse, Status> {
        group.read_barrier().await.map_err(|_| errors::no_leader(0))?;
        let (_, digest) = quorus_spec::canonical(&checked.workflow);
        let (namespace, name) = names(Some(&checked.workflow));
        let latest = self.context.system.workflow(&namespace, &name, 0).map_err(|error| errors::internal(&error))?;
        let changed = latest.as_ref().is_none_or(|latest| latest.digest != digest);
        let workflow = v1::WorkflowVersion {
            version: latest.map_or(0, |latest| latest.version) + u64::from(changed),
            workflow: Some(checked.workflow),
            digest: quorus_spec::digest_hex(&digest),
            ..v1::WorkflowVersion::default()
        };
        Ok(v1::ApplyWorkflowResponse {
            workflow: Some(workflow),
            changed,
            revision: self.context.system.revision(),
            warnings: checked.warnings,
        })
    }

    async fn delete_here(&self, group: &Group, message: &v1::DeleteWorkflowRequest) -> Option<Result<v1::DeleteWorkflowResponse, Status>> {
        let principal = from_proto::principal(message.principal.clone());
        let command = SystemCommand::DeleteWorkflow { namespace: message.namespace.clone(), name: message.name.clone(), principal };
        Some(match self.propose(group, &command).await? {
            Ok(SystemAnswer::WorkflowDeleted { existed: true, revision }) => Ok(v1::DeleteWorkflowResponse { revision }),
            Ok(SystemAnswer::WorkflowDeleted { .. }) => Err(errors::workflow_not_found(&message.namespace, &message.name, 0)),
            Ok(_) => Err(errors::outcome_unknown()),
            Err(status) => Err(status),
        })
    }

    /// Proposes to the system group; `None` if this node does not lead it.
    async fn propose(&self, group: &Group, command: &SystemCommand) -> Option<Result<SystemAnswer, Status>> {
        let leadership = *group.leadership().borrow();
        if !leadership.here {
            return None;
        }
        Some(match group.propose(leadership.term, command.encode(self.context.clock.now())).await {
            Ok(proposed) => SystemAnswer::decode(proposed.answer).map_err(|error| errors::internal(&error)),
            Err(ProposeError::NotLeader { .. }) => return None,
            Err(_) => Err(errors::outcome_unknown()),
        })
    }
}

/// A definition in one of the two ways in which it may come.
enum Given {
    Message(Box<Workflow>),
    Text(v1::Source),
}

/// Checks a definition; the problems are all errors and warnings.
fn check(definition: Option<Given>) -> Result<Checked, Vec<v1::Problem>> {
    match definition {
        None => Err(vec![v1::Problem {
            path: "definition".to_owned(),
            code: "missing".to_owned(),
            message: "neither `workflow` nor `source` is set".to_owned(),
            ..v1::Problem::default()
        }]),
        Some(Given::Text(source)) => match quorus_spec::load(&source.text, &source.name) {
            Ok(loaded) => Ok(Checked {
                workflow: loaded.workflow,
                plan: loaded.plan,
                warnings: loaded.warnings.iter().map(v1::Problem::from).collect(),
            }),
            Err(diagnostics) => Err(diagnostics.iter().map(v1::Problem::from).collect()),
        },
        Some(Given::Message(workflow)) => {
            let (plan, problems) = quorus_spec::check(&workflow);
            let problems = problems.into_iter().map(|problem| v1::Problem {
                path: problem.path,
                code: problem.code.to_owned(),
                message: problem.message,
                hint: problem.hint.unwrap_or_default(),
                warning: problem.warning,
                ..v1::Problem::default()
            });
            let warnings = problems.collect();
            match plan {
                Some(plan) => Ok(Checked { workflow: *workflow, plan: plan.into(), warnings }),
                None => Err(warnings),
            }
        }
    }
}

/// A stored version as clients read it.
pub(super) fn version(stored: &WorkflowVersion) -> Result<v1::WorkflowVersion, Status> {
    let workflow = Workflow::decode(Bytes::clone(&stored.workflow)).map_err(|error| errors::internal(&error))?;
    Ok(v1::WorkflowVersion {
        workflow: Some(workflow),
        version: stored.version,
        digest: quorus_spec::digest_hex(&stored.digest),
        applied_at: Some(to_proto::time(stored.applied_at)),
        applied_by: Some(to_proto::principal(&stored.applied_by)),
        ..v1::WorkflowVersion::default()
    })
}

/// Namespace and name of a definition.
pub(super) fn names(workflow: Option<&Workflow>) -> (String, String) {
    let metadata = workflow.and_then(|workflow| workflow.metadata.clone()).unwrap_or_default();
    let namespace = if metadata.namespace.is_empty() { quorus_spec::DEFAULT_NAMESPACE.to_owned() } else { metadata.namespace };
    (namespace, metadata.name)
}

/// Fills the default namespace in, and checks it.
pub(super) fn namespaced(namespace: &mut String) -> Result<(), Status> {
    if namespace.is_empty() {
        *namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
    }
    if limits::is_name(namespace) {
        return Ok(());
    }
    Err(errors::invalid(vec![("namespace".into(), "must have 1 to 200 letters, digits, `.`, `_`, `-` or `:`".into())]))
}
