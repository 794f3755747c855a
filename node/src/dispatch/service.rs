//! The gRPC side of links from other nodes' gateways.

use futures::{Stream, StreamExt};
use quorus_proto::peer::{LinkRequest, LinkResponse, dispatch_service_server::DispatchService};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Dispatcher, link};

/// Accepts links.
pub struct LinkService {
    dispatcher: Dispatcher,
}

impl LinkService {
    /// Accepts links for a dispatcher.
    pub fn new(dispatcher: Dispatcher) -> Self {
        Self { dispatcher }
    }
}

#[tonic::async_trait]
impl DispatchService for LinkService {
    type LinkStream = std::pin::Pin<Box<dyn Stream<Item = Result<LinkResponse, Status>> + Send>>;

    async fn link(&self, request: Request<Streaming<LinkRequest>>) -> Result<Response<Self::LinkStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        // The first error ends the link: its gateway opens a new one and tells everything again.
        let requests =
            request.into_inner().take_while(|item| std::future::ready(item.is_ok())).filter_map(|item| std::future::ready(item.ok()));
        tokio::spawn(link::serve(self.dispatcher.clone(), requests, sender));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver).map(Ok))))
    }
}
