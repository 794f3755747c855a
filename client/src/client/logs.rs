//! Lines that steps wrote.

use quorus_proto::v1::{self, log_service_client::LogServiceClient};

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

impl Client {
    /// Returns the lines that a run's steps wrote, from all nodes that answer.
    pub async fn get_run_logs(&self, request: v1::GetRunLogsRequest) -> Result<v1::GetRunLogsResponse, Error> {
        self.call(request, |channel, request| async move {
            LogServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).get_run_logs(request).await
        })
        .await
    }
}
