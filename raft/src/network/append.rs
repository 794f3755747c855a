//! Pipelined appends to one replica.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt};
use openraft::{errors::RPCError, raft::StreamAppendResult};
use quorus_proto::peer::{raft_call::Call, raft_reply::Reply};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};

use super::{
    client::rpc_error,
    convert,
    link::{Answer, CallError, Link, Target},
};
use crate::types::{AppendRequest, Types};

/// Appends that are under way at the same time, to one replica of one group.
const WINDOW_CALLS: usize = 64;

/// Their bytes, about. The connection's window is larger.
const WINDOW_BYTES: usize = 4 << 20;

/// Sends what openraft wants to append as fast as the window allows, and yields the answers in order.
///
/// It polls the requests itself instead of handing them to a task: openraft reuses the source of the requests as soon as this stream is dropped.
pub(super) struct AppendSession<S> {
    requests: S,
    exhausted: bool,
    link: Arc<Link>,
    target: Target,
    session: u64,
    patience: Duration,
    answers_in: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
    under_way: VecDeque<UnderWay>,
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
    ended: bool,
}

struct UnderWay {
    id: u64,
    bytes: usize,
    sent: Instant,
}

impl<S> AppendSession<S> {
    pub(super) fn new(requests: S, link: Arc<Link>, target: Target, session: u64, patience: Duration) -> Self {
        let (answers_in, answers) = mpsc::unbounded_channel();
        Self {
            requests,
            exhausted: false,
            link,
            target,
            session,
            patience,
            answers_in,
            answers,
            under_way: VecDeque::new(),
            bytes: 0,
            deadline: Box::pin(tokio::time::sleep(patience)),
            ended: false,
        }
    }

    fn send(&mut self, request: &AppendRequest) {
        let append = convert::append_to_proto(request, self.session);
        let bytes = append.entries.iter().map(bytes::Bytes::len).sum();
        let id = self.link.send_in_session(self.target, Call::Append(append), &self.answers_in);
        let sent = Instant::now();
        if self.under_way.is_empty() {
            self.deadline.as_mut().reset(sent + self.patience);
        }
        self.bytes += bytes;
        self.under_way.push_back(UnderWay { id, bytes, sent });
    }

    fn take(&mut self, (id, result): Answer) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        let answered = self.under_way.pop_front();
        if let Some(answered) = &answered {
            self.bytes -= answered.bytes;
        }
        if let Some(next) = self.under_way.front() {
            self.deadline.as_mut().reset(next.sent + self.patience);
        }
        let result = match result {
            Ok(Reply::Appended(appended)) if answered.is_some_and(|answered| answered.id == id) => {
                convert::appended_from_proto(&appended).ok_or_else(|| CallError::Refused("an answer that makes no sense".to_owned()))
            }
            Ok(_) => Err(CallError::Refused("an answer to something else".to_owned())),
            Err(error) => Err(error),
        };
        self.ended = !matches!(result, Ok(Ok(_)));
        result.map_err(|error| rpc_error(&error))
    }
}

impl<S: Stream<Item = AppendRequest> + Unpin> Stream for AppendSession<S> {
    type Item = Result<StreamAppendResult<Types>, RPCError<Types>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        while !this.exhausted && this.under_way.len() < WINDOW_CALLS && this.bytes < WINDOW_BYTES {
            match this.requests.poll_next_unpin(context) {
                Poll::Ready(Some(request)) => this.send(&request),
                Poll::Ready(None) => this.exhausted = true,
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Some(answer)) = this.answers.poll_recv(context) {
            return Poll::Ready(Some(this.take(answer)));
        }
        match this.under_way.front() {
            None if this.exhausted => Poll::Ready(None),
            None => Poll::Pending,
            Some(oldest) => {
                let sent = oldest.sent;
                if this.deadline.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                this.ended = true;
                this.link.suspect(sent);
                Poll::Ready(Some(Err(rpc_error(&CallError::TimedOut))))
            }
        }
    }
}
