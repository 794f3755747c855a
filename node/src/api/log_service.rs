//! Lines that steps wrote: each node has those of the workers that were here, so all are asked.

use std::sync::Arc;

use quorus_engine::RunUid;
use quorus_proto::v1::{self, log_service_client::LogServiceClient, log_service_server::LogService};
use tonic::{Request, Response, Status, transport::Channel};

use super::{ApiContext, MESSAGE_BYTES_MAX, errors, fan_out::ask_others, forward::Journey};

/// Text of an answer of one node; all together have to fit into a message with what surrounds them.
const NODE_BYTES_MAX: usize = 512 * 1024;

/// Serves people.
pub struct StepLines {
    pub(crate) context: Arc<ApiContext>,
}

fn client(channel: Channel) -> LogServiceClient<Channel> {
    LogServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl LogService for StepLines {
    async fn get_run_logs(&self, request: Request<v1::GetRunLogsRequest>) -> Result<Response<v1::GetRunLogsResponse>, Status> {
        let journey = Journey::of(&request);
        let message = request.into_inner();
        let _permit = self.context.admission.read()?;
        let malformed = |_| errors::invalid(vec![("run_uid".to_owned(), "has 32 hexadecimal digits".to_owned())]);
        let uid = u128::from_str_radix(&message.run_uid, 16).map(RunUid).map_err(malformed)?;
        let (logs, node, step) = (self.context.gateway.logs().clone(), self.context.node_id, message.step.clone());
        let here = tokio::task::spawn_blocking(move || logs.read(uid, &step, node, NODE_BYTES_MAX));
        let there = |channel| {
            let request = journey.onward(message.clone());
            async move { client(channel).get_run_logs(request).await }
        };
        let (here, (others, missing_nodes)) = tokio::join!(here, ask_others(&self.context, &journey, there));
        let (lines, truncated) = here.map_err(|error| errors::internal(&error))?.map_err(|error| errors::internal(&error))?;
        let mut answer = v1::GetRunLogsResponse { lines, missing_nodes, truncated };
        for other in others {
            answer.lines.extend(other.lines);
            answer.truncated |= other.truncated;
        }
        answer.lines.sort_by(|a, b| (a.time_ms, a.node, &a.step, a.position).cmp(&(b.time_ms, b.node, &b.step, b.position)));
        Ok(Response::new(answer))
    }
}
