//! This node's own replicas, for those who compare nodes with each other.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use quorus_proto::v1::{self, audit_service_server::AuditService};
use tonic::{Code, Request, Response, Status};

use super::{
    ApiContext, ExportError, Progress, ReplicaExport,
    errors::{self, reason},
};

/// Serves auditors.
pub struct Audit {
    pub(crate) context: Arc<ApiContext>,
}

#[tonic::async_trait]
impl AuditService for Audit {
    type ExportReplicaStream = Pin<Box<dyn Stream<Item = Result<v1::ExportReplicaResponse, Status>> + Send>>;

    async fn export_replica(&self, request: Request<v1::ExportReplicaRequest>) -> Result<Response<Self::ExportReplicaStream>, Status> {
        let context = &self.context;
        let permit = context.admission.export()?;
        let shard = request.into_inner().shard;
        let export =
            ReplicaExport::open(context.disk.clone(), context.plans.clone(), context.node_id, shard).map_err(|error| refused(&error))?;
        let stream = futures::stream::try_unfold((export, permit), |(mut export, permit)| async move {
            loop {
                match export.step().map_err(|error| refused(&error))? {
                    // A step reads a bounded piece: whoever else has something to do on this thread goes between. The stream is pulled, so a
                    // reader that is slow costs one piece of memory.
                    Progress::Working => tokio::task::yield_now().await,
                    Progress::Part(part) => return Ok(Some((part, (export, permit)))),
                    Progress::Done => return Ok(None),
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

fn refused(error: &ExportError) -> Status {
    match error {
        ExportError::NoReplica { .. } => errors::status(Code::NotFound, reason::REPLICA_NOT_FOUND, error.to_string()),
        ExportError::Raft(quorus_raft::Error::Installing { group }) => errors::no_leader(*group),
        ExportError::Raft(_) | ExportError::Store(_) => errors::internal(error),
    }
}
