//! Limits and breakers: definitions from group 0, their use from its leader.

use std::sync::Arc;

use quorus_proto::v1::{self, limit_service_server::LimitService};
use tonic::{Code, Request, Response, Status};

use super::{ApiContext, errors, errors::reason, forward::Journey, from_proto, to_proto};
use crate::{
    limits::LimitSpec,
    system::{FlowAnswer, FlowCommand, SystemAnswer, SystemCommand},
};

/// Serves operators.
pub struct Limits {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl LimitService for Limits {
    async fn apply_limit(&self, request: Request<v1::ApplyLimitRequest>) -> Result<Response<v1::ApplyLimitResponse>, Status> {
        let journey = Journey::of(&request);
        let v1::ApplyLimitRequest { limit, principal } = request.into_inner();
        let _permit = self.context.admission.change()?;
        let limit = limit.ok_or_else(|| errors::invalid(vec![("limit".into(), "is required".into())]))?;
        let problems = LimitSpec::problems(&limit);
        if !problems.is_empty() {
            return Err(errors::invalid(problems));
        }
        let limit = LimitSpec::from_proto(limit).map_err(|error| errors::invalid(vec![("limit".into(), error.to_string())]))?;
        let (changed, revision) =
            self.change(&journey, FlowCommand::PutLimit { limit, principal: from_proto::principal(principal) }).await?;
        Ok(Response::new(v1::ApplyLimitResponse { changed, revision }))
    }

    async fn delete_limit(&self, request: Request<v1::DeleteLimitRequest>) -> Result<Response<v1::DeleteLimitResponse>, Status> {
        let journey = Journey::of(&request);
        let v1::DeleteLimitRequest { name, principal } = request.into_inner();
        let _permit = self.context.admission.change()?;
        let command = FlowCommand::DeleteLimit { name: name.clone(), principal: from_proto::principal(principal) };
        let (existed, revision) = self.change(&journey, command).await?;
        if existed { Ok(Response::new(v1::DeleteLimitResponse { revision })) } else { Err(not_found(&name)) }
    }

    async fn list_limits(&self, request: Request<v1::ListLimitsRequest>) -> Result<Response<v1::ListLimitsResponse>, Status> {
        let name = request.into_inner().name;
        let _permit = self.context.admission.read()?;
        if !name.is_empty() {
            self.exists(&name).await?;
        }
        let flow = self.context.system.flow();
        // What is defined can be told without the keeper; what is in use can't.
        let mut uses = self.context.permits.inspect(&name).await.unwrap_or_default();
        let limits = flow.limits.values().filter(|stored| name.is_empty() || stored.limit.name == name);
        let limits = limits.map(|stored| v1::LimitStatus {
            limit: Some(stored.limit.to_proto()),
            uses: uses.remove(&stored.limit.name).unwrap_or_default(),
            changed_at: Some(to_proto::time(stored.changed_at)),
            changed_by: Some(to_proto::principal(&stored.changed_by)),
        });
        Ok(Response::new(v1::ListLimitsResponse { limits: limits.collect() }))
    }

    async fn reset_breaker(&self, request: Request<v1::ResetBreakerRequest>) -> Result<Response<v1::ResetBreakerResponse>, Status> {
        let v1::ResetBreakerRequest { name, key, principal } = request.into_inner();
        let _permit = self.context.admission.change()?;
        self.exists(&name).await?;
        let reset = self.context.permits.reset(&name, &key).await?;
        let subject = from_proto::principal(principal).subject;
        tracing::info!(limit = %name, %key, by = %subject, reset, "breakers were reset");
        Ok(Response::new(v1::ResetBreakerResponse { reset }))
    }
}

impl Limits {
    /// NOT_FOUND is said only from a copy that is surely not behind.
    async fn exists(&self, name: &str) -> Result<(), Status> {
        if self.context.system.flow().limits.contains_key(name) {
            return Ok(());
        }
        self.context.system_group()?.read_barrier().await.map_err(|_| errors::no_leader(0))?;
        if self.context.system.flow().limits.contains_key(name) { Ok(()) } else { Err(not_found(name)) }
    }

    async fn change(&self, journey: &Journey, command: FlowCommand) -> Result<(bool, u64), Status> {
        match self.context.port.propose_for(journey, &SystemCommand::Flow(command)).await? {
            SystemAnswer::Flow(FlowAnswer::Changed { changed, revision, .. }) => Ok((changed, revision)),
            _ => Err(errors::outcome_unknown()),
        }
    }
}

fn not_found(name: &str) -> Status {
    errors::status(Code::NotFound, reason::LIMIT_NOT_FOUND, format!("there is no limit {name:?}"))
}
