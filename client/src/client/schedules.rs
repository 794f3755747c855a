//! A typed method per RPC of schedules and triggers. Each fills in what requests leave out, and unwraps what is always there.

use quorus_proto::v1::{self, schedule_service_client::ScheduleServiceClient, trigger_service_client::TriggerServiceClient};
use tonic::{Code, transport::Channel};

use super::{Client, call::Answer};
use crate::{Error, MESSAGE_BYTES_MAX};

fn schedules(channel: Channel) -> ScheduleServiceClient<Channel> {
    ScheduleServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn triggers(channel: Channel) -> TriggerServiceClient<Channel> {
    TriggerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// When a try whose answer got lost is repeated, "not found" means that it had worked.
fn deleted<T: Default>(answer: Answer<T>) -> Result<T, Error> {
    match answer.result {
        Err(error) if answer.repeated && error.api().is_some_and(|error| error.code == Code::NotFound) => Ok(T::default()),
        result => result,
    }
}

impl Client {
    /// Makes or changes a schedule. Repeating it changes nothing.
    pub async fn apply_schedule(&self, mut request: v1::ApplyScheduleRequest) -> Result<v1::ApplyScheduleResponse, Error> {
        if let Some(schedule) = &mut request.schedule {
            self.fill_namespace(&mut schedule.metadata.get_or_insert_default().namespace);
        }
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { schedules(channel).apply_schedule(request).await }).await
    }

    /// Returns a schedule with what comes next and what came last.
    pub async fn get_schedule(&self, mut request: v1::GetScheduleRequest) -> Result<v1::ScheduleState, Error> {
        self.fill_namespace(&mut request.namespace);
        let answer = self.call(request, |channel, request| async move { schedules(channel).get_schedule(request).await }).await?;
        answer.schedule.ok_or(Error::Incomplete("schedule"))
    }

    /// Returns a page of the list of schedules.
    pub async fn list_schedules(&self, mut request: v1::ListSchedulesRequest) -> Result<v1::ListSchedulesResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { schedules(channel).list_schedules(request).await }).await
    }

    /// Deletes a schedule with its firings.
    pub async fn delete_schedule(&self, mut request: v1::DeleteScheduleRequest) -> Result<v1::DeleteScheduleResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let op = |channel, request| async move { schedules(channel).delete_schedule(request).await };
        deleted(self.call_noting_repeats(request, op).await)
    }

    /// Stops a schedule from firing. Repeating it changes nothing.
    pub async fn pause_schedule(&self, mut request: v1::PauseScheduleRequest) -> Result<v1::ScheduleState, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let answer = self.call(request, |channel, request| async move { schedules(channel).pause_schedule(request).await }).await?;
        answer.schedule.ok_or(Error::Incomplete("schedule"))
    }

    /// Goes on firing. Repeating it changes nothing.
    pub async fn resume_schedule(&self, mut request: v1::ResumeScheduleRequest) -> Result<v1::ScheduleState, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let answer = self.call(request, |channel, request| async move { schedules(channel).resume_schedule(request).await }).await?;
        answer.schedule.ok_or(Error::Incomplete("schedule"))
    }

    /// Fires now. Without a request id it makes one, so that its own repetitions fire once.
    pub async fn trigger_schedule(&self, mut request: v1::TriggerScheduleRequest) -> Result<v1::Firing, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        fill_request_id(&mut request.request_id);
        let answer = self.call(request, |channel, request| async move { schedules(channel).trigger_schedule(request).await }).await?;
        answer.firing.ok_or(Error::Incomplete("firing"))
    }

    /// Fires for each time of a range. Without a request id it makes one, so that its own repetitions fire once.
    pub async fn backfill_schedule(&self, mut request: v1::BackfillScheduleRequest) -> Result<v1::BackfillScheduleResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        fill_request_id(&mut request.request_id);
        self.call(request, |channel, request| async move { schedules(channel).backfill_schedule(request).await }).await
    }

    /// Returns a page of a schedule's firings, newest first.
    pub async fn list_firings(&self, mut request: v1::ListFiringsRequest) -> Result<v1::ListFiringsResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { schedules(channel).list_firings(request).await }).await
    }

    /// Makes or changes a trigger. Repeating it changes nothing.
    pub async fn apply_trigger(&self, mut request: v1::ApplyTriggerRequest) -> Result<v1::ApplyTriggerResponse, Error> {
        if let Some(trigger) = &mut request.trigger {
            self.fill_namespace(&mut trigger.metadata.get_or_insert_default().namespace);
        }
        self.fill_principal(&mut request.principal);
        self.call(request, |channel, request| async move { triggers(channel).apply_trigger(request).await }).await
    }

    /// Returns a trigger.
    pub async fn get_trigger(&self, mut request: v1::GetTriggerRequest) -> Result<v1::TriggerState, Error> {
        self.fill_namespace(&mut request.namespace);
        let answer = self.call(request, |channel, request| async move { triggers(channel).get_trigger(request).await }).await?;
        answer.trigger.ok_or(Error::Incomplete("trigger"))
    }

    /// Returns a page of the list of triggers.
    pub async fn list_triggers(&self, mut request: v1::ListTriggersRequest) -> Result<v1::ListTriggersResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { triggers(channel).list_triggers(request).await }).await
    }

    /// Deletes a trigger.
    pub async fn delete_trigger(&self, mut request: v1::DeleteTriggerRequest) -> Result<v1::DeleteTriggerResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let op = |channel, request| async move { triggers(channel).delete_trigger(request).await };
        deleted(self.call_noting_repeats(request, op).await)
    }

    /// Refuses events for now. Repeating it changes nothing.
    pub async fn pause_trigger(&self, mut request: v1::PauseTriggerRequest) -> Result<v1::TriggerState, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let answer = self.call(request, |channel, request| async move { triggers(channel).pause_trigger(request).await }).await?;
        answer.trigger.ok_or(Error::Incomplete("trigger"))
    }

    /// Takes events again. Repeating it changes nothing.
    pub async fn resume_trigger(&self, mut request: v1::ResumeTriggerRequest) -> Result<v1::TriggerState, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let answer = self.call(request, |channel, request| async move { triggers(channel).resume_trigger(request).await }).await?;
        answer.trigger.ok_or(Error::Incomplete("trigger"))
    }

    /// Shows what an event would start. Starts nothing.
    pub async fn test_trigger(&self, mut request: v1::TestTriggerRequest) -> Result<v1::TestTriggerResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        if let Some(trigger) = &mut request.trigger {
            self.fill_namespace(&mut trigger.metadata.get_or_insert_default().namespace);
        }
        self.call(request, |channel, request| async move { triggers(channel).test_trigger(request).await }).await
    }
}

fn fill_request_id(request_id: &mut String) {
    if request_id.is_empty() {
        *request_id = uuid::Uuid::new_v4().to_string();
    }
}
