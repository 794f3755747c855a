//! Concurrency keys that are held, from this node's copy of group 0.

use std::sync::Arc;

use quorus_proto::v1::{self, concurrency_service_server::ConcurrencyService};
use tonic::{Request, Response, Status};

use super::{ApiContext, errors, limits, to_proto};
use crate::system::{SlotKey, SlotRun};

/// Holders and waiters shown of each key.
const SHOWN_MAX: usize = 10;

/// Serves operators.
pub struct ConcurrencyKeys {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl ConcurrencyService for ConcurrencyKeys {
    async fn list_concurrency(
        &self,
        request: Request<v1::ListConcurrencyRequest>,
    ) -> Result<Response<v1::ListConcurrencyResponse>, Status> {
        let v1::ListConcurrencyRequest { mut namespace, workflow, page_size, page_token } = request.into_inner();
        let _permit = self.context.admission.read()?;
        if namespace.is_empty() {
            namespace = quorus_spec::DEFAULT_NAMESPACE.to_owned();
        }
        let after = match page_token.split_once('\n') {
            Some((workflow, key)) => Some(SlotKey { namespace: namespace.clone(), workflow: workflow.to_owned(), key: key.to_owned() }),
            None if page_token.is_empty() => None,
            None => return Err(errors::invalid(vec![("page_token".into(), "is not one that a list returned".into())])),
        };
        let limit = limits::page_size(page_size);
        let system = &self.context.system;
        let internal = |error: crate::store::StoreError| errors::internal(&error);
        let used = system.slot_keys(&namespace, &workflow, after.as_ref(), limit).map_err(internal)?;
        let next_page_token = match used.last() {
            Some(last) if used.len() == limit => format!("{}\n{}", last.key.workflow, last.key.key),
            _ => String::new(),
        };
        let mut keys = Vec::with_capacity(used.len());
        for used in used {
            let holders = system.slot_holders(&used.key, SHOWN_MAX).map_err(internal)?;
            let waiters = system.slot_waiters(&used.key, SHOWN_MAX).map_err(internal)?;
            keys.push(v1::ConcurrencyKey {
                namespace: used.key.namespace,
                workflow: used.key.workflow,
                key: used.key.key,
                limit: used.limit,
                held: used.held,
                waiting: used.waiting,
                holders: holders.into_iter().map(run).collect(),
                waiters: waiters.into_iter().map(run).collect(),
            });
        }
        Ok(Response::new(v1::ListConcurrencyResponse { keys, next_page_token }))
    }
}

fn run(run: SlotRun) -> v1::ConcurrencyRun {
    v1::ConcurrencyRun { run_id: run.run_id, run_uid: run.uid.to_string(), since: Some(to_proto::time(run.since)) }
}
