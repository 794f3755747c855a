//! Triggers: apply, read, list, delete, pause, resume, test. Changes go to the system group's leader; events go to any node's HTTP port.

use std::sync::Arc;

use quorus_engine::Timestamp;
use quorus_proto::{
    log::{ApplyTrigger, ChangeTrigger, DeleteTrigger, PauseTrigger, ResumeTrigger, StoredTrigger, TriggerChanged, change_trigger::Change},
    v1::{self, trigger_service_client::TriggerServiceClient, trigger_service_server::TriggerService},
};
use quorus_raft::Group;
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, errors,
    errors::reason,
    forward::{self, Journey},
    from_proto, limits,
    system_change::{named, propose, refused},
    to_proto,
};
use crate::{
    resource,
    system::{SystemAnswer, SystemCommand},
    triggers::{
        definition::{self, Definition},
        event::{Post, events},
        map::{Owner, map},
    },
};

/// Serves triggers.
pub struct Triggers {
    pub(crate) context: Arc<ApiContext>,
}

fn client(channel: Channel) -> TriggerServiceClient<Channel> {
    TriggerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl TriggerService for Triggers {
    async fn apply_trigger(&self, request: Request<v1::ApplyTriggerRequest>) -> Result<Response<v1::ApplyTriggerResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.into_inner();
        let _permit = self.context.admission.change()?;
        let mut trigger = message.trigger.clone().unwrap_or_default();
        let definition = definition::compile(&trigger).map_err(|problems| refused(&problems))?;
        let metadata = trigger.metadata.get_or_insert_default();
        named(&mut metadata.namespace, &metadata.name)?;
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let warnings = self.warnings(&namespace, &definition)?;
        let (bytes, digest) = definition::canonical(&trigger);
        if message.dry_run {
            let known = self.fresh(&namespace, &name).await?;
            let changed = known.as_ref().is_none_or(|known| known.digest != digest);
            let state = StoredTrigger { definition: bytes, digest, ..known.unwrap_or_default() };
            let trigger = Some(view(&namespace, &name, &state)?);
            return Ok(Response::new(v1::ApplyTriggerResponse { trigger, changed, warnings }));
        }
        let principal = Some(principal(message.principal.clone()));
        let command = SystemCommand::ApplyTrigger(ApplyTrigger {
            namespace: namespace.clone(),
            name: name.clone(),
            definition: bytes,
            digest,
            principal,
        });
        let group = self.context.system_group()?;
        let here = || async {
            Some(self.ask(&group, &namespace, &name, &command).await?.and_then(|answer| {
                let trigger = view(&namespace, &name, &answer.state.unwrap_or_default())?;
                Ok(v1::ApplyTriggerResponse { trigger: Some(trigger), changed: answer.changed, warnings: warnings.clone() })
            }))
        };
        let there = |channel| async { Ok(client(channel).apply_trigger(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way_with_room(&group), &journey, true, here, there).await.map(Response::new)
    }

    async fn get_trigger(&self, request: Request<v1::GetTriggerRequest>) -> Result<Response<v1::GetTriggerResponse>, Status> {
        let v1::GetTriggerRequest { mut namespace, name } = request.into_inner();
        named(&mut namespace, &name)?;
        let _permit = self.context.admission.read()?;
        let state = self.existing(&namespace, &name).await?;
        Ok(Response::new(v1::GetTriggerResponse { trigger: Some(view(&namespace, &name, &state)?) }))
    }

    async fn list_triggers(&self, request: Request<v1::ListTriggersRequest>) -> Result<Response<v1::ListTriggersResponse>, Status> {
        let v1::ListTriggersRequest { mut namespace, page_size, page_token } = request.into_inner();
        named(&mut namespace, "any")?;
        let _permit = self.context.admission.read()?;
        let after = Some(page_token.as_str()).filter(|token| !token.is_empty());
        let page =
            self.context.system.list_triggers(&namespace, after, limits::page_size(page_size)).map_err(|error| errors::internal(&error))?;
        let triggers = page.triggers.iter().map(|(name, state)| view(&namespace, name, state)).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListTriggersResponse { triggers, next_page_token: page.next.unwrap_or_default() }))
    }

    async fn delete_trigger(&self, request: Request<v1::DeleteTriggerRequest>) -> Result<Response<v1::DeleteTriggerResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        let _permit = self.context.admission.change()?;
        let (namespace, name) = (&message.namespace, &message.name);
        let command = change(namespace, name, message.principal.clone(), Change::Delete(DeleteTrigger {}));
        let group = self.context.system_group()?;
        let here = || async { Some(self.ask(&group, namespace, name, &command).await?.map(|_| v1::DeleteTriggerResponse {})) };
        let there = |channel| async { Ok(client(channel).delete_trigger(journey.onward(message.clone())).await?.into_inner()) };
        // A deletion that is repeated finds nothing to delete, so the caller must know that its outcome was unknown.
        forward::by_leader(self.context.way_with_room(&group), &journey, false, here, there).await.map(Response::new)
    }

    async fn pause_trigger(&self, request: Request<v1::PauseTriggerRequest>) -> Result<Response<v1::PauseTriggerResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        let _permit = self.context.admission.change()?;
        let (namespace, name) = (&message.namespace, &message.name);
        let pause = Change::Pause(PauseTrigger { reason: message.reason.clone() });
        let command = change(namespace, name, message.principal.clone(), pause);
        let group = self.context.system_group()?;
        let here = || async {
            let trigger = self.changed(&group, namespace, name, &command).await?;
            Some(trigger.map(|trigger| v1::PauseTriggerResponse { trigger: Some(trigger) }))
        };
        let there = |channel| async { Ok(client(channel).pause_trigger(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way_with_room(&group), &journey, true, here, there).await.map(Response::new)
    }

    async fn resume_trigger(&self, request: Request<v1::ResumeTriggerRequest>) -> Result<Response<v1::ResumeTriggerResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        let _permit = self.context.admission.change()?;
        let (namespace, name) = (&message.namespace, &message.name);
        let command = change(namespace, name, message.principal.clone(), Change::Resume(ResumeTrigger {}));
        let group = self.context.system_group()?;
        let here = || async {
            let trigger = self.changed(&group, namespace, name, &command).await?;
            Some(trigger.map(|trigger| v1::ResumeTriggerResponse { trigger: Some(trigger) }))
        };
        let there = |channel| async { Ok(client(channel).resume_trigger(journey.onward(message.clone())).await?.into_inner()) };
        forward::by_leader(self.context.way_with_room(&group), &journey, true, here, there).await.map(Response::new)
    }

    async fn test_trigger(&self, request: Request<v1::TestTriggerRequest>) -> Result<Response<v1::TestTriggerResponse>, Status> {
        let v1::TestTriggerRequest { mut namespace, mut name, trigger, body, headers } = request.into_inner();
        let _permit = self.context.admission.read()?;
        let (definition, principal) = match trigger {
            Some(trigger) => {
                let metadata = trigger.metadata.clone().unwrap_or_default();
                (namespace, name) = (metadata.namespace, metadata.name);
                (definition::compile(&trigger).map_err(|problems| refused(&problems))?, None)
            }
            None => {
                named(&mut namespace, &name)?;
                let state = self.existing(&namespace, &name).await?;
                (compiled(&state)?.1, state.applied_by)
            }
        };
        named(&mut namespace, &name)?;
        let owner = Owner { namespace: &namespace, name: &name, principal: principal.as_ref() };
        let found = events(definition.format, definition.per, &Post::new(headers, body));
        let found = found.map_err(|message| errors::status(Code::InvalidArgument, reason::INVALID_EVENT, message))?;
        let mapped = found.iter().map(|event| {
            let event_json = Some(v1::Payload { data: event.document.to_string().into(), encoding: String::new() });
            match map(&owner, &definition, event) {
                Ok(mapped) => v1::MappedEvent {
                    event_id: mapped.event_id.clone().unwrap_or_default(),
                    passes: mapped.passes(),
                    start: mapped.start,
                    signal: mapped.signal,
                    error: String::new(),
                    event: event_json,
                },
                Err(error) => v1::MappedEvent { error, event: event_json, ..v1::MappedEvent::default() },
            }
        });
        Ok(Response::new(v1::TestTriggerResponse { events: mapped.collect() }))
    }
}

impl Triggers {
    /// Proposes a change and says no where there is nothing to change.
    async fn ask(&self, group: &Group, namespace: &str, name: &str, command: &SystemCommand) -> Option<Result<TriggerChanged, Status>> {
        Some(match propose(&self.context, group, command).await? {
            Ok(SystemAnswer::Trigger(changed)) if changed.existed || changed.state.is_some() => Ok(*changed),
            Ok(SystemAnswer::Trigger(_)) => Err(not_found(namespace, name)),
            Ok(_) => Err(errors::outcome_unknown()),
            Err(status) => Err(status),
        })
    }

    async fn changed(
        &self,
        group: &Group,
        namespace: &str,
        name: &str,
        command: &SystemCommand,
    ) -> Option<Result<v1::TriggerState, Status>> {
        let answer = self.ask(group, namespace, name, command).await?;
        Some(answer.and_then(|answer| view(namespace, name, &answer.state.unwrap_or_default())))
    }

    /// A trigger as a quorum knows it.
    async fn fresh(&self, namespace: &str, name: &str) -> Result<Option<StoredTrigger>, Status> {
        self.context.system_group()?.read_barrier().await.map_err(|_| errors::no_leader(0))?;
        self.context.system.trigger(namespace, name).map_err(|error| errors::internal(&error))
    }

    async fn existing(&self, namespace: &str, name: &str) -> Result<StoredTrigger, Status> {
        self.fresh(namespace, name).await?.ok_or_else(|| not_found(namespace, name))
    }

    fn warnings(&self, namespace: &str, definition: &Definition) -> Result<Vec<v1::Problem>, Status> {
        let mut warnings = Vec::new();
        if let Some(start) = definition.start.as_ref().map(|start| &start.run) {
            let known = self.context.system.workflow(namespace, &start.workflow, start.workflow_version);
            if known.map_err(|error| errors::internal(&error))?.is_none() {
                let path = if definition.signal.is_some() { "spec.signal.start.workflow" } else { "spec.start.workflow" };
                let message = format!("workflow `{}` is not applied yet; events are refused until it is", start.workflow);
                warnings.push(quorus_spec::Problem::error(path, "unknown-workflow", message));
            }
        }
        if definition.auth.unsigned {
            let message = "whoever reaches the HTTP port can start or signal runs";
            warnings.push(quorus_spec::Problem::error("spec.auth.unsigned", "unsigned", message));
        }
        Ok(warnings.into_iter().map(|problem| v1::Problem { warning: true, ..resource::wire(problem) }).collect())
    }
}

fn compiled(state: &StoredTrigger) -> Result<(v1::Trigger, Definition), Status> {
    definition::decode(state.definition.clone())
        .map_err(|error| errors::status(Code::Internal, reason::INTERNAL, format!("the definition can't be read: {error}")))
}

fn view(namespace: &str, name: &str, state: &StoredTrigger) -> Result<v1::TriggerState, Status> {
    let exists = state.revision > 0;
    let pause = state.pause.clone().map(|pause| v1::TriggerPause {
        since: Some(to_proto::time(Timestamp(pause.since_ms))),
        principal: pause.principal,
        reason: pause.reason,
    });
    Ok(v1::TriggerState {
        trigger: Some(compiled(state)?.0),
        digest: resource::hex(&state.digest),
        created_by: state.created_by.clone(),
        created_at: exists.then(|| to_proto::time(Timestamp(state.created_at_ms))),
        applied_by: state.applied_by.clone(),
        applied_at: exists.then(|| to_proto::time(Timestamp(state.applied_at_ms))),
        pause,
        path: format!("/hooks/{namespace}/{name}"),
    })
}

fn change(namespace: &str, name: &str, who: Option<v1::Principal>, change: Change) -> SystemCommand {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    SystemCommand::ChangeTrigger(ChangeTrigger { namespace, name, principal: Some(principal(who)), change: Some(change) })
}

/// What a client says of itself is never verified.
fn principal(principal: Option<v1::Principal>) -> v1::Principal {
    to_proto::principal(&from_proto::principal(principal))
}

fn not_found(namespace: &str, name: &str) -> Status {
    let message = format!("there is no trigger {name:?} in namespace {namespace:?}");
    errors::status(Code::NotFound, reason::TRIGGER_NOT_FOUND, message)
}
