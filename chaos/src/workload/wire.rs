//! A client that makes every attempt by hand, so that what it knows is exactly what it was told.
//!
//! An attempt ends with an answer, with a refusal for good, or with nothing certain: a timeout, a lost connection, `UNAVAILABLE`, `CANCELLED` and
//! `DEADLINE_EXCEEDED` may have been executed, now or later. After nothing certain the same request, under the same id, goes to another node. Once one
//! attempt was uncertain, no later refusal makes the call a refused one: only an answer makes it certain.

use std::{future::Future, sync::Arc, time::Duration};

use quorus_client::{ApiError, v1};
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::{random::Rng, recorder::Recorder, site::Site};
use crate::record::{Answer, Call, Ending};

/// How long calls are tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One attempt.
    pub attempt: Duration,
    /// Attempts of one call.
    pub attempts: u32,
    /// Between two attempts.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(5), attempts: 12, pause: Duration::from_millis(300) }
    }
}

/// A client. It has one call at a time; once a call's end is not known its name is given up for a new one.
pub struct WireClient {
    site: Arc<dyn Site>,
    recorder: Recorder,
    rng: Rng,
    patience: Patience,
    name: String,
    lives: u32,
}

/// What an attempt came to.
enum Attempt<T> {
    Answered(T),
    Refused(ApiError),
    Unknown(ApiError),
}

impl WireClient {
    /// A client of this name.
    pub fn new(site: Arc<dyn Site>, recorder: Recorder, rng: Rng, patience: Patience, name: String) -> Self {
        Self { site, recorder, rng, patience, name, lives: 0 }
    }

    /// Its generator.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Who it says it is.
    pub fn principal(&self) -> v1::Principal {
        v1::Principal { subject: self.name(), roles: vec![super::render::APPROVER_ROLE.to_owned()], ..v1::Principal::default() }
    }

    fn name(&self) -> String {
        if self.lives == 0 { self.name.clone() } else { format!("{}.{}", self.name, self.lives) }
    }

    /// Makes a call, with all its attempts, and records it. Returns the answer if there was one.
    pub async fn call<M, T, F>(
        &mut self,
        call: Call,
        message: M,
        op: impl Fn(Channel, Request<M>) -> F,
        read: impl Fn(&T) -> Answer,
    ) -> Result<T, Ending>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let id = self.recorder.invoke(&self.name(), call);
        let mut node = self.rng.index(self.site.nodes());
        let mut uncertain: Option<ApiError> = None;
        for number in 0..self.patience.attempts {
            if number > 0 {
                tokio::time::sleep(self.patience.pause).await;
                self.recorder.retried(id);
            }
            match self.attempt(node, message.clone(), &op).await {
                Attempt::Answered(answer) => {
                    self.recorder.end(id, Ending::Ok(read(&answer)));
                    return Ok(answer);
                }
                Attempt::Refused(error) if uncertain.is_none() && !is_passing(&error) => {
                    let ending = Ending::Fail { reason: reason(&error) };
                    self.recorder.end(id, ending.clone());
                    return Err(ending);
                }
                Attempt::Refused(error) if is_passing(&error) => {
                    if let Some(delay) = error.retry_after {
                        tokio::time::sleep(delay.min(self.patience.attempt)).await;
                    }
                    if number + 1 == self.patience.attempts && uncertain.is_none() {
                        let ending = Ending::Fail { reason: reason(&error) };
                        self.recorder.end(id, ending.clone());
                        return Err(ending);
                    }
                }
                Attempt::Refused(_) => {}
                Attempt::Unknown(error) => uncertain = Some(error),
            }
            // Any other node.
            let nodes = self.site.nodes();
            if nodes > 1 {
                node = (node + 1 + self.rng.index(nodes - 1)) % nodes;
            }
        }
        let what = uncertain.map_or_else(|| "no attempt was made".to_owned(), |error| format!("{:?}: {}", error.code, error.message));
        let ending = Ending::Info { what };
        self.recorder.end(id, ending.clone());
        self.lives += 1;
        Err(ending)
    }

    async fn attempt<M, T, F>(&self, node: usize, message: M, op: &impl Fn(Channel, Request<M>) -> F) -> Attempt<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = match self.site.channel(node) {
            Ok(channel) => channel,
            Err(error) => return Attempt::Unknown(Status::unavailable(error.to_string()).into()),
        };
        let mut request = Request::new(message);
        request.set_timeout(self.patience.attempt);
        match tokio::time::timeout(self.patience.attempt, op(channel, request)).await {
            Ok(Ok(response)) => Attempt::Answered(response.into_inner()),
            Ok(Err(status)) => {
                let error = ApiError::from(status);
                if is_definite(&error) { Attempt::Refused(error) } else { Attempt::Unknown(error) }
            }
            Err(_) => Attempt::Unknown(Status::deadline_exceeded("no answer in time").into()),
        }
    }
}

/// True if the node says that it did nothing, and will not.
fn is_definite(error: &ApiError) -> bool {
    !error.from_transport
        && matches!(
            error.code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
        )
}

/// True if the node refused only for now.
fn is_passing(error: &ApiError) -> bool {
    error.code == Code::ResourceExhausted && error.retry_after.is_some()
}

fn reason(error: &ApiError) -> String {
    if error.reason.is_empty() { format!("{:?}", error.code) } else { error.reason.clone() }
}

/// What an answer says about a run.
pub fn answer_of(run: Option<&v1::Run>) -> Answer {
    let Some(run) = run else { return Answer::default() };
    Answer {
        run_uid: run.run_uid.clone(),
        status: run.status().as_str_name().to_owned(),
        sequence: run.sequence,
        shard: run.shard,
        accepted: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_nodes_own_word_is_a_refusal() {
        let definite = |status: Status| is_definite(&ApiError::from(status));
        assert!(definite(Status::not_found("x")) && definite(Status::failed_precondition("x")) && definite(Status::already_exists("x")));
        for status in [
            Status::unavailable("x"),
            Status::cancelled("x"),
            Status::deadline_exceeded("x"),
            Status::unknown("x"),
            Status::internal("x"),
            Status::aborted("x"),
        ] {
            assert!(!definite(status.clone()), "{status:?}");
        }
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset by peer");
        assert!(!definite(Status::from_error(Box::new(broken))));
    }
}
