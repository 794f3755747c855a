//! A typed method per RPC of IndexService.

use quorus_proto::v1::{self, index_service_client::IndexServiceClient};
use tonic::{Code, transport::Channel};

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

fn index(channel: Channel) -> IndexServiceClient<Channel> {
    IndexServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Client {
    /// Counts runs that meet a filter.
    pub async fn count_runs(&self, mut request: v1::CountRunsRequest) -> Result<v1::CountRunsResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { index(channel).count_runs(request).await }).await
    }

    /// Removes an ended run. When a try whose answer got lost is repeated, "not found" means that it had worked.
    pub async fn purge_run(&self, mut request: v1::PurgeRunRequest) -> Result<v1::PurgeRunResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let run_uid = request.run_uid.clone();
        let answer = self.call_noting_repeats(request, |channel, request| async move { index(channel).purge_run(request).await }).await;
        match answer.result {
            Err(error) if answer.repeated && error.api().is_some_and(|error| error.code == Code::NotFound) => {
                Ok(v1::PurgeRunResponse { run_uid })
            }
            result => result,
        }
    }

    /// Returns a page of what needs a person.
    pub async fn list_dead_letters(&self, mut request: v1::ListDeadLettersRequest) -> Result<v1::ListDeadLettersResponse, Error> {
        self.fill_namespace(&mut request.namespace);
        self.call(request, |channel, request| async move { index(channel).list_dead_letters(request).await }).await
    }

    /// Settles an item that failed for good. When a try whose answer got lost is repeated, "no dead letter" means that it had worked.
    pub async fn discard_dead_letter(&self, mut request: v1::DiscardDeadLetterRequest) -> Result<(), Error> {
        self.fill_namespace(&mut request.namespace);
        self.fill_principal(&mut request.principal);
        let op = |channel, request| async move { index(channel).discard_dead_letter(request).await };
        let answer = self.call_noting_repeats(request, op).await;
        match answer.result {
            Err(error) if answer.repeated && error.reason() == "NO_DEAD_LETTER" => Ok(()),
            result => result.map(|_| ()),
        }
    }
}
