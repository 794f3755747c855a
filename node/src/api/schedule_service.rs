//! Schedules: apply, read, list, delete, pause, resume, fire, backfill. Changes go to the system group's leader, which also fires.

use std::sync::Arc;

use quorus_engine::Timestamp;
use quorus_proto::{
    log::{
        ApplySchedule, BackfillSchedule, ChangeSchedule, DeleteSchedule, FireSchedule, PauseSchedule, ResumeSchedule, ScheduleChanged,
        ScheduleRange, StoredSchedule, change_schedule::Change, schedule_changed::Verdict,
    },
    v1::{self, OverlapPolicy, schedule_service_client::ScheduleServiceClient, schedule_service_server::ScheduleService},
};
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::{
    ApiContext, MESSAGE_BYTES_MAX, errors,
    errors::reason,
    forward::{self, Journey},
    from_proto, limits,
    schedule_view::{NEXT_DEFAULT, NEXT_MAX, local_times, millis, view},
    system_change::{named, propose, refused},
};
use crate::{
    resource,
    schedules::{
        decide,
        definition::{self, Definition},
    },
    system::{ScheduleKey, SystemAnswer, SystemCommand},
};

/// So many times a backfill may have.
const BACKFILL_TIMES_MAX: u64 = 10_000;

/// Serves schedules.
pub struct Schedules {
    pub(crate) context: Arc<ApiContext>,
}

fn client(channel: Channel) -> ScheduleServiceClient<Channel> {
    ScheduleServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Has a request answered by the leader of the system group: here, or by the same call there.
macro_rules! by_leader {
    ($self:ident, $journey:ident, $message:ident, $method:ident, $here:expr) => {{
        let group = $self.context.system_group()?;
        let here = || async { $here(&group).await };
        let there = |channel| async { Ok(client(channel).$method($journey.onward($message.clone())).await?.into_inner()) };
        forward::by_leader($self.context.way_with_room(&group), &$journey, true, here, there).await.map(Response::new)
    }};
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn apply_schedule(&self, request: Request<v1::ApplyScheduleRequest>) -> Result<Response<v1::ApplyScheduleResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.into_inner();
        let _permit = self.context.admission.change()?;
        let mut schedule = message.schedule.clone().unwrap_or_default();
        let definition = definition::compile(&schedule).map_err(|problems| refused(&problems))?;
        if let Some(problem) = definition::never_fires(&schedule, &definition, self.context.clock.now()) {
            return Err(refused(&[problem]));
        }
        let metadata = schedule.metadata.get_or_insert_default();
        named(&mut metadata.namespace, &metadata.name)?;
        let key = ScheduleKey::new(&metadata.namespace, &metadata.name);
        let warnings = self.warnings(&key, &definition)?;
        let (bytes, digest) = definition::canonical(&schedule);
        if message.dry_run {
            let known = self.fresh(&key).await?;
            let changed = known.as_ref().is_none_or(|known| known.digest != digest);
            let state = StoredSchedule { definition: bytes, digest, ..known.unwrap_or_default() };
            let schedule = Some(view(&self.context, &key, &state, message.next, 0)?);
            return Ok(Response::new(v1::ApplyScheduleResponse { schedule, changed, warnings }));
        }
        let principal = Some(principal(message.principal.clone()));
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        let command = SystemCommand::ApplySchedule(ApplySchedule { namespace, name, definition: bytes, digest, principal });
        by_leader!(self, journey, message, apply_schedule, async |group| {
            let answer = match self.ask(group, &key, &command).await? {
                Ok(answer) => answer,
                Err(status) => return Some(Err(status)),
            };
            let schedule = view(&self.context, &key, &answer.state.clone().unwrap_or_default(), message.next, 0);
            let changed = answer.verdict() == Verdict::Changed;
            Some(schedule.map(|schedule| v1::ApplyScheduleResponse { schedule: Some(schedule), changed, warnings: warnings.clone() }))
        })
    }

    async fn get_schedule(&self, request: Request<v1::GetScheduleRequest>) -> Result<Response<v1::GetScheduleResponse>, Status> {
        let v1::GetScheduleRequest { mut namespace, name, next } = request.into_inner();
        named(&mut namespace, &name)?;
        let _permit = self.context.admission.read()?;
        let key = ScheduleKey::new(namespace, name);
        let state = self.existing(&key).await?;
        let schedule = Some(view(&self.context, &key, &state, next, limits::RECENT)?);
        Ok(Response::new(v1::GetScheduleResponse { schedule }))
    }

    async fn list_schedules(&self, request: Request<v1::ListSchedulesRequest>) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let v1::ListSchedulesRequest { mut namespace, page_size, page_token } = request.into_inner();
        named(&mut namespace, "any")?;
        let _permit = self.context.admission.read()?;
        let after = Some(page_token.as_str()).filter(|token| !token.is_empty());
        let page = self
            .context
            .system
            .list_schedules(&namespace, after, limits::page_size(page_size))
            .map_err(|error| errors::internal(&error))?;
        let one = |(name, state): &(String, StoredSchedule)| view(&self.context, &ScheduleKey::new(&namespace, name), state, 1, 1);
        let schedules = page.schedules.iter().map(one).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListSchedulesResponse { schedules, next_page_token: page.next.unwrap_or_default() }))
    }

    async fn delete_schedule(&self, request: Request<v1::DeleteScheduleRequest>) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        let _permit = self.context.admission.change()?;
        let key = ScheduleKey::new(&message.namespace, &message.name);
        let command = change(&key, message.principal.clone(), Change::Delete(DeleteSchedule {}));
        let group = self.context.system_group()?;
        let here = || async {
            let answer = self.ask(&group, &key, &command).await?;
            Some(answer.map(|_| v1::DeleteScheduleResponse {}))
        };
        let there = |channel| async { Ok(client(channel).delete_schedule(journey.onward(message.clone())).await?.into_inner()) };
        // A deletion that is repeated finds nothing to delete, so the caller must know that its outcome was unknown.
        forward::by_leader(self.context.way_with_room(&group), &journey, false, here, there).await.map(Response::new)
    }

    async fn pause_schedule(&self, request: Request<v1::PauseScheduleRequest>) -> Result<Response<v1::PauseScheduleResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        let _permit = self.context.admission.change()?;
        let key = ScheduleKey::new(&message.namespace, &message.name);
        let command = change(&key, message.principal.clone(), Change::Pause(PauseSchedule { reason: message.reason.clone() }));
        by_leader!(self, journey, message, pause_schedule, async |group| {
            let schedule = self.changed(group, &key, &command).await?;
            Some(schedule.map(|schedule| v1::PauseScheduleResponse { schedule: Some(schedule) }))
        })
    }

    async fn resume_schedule(&self, request: Request<v1::ResumeScheduleRequest>) -> Result<Response<v1::ResumeScheduleResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        let _permit = self.context.admission.change()?;
        let key = ScheduleKey::new(&message.namespace, &message.name);
        let command = change(&key, message.principal.clone(), Change::Resume(ResumeSchedule {}));
        by_leader!(self, journey, message, resume_schedule, async |group| {
            let schedule = self.changed(group, &key, &command).await?;
            Some(schedule.map(|schedule| v1::ResumeScheduleResponse { schedule: Some(schedule) }))
        })
    }

    async fn trigger_schedule(
        &self,
        request: Request<v1::TriggerScheduleRequest>,
    ) -> Result<Response<v1::TriggerScheduleResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        fill_request_id(&mut message.request_id)?;
        let _permit = self.context.admission.change()?;
        let key = ScheduleKey::new(&message.namespace, &message.name);
        by_leader!(self, journey, message, trigger_schedule, async |group| {
            let policy = match self.policy(&key, message.overlap) {
                Ok(policy) => policy,
                Err(status) => return Some(Err(status)),
            };
            let fire = FireSchedule {
                request_id: format!("fire:{}", message.request_id),
                run_id: decide::manual_run_id(&key.name, &message.request_id),
                overlap: policy.into(),
            };
            let answer = self.ask(group, &key, &change(&key, message.principal.clone(), Change::Fire(fire))).await?;
            Some(answer.map(|answer| v1::TriggerScheduleResponse { firing: answer.firing }))
        })
    }

    async fn backfill_schedule(
        &self,
        request: Request<v1::BackfillScheduleRequest>,
    ) -> Result<Response<v1::BackfillScheduleResponse>, Status> {
        let journey = Journey::of(&request);
        let mut message = request.into_inner();
        named(&mut message.namespace, &message.name)?;
        fill_request_id(&mut message.request_id)?;
        let _permit = self.context.admission.change()?;
        let key = ScheduleKey::new(&message.namespace, &message.name);
        let (after, until) = self.range(&message)?;
        let definition = compiled(&self.existing(&key).await?)?;
        let (count, times) = times_of(&definition, after, until)?;
        let answer = v1::BackfillScheduleResponse { count, times };
        if message.dry_run || count == 0 {
            return Ok(Response::new(answer));
        }
        let range = ScheduleRange {
            id: decide::backfill_id(&message.request_id),
            done_until_ms: after.0,
            until_ms: until.0,
            overlap: match message.overlap() {
                OverlapPolicy::Unspecified => OverlapPolicy::Allow.into(),
                policy => policy.into(),
            },
            principal: Some(principal(message.principal.clone())),
        };
        let backfill = BackfillSchedule { request_id: format!("backfill:{}", message.request_id), range: Some(range) };
        let command = change(&key, message.principal.clone(), Change::Backfill(backfill));
        by_leader!(self, journey, message, backfill_schedule, async |group| {
            let changed = self.ask(group, &key, &command).await?;
            Some(changed.map(|_| answer.clone()))
        })
    }

    async fn list_firings(&self, request: Request<v1::ListFiringsRequest>) -> Result<Response<v1::ListFiringsResponse>, Status> {
        let v1::ListFiringsRequest { mut namespace, name, statuses, page_size, page_token } = request.into_inner();
        named(&mut namespace, &name)?;
        let _permit = self.context.admission.read()?;
        let before = match page_token.as_str() {
            "" => u64::MAX,
            token => token.parse().map_err(|_| errors::invalid(vec![("page_token".into(), "is not from an answer".into())]))?,
        };
        let key = ScheduleKey::new(namespace, name);
        self.existing(&key).await?;
        let limit = limits::page_size(page_size);
        let mut firings: Vec<v1::Firing> = Vec::new();
        let mut more = false;
        let visitor = |firing: v1::Firing| {
            if statuses.is_empty() || statuses.contains(&firing.status) {
                if firings.len() == limit {
                    more = true;
                    return false;
                }
                firings.push(firing);
            }
            true
        };
        self.context.system.visit_firings(&key, before, visitor).map_err(|error| errors::internal(&error))?;
        let next_page_token = firings.last().filter(|_| more).map(|last| last.number.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListFiringsResponse { firings, next_page_token }))
    }
}

impl Schedules {
    /// Proposes a change and says no where there is nothing to change.
    async fn ask(
        &self,
        group: &quorus_raft::Group,
        key: &ScheduleKey,
        command: &SystemCommand,
    ) -> Option<Result<Box<ScheduleChanged>, Status>> {
        Some(match propose(&self.context, group, command).await? {
            Ok(SystemAnswer::Schedule(changed)) => match changed.verdict() {
                Verdict::Unknown => Err(not_found(key)),
                Verdict::Full => Err(errors::overloaded("firings and backfills of this schedule")),
                Verdict::Changed | Verdict::Unchanged | Verdict::Stale | Verdict::Unspecified => Ok(changed),
            },
            Ok(_) => Err(errors::outcome_unknown()),
            Err(status) => Err(status),
        })
    }

    /// The same, for changes that are answered with the schedule.
    async fn changed(
        &self,
        group: &quorus_raft::Group,
        key: &ScheduleKey,
        command: &SystemCommand,
    ) -> Option<Result<v1::ScheduleState, Status>> {
        let answer = self.ask(group, key, command).await?;
        Some(answer.and_then(|answer| view(&self.context, key, &answer.state.unwrap_or_default(), NEXT_DEFAULT, limits::RECENT)))
    }

    fn find(&self, key: &ScheduleKey) -> Result<Option<StoredSchedule>, Status> {
        self.context.system.schedule(key).map_err(|error| errors::internal(&error))
    }

    /// A schedule as a quorum knows it.
    async fn fresh(&self, key: &ScheduleKey) -> Result<Option<StoredSchedule>, Status> {
        self.context.system_group()?.read_barrier().await.map_err(|_| errors::no_leader(0))?;
        self.find(key)
    }

    async fn existing(&self, key: &ScheduleKey) -> Result<StoredSchedule, Status> {
        self.fresh(key).await?.ok_or_else(|| not_found(key))
    }

    /// The policy of a firing that somebody asks for: theirs, or the schedule's.
    fn policy(&self, key: &ScheduleKey, asked: i32) -> Result<OverlapPolicy, Status> {
        match OverlapPolicy::try_from(asked) {
            Ok(OverlapPolicy::Unspecified) => Ok(compiled(&self.find(key)?.ok_or_else(|| not_found(key))?)?.overlap),
            Ok(policy) => Ok(policy),
            Err(_) => Err(errors::invalid(vec![("overlap".into(), "is not a policy that this version knows".into())])),
        }
    }

    /// Times after the first and up to the second are meant.
    fn range(&self, message: &v1::BackfillScheduleRequest) -> Result<(Timestamp, Timestamp), Status> {
        let (Some(from), Some(until)) = (&message.from, &message.until) else {
            return Err(errors::invalid(vec![("from".into(), "`from` and `until` are required".into())]));
        };
        let (from, until) = (Timestamp(millis(from)), Timestamp(millis(until)));
        let mut violations = Vec::new();
        if from > until {
            violations.push(("until".to_owned(), "is before `from`".to_owned()));
        }
        if until > self.context.clock.now() {
            violations.push(("until".to_owned(), "is in the future; what is to come fires by itself".to_owned()));
        }
        if OverlapPolicy::try_from(message.overlap).is_err() {
            violations.push(("overlap".to_owned(), "is not a policy that this version knows".to_owned()));
        }
        if violations.is_empty() { Ok((Timestamp(from.0 - 1), until)) } else { Err(errors::invalid(violations)) }
    }

    fn warnings(&self, key: &ScheduleKey, definition: &Definition) -> Result<Vec<v1::Problem>, Status> {
        let run = &definition.run;
        let known = self.context.system.workflow(&key.namespace, &run.workflow, run.workflow_version);
        if known.map_err(|error| errors::internal(&error))?.is_some() {
            return Ok(Vec::new());
        }
        let problem = quorus_spec::Problem::error(
            "spec.run.workflow",
            "unknown-workflow",
            format!("workflow `{}` is not applied yet; firings fail until it is", run.workflow),
        );
        Ok(vec![v1::Problem { warning: true, ..resource::wire(problem) }])
    }
}

fn compiled(state: &StoredSchedule) -> Result<Definition, Status> {
    let (_, definition) = definition::decode(state.definition.clone())
        .map_err(|error| errors::status(Code::Internal, reason::INTERNAL, format!("the definition can't be read: {error}")))?;
    Ok(definition)
}

/// How many times a range has, and the first of them.
fn times_of(definition: &Definition, after: Timestamp, until: Timestamp) -> Result<(u64, Vec<v1::ScheduleTime>), Status> {
    let count = definition.timing.span(after, until, BACKFILL_TIMES_MAX + 1).map_or(0, |(_, count)| count);
    if count > BACKFILL_TIMES_MAX {
        let message = format!("has more than {BACKFILL_TIMES_MAX} times; make up for it in parts");
        return Err(errors::invalid(vec![("until".into(), message)]));
    }
    Ok((count, local_times(definition, 0, after, NEXT_MAX, Some(until))))
}

fn change(key: &ScheduleKey, who: Option<v1::Principal>, change: Change) -> SystemCommand {
    let (namespace, name) = (key.namespace.clone(), key.name.clone());
    SystemCommand::ChangeSchedule(ChangeSchedule { namespace, name, principal: Some(principal(who)), change: Some(change) }.into())
}

/// What a client says of itself is never verified.
fn principal(principal: Option<v1::Principal>) -> v1::Principal {
    super::to_proto::principal(&from_proto::principal(principal))
}

fn fill_request_id(request_id: &mut String) -> Result<(), Status> {
    if request_id.is_empty() {
        *request_id = uuid::Uuid::new_v4().to_string();
    }
    if request_id.len() > limits::NAME_CHARS_MAX {
        return Err(errors::invalid(vec![("request_id".into(), "has at most 200 characters".into())]));
    }
    Ok(())
}

fn not_found(key: &ScheduleKey) -> Status {
    let message = format!("there is no schedule {:?} in namespace {:?}", key.name, key.namespace);
    errors::status(Code::NotFound, reason::SCHEDULE_NOT_FOUND, message)
}
