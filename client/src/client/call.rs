//! One call, however many tries it takes.
//!
//! A try that ends without an answer (connection refused or lost, `UNAVAILABLE`, silence) is repeated on the next node. A node that is busy
//! and says when to come back is asked again then. Any other answer is final. The deadline of the whole call bounds everything.

use std::{error::Error as _, future::Future, sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::{Client, Retrying};
use crate::{
    ApiError, Error,
    backoff::{Backoff, Rotation},
    endpoint::Node,
    error::Advice,
};

const BACKOFF_INITIAL: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(1);

/// An answer, and whether an earlier try may have had its effect already.
pub(super) struct Answer<T> {
    pub(super) result: Result<T, Error>,
    pub(super) repeated: bool,
}

impl Client {
    /// Calls until there is an answer. Only for what can be repeated without harm.
    pub(super) async fn call<M, T, F>(&self, message: M, op: impl Fn(Channel, Request<M>) -> F) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_noting_repeats(message, op).await.result
    }

    /// Like [`Client::call`], and tells whether an earlier try may have had its effect.
    pub(super) async fn call_noting_repeats<M, T, F>(&self, message: M, op: impl Fn(Channel, Request<M>) -> F) -> Answer<T>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let begin = Instant::now();
        let deadline = begin + self.inner.options.timeout;
        let mut rotation = self.rotation();
        let mut repeated = false;
        let mut tries = 0;
        let mut last = None;
        loop {
            let index = rotation.index();
            let node = &self.inner.nodes[index];
            tries += 1;
            let error = match self.try_once(node, deadline, message.clone(), &op).await {
                Ok(answer) => {
                    self.inner.current.store(index, Ordering::Relaxed);
                    return Answer { result: Ok(answer), repeated };
                }
                Err(error) => error,
            };
            let delay = match error.advice() {
                Advice::GiveUp => return Answer { result: Err(Box::new(error).into()), repeated },
                Advice::SameNode(delay) => delay,
                Advice::OtherNode => rotation.failed(rand::random()),
            };
            repeated |= error.outcome_unknown();
            self.tell_of_retry(node, &error, begin);
            // Silence says less than any words that came before it.
            if last.is_none() || error.code != Code::DeadlineExceeded {
                last = Some(error);
            }
            if Instant::now() + delay >= deadline {
                return Answer { result: Err(self.out_of_time(tries, last)), repeated };
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// One try on one node. Silence becomes an error like those that the transport makes up.
    async fn try_once<M, T, F>(
        &self,
        node: &Node,
        deadline: Instant,
        message: M,
        op: &impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let until = deadline.min(Instant::now() + self.inner.options.try_timeout);
        let mut request = self.request(message);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        match timeout_at(until, op(node.channel(), request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            // The transport watches the same deadline and may be the first to notice.
            Ok(Err(status)) if is_timeout(&status) => Err(silence(node)),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(silence(node)),
        }
    }

    /// A request with the metadata that every call carries.
    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        // A trace context that is no valid header value is no trace context.
        if let Some(value) = self.inner.options.traceparent.as_deref().and_then(|text| text.parse().ok()) {
            request.metadata_mut().insert("traceparent", value);
        }
        request
    }

    pub(super) fn rotation(&self) -> Rotation {
        let backoff = Backoff::new(BACKOFF_INITIAL, BACKOFF_CAP);
        Rotation::new(self.inner.nodes.len(), self.inner.current.load(Ordering::Relaxed), backoff)
    }

    pub(super) fn tell_of_retry(&self, node: &Node, error: &ApiError, begin: Instant) {
        tracing::debug!(endpoint = node.address, %error, "trying again");
        if let Some(on_retry) = &self.inner.options.on_retry {
            on_retry(&Retrying { endpoint: &node.address, error, elapsed: begin.elapsed() });
        }
    }

    pub(super) fn out_of_time(&self, tries: u32, last: Option<ApiError>) -> Error {
        match last {
            Some(last) if last.code != Code::DeadlineExceeded => {
                Error::Unavailable { endpoints: self.endpoints(), tries, last: Box::new(last) }
            }
            _ => Error::TimedOut { endpoints: self.endpoints(), after: self.inner.options.timeout },
        }
    }
}

fn is_timeout(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

pub(super) fn silence(node: &Node) -> ApiError {
    ApiError {
        code: Code::DeadlineExceeded,
        reason: String::new(),
        message: format!("{} is silent", node.address),
        violations: Vec::new(),
        metadata: Default::default(),
        retry_after: None,
        from_transport: true,
    }
}
