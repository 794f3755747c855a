//! Follows a run to its end, across lost connections and dying nodes.
//!
//! The stream is opened again from the sequence after the last event seen, on another node if need be, so a watcher sees every event once and
//! in order. The run's uid goes along, so that a run id that was reused meanwhile is noticed.

use quorus_proto::v1::{GetRunRequest, Run, RunStatus, WatchRunRequest, WatchRunResponse};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::{Client, call::silence, methods::runs};
use crate::{ApiError, Error, backoff::Rotation, error::Advice};

/// A run that is being followed. See [`Client::watch_run`].
#[derive(Debug)]
pub struct RunWatch {
    client: Client,
    request: WatchRunRequest,
    stream: Option<Streaming<WatchRunResponse>>,
    rotation: Rotation,
    /// How long to go on without an answer.
    patience: Duration,
    outage: Option<Outage>,
    ended: bool,
}

/// The time since the last answer.
#[derive(Clone, Debug)]
struct Outage {
    since: Instant,
    tries: u32,
    last: ApiError,
}

impl Client {
    /// Follows a run from an event on, to its end.
    pub fn watch_run(&self, mut request: WatchRunRequest) -> RunWatch {
        self.fill_namespace(&mut request.namespace);
        request.from_sequence = request.from_sequence.max(1);
        let (rotation, patience) = (self.rotation(), self.options().timeout);
        RunWatch { client: self.clone(), request, stream: None, rotation, patience, outage: None, ended: false }
    }

    /// Returns a run with everything that a watch leaves out (steps and values). What the watch showed is returned if that can't be had.
    pub async fn whole_run(&self, seen: Run) -> Run {
        let request = GetRunRequest { namespace: seen.namespace.clone(), run_id: seen.run_id.clone(), ..Default::default() };
        match self.get_run(request).await {
            // The id may belong to another run by now.
            Ok(whole) if whole.run_uid == seen.run_uid => whole,
            _ => seen,
        }
    }

    /// Waits for a run's end and returns it as it was then. Waits as long as it takes; wrap it in a timeout to bound that.
    pub async fn wait_run(&self, namespace: &str, run_id: &str) -> Result<Run, Error> {
        let request = WatchRunRequest { namespace: namespace.to_owned(), run_id: run_id.to_owned(), ..Default::default() };
        let mut watch = self.watch_run(request);
        let mut last = None;
        while let Some(item) = watch.next().await? {
            last = item.run.or(last);
        }
        Ok(self.whole_run(last.ok_or(Error::Incomplete("run"))?).await)
    }
}

impl RunWatch {
    /// Bounds how long to go on without an answer from any node. Default: the timeout of the client's options.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Why there is no answer at the moment: set while several tries in a row have failed.
    pub fn outage(&self) -> Option<Error> {
        let outage = self.outage.as_ref().filter(|outage| outage.tries > 1)?;
        Some(self.client.out_of_time(outage.tries, Some(outage.last.clone())))
    }

    /// The next events, or `None` after the run's end. Cancel-safe: what was received is returned by the next call.
    pub async fn next(&mut self) -> Result<Option<WatchRunResponse>, Error> {
        while !self.ended {
            let Some(stream) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            match stream.message().await {
                Ok(Some(item)) => {
                    if let Some(item) = self.accept(item)? {
                        return Ok(Some(item));
                    }
                }
                // A stream that ends before the run does is a node that stops.
                Ok(None) => self.lost(ApiError::from(tonic::Status::unavailable("the stream ended early"))).await?,
                Err(status) => self.lost(ApiError::from(status)).await?,
            }
        }
        Ok(None)
    }

    /// Drops what was seen before, notes the position and the end.
    fn accept(&mut self, mut item: WatchRunResponse) -> Result<Option<WatchRunResponse>, Error> {
        self.outage = None;
        item.events.retain(|event| event.sequence >= self.request.from_sequence);
        if let Some(last) = item.events.last() {
            self.request.from_sequence = last.sequence + 1;
            // Only progress starts a new round: a node that sends the run and hangs up must not be asked in a tight loop.
            self.rotation.succeeded();
        }
        if let Some(run) = &item.run {
            if !self.request.run_uid.is_empty() && !run.run_uid.is_empty() && self.request.run_uid != run.run_uid {
                return Err(Error::RunReplaced { run_id: run.run_id.clone() });
            }
            self.request.run_uid.clone_from(&run.run_uid);
            self.ended = is_final(run.status());
        }
        Ok((item.run.is_some() || !item.events.is_empty()).then_some(item))
    }

    async fn open(&mut self) -> Result<(), Error> {
        let index = self.rotation.index();
        let node = &self.client.inner.nodes[index];
        let mut service = runs(node.channel());
        let request = self.client.request(self.request.clone());
        match timeout(self.client.options().try_timeout.min(self.patience), service.watch_run(request)).await {
            Ok(Ok(response)) => {
                self.client.inner.current.store(index, Ordering::Relaxed);
                self.stream = Some(response.into_inner());
                Ok(())
            }
            Ok(Err(status)) => self.lost(ApiError::from(status)).await,
            Err(_) => {
                let error = silence(node);
                self.lost(error).await
            }
        }
    }

    /// Prepares the next try, or fails if there should be none.
    async fn lost(&mut self, error: ApiError) -> Result<(), Error> {
        self.stream = None;
        let node = &self.client.inner.nodes[self.rotation.index()];
        let (since, tries) = self.outage.as_ref().map_or((Instant::now(), 1), |outage| (outage.since, outage.tries + 1));
        self.client.tell_of_retry(node, &error, since);
        let delay = match error.advice() {
            Advice::GiveUp => return Err(Box::new(error).into()),
            Advice::SameNode(delay) => delay,
            Advice::OtherNode => self.rotation.failed(rand::random()),
        };
        self.outage = Some(Outage { since, tries, last: error.clone() });
        if since.elapsed() + delay >= self.patience {
            return Err(self.client.out_of_time(tries, Some(error)));
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// True for the states that a run never leaves.
pub fn is_final(status: RunStatus) -> bool {
    matches!(status, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::Terminated)
}
