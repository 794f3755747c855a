//! A node's own replica of a shard. Not a call of a [`super::Client`]: such a call goes to any node, and this one is about a certain one.

use quorus_proto::v1::{ExportReplicaRequest, ExportReplicaResponse, audit_service_client::AuditServiceClient};
use tonic::Streaming;

use crate::{Error, MESSAGE_BYTES_MAX, endpoint::Node};

/// Asks one node for its own replica of a shard. Nothing is tried again: an export that broke off is worth nothing.
///
/// # Errors
/// If the node does not answer, or has no replica of the shard (reason `REPLICA_NOT_FOUND`).
pub async fn export_replica(endpoint: &str, shard: u32) -> Result<Streaming<ExportReplicaResponse>, Error> {
    let channel = Node::parse(endpoint)?.channel();
    let mut service = AuditServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(service.export_replica(ExportReplicaRequest { shard }).await?.into_inner())
}
