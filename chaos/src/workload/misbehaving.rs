//! Workers that break the rules of the protocol on purpose.
//!
//! They speak `quorus.v1.WorkerService` by hand. Each takes a task, does it as an honest worker would (ledger included: begin, effects, end, all while
//! its lease lives), and then does something with the outcome that no honest worker does. What the node answers to an outcome that is late or
//! repeated is recorded as [`Call::Complete`]. A repeated one must be answered as the first was. "Late" is by this worker's own clock and without any
//! heartbeat: whether the token was still the current one when it arrived, only the history tells, and only then must it have been refused.
//!
//! Invariant: none of them has an effect after its lease ran out. They misreport; they don't misact.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use quorus_client::{LedgerEvent, content_digest, v1};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use v1::{
    Task, TaskOutcome, WorkRequest, WorkResponse, task_outcome, work_request, work_response, worker_service_client::WorkerServiceClient,
};

use super::{
    random::Rng,
    recorder::Recorder,
    site::Site,
    tasks::{self, Input, Scribe, Verdict},
};
use crate::record::{Answer, Call, Ending};

/// How long an answer to an outcome is waited for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// How much longer than its lease a late worker waits: enough for somebody else to take over.
const BEYOND: Duration = Duration::from_millis(1_500);
/// Before another stream is tried.
const PAUSE: Duration = Duration::from_millis(500);

/// Names of such workers begin with this: nobody expects of them what is expected of healthy ones.
pub const NAME_PREFIX: &str = "misbehaving-";

/// What a worker does that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misdeed {
    /// Sends an outcome, waits for the answer, and sends it again.
    Repeat,
    /// Sends an outcome twice without waiting.
    Stutter,
    /// Sends no heartbeats, and the outcome when the lease has run out.
    Late,
    /// As late, and hears nothing meanwhile, like a process that was stopped. Then it comes back on a new stream, on any node.
    Pause,
    /// Never says anything again about a task.
    Forget,
}

impl Misdeed {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Repeat, Self::Stutter, Self::Late, Self::Pause, Self::Forget];

    /// For names of workers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::Stutter => "stutter",
            Self::Late => "late",
            Self::Pause => "pause",
            Self::Forget => "forget",
        }
    }
}

/// A worker that misbehaves.
pub struct Misbehaving {
    site: Arc<dyn Site>,
    recorder: Recorder,
    scribe: Scribe,
    queue: String,
    misdeed: Misdeed,
    rng: Rng,
    incarnation: String,
    session: u64,
    /// Time between two tasks, so that honest workers get most of them.
    rest: Duration,
    /// Leases that it was given. A node pushes a task again to one that does not say that it holds it, and must not make it do the task twice.
    given: BTreeSet<bytes::Bytes>,
}

/// A stream to a node.
struct Link {
    requests: mpsc::Sender<WorkRequest>,
    responses: Streaming<WorkResponse>,
    lease: Duration,
}

impl Misbehaving {
    /// A worker with its own generator. The scribe's worker name is its name.
    pub fn new(
        site: Arc<dyn Site>,
        recorder: Recorder,
        scribe: Scribe,
        queue: &str,
        misdeed: Misdeed,
        mut rng: Rng,
        rest: Duration,
    ) -> Self {
        let incarnation = rng.hex();
        Self { site, recorder, scribe, queue: queue.to_owned(), misdeed, rng, incarnation, session: 0, rest, given: BTreeSet::new() }
    }

    /// Misbehaves until told to stop. What it holds then is lost.
    pub async fn run(mut self, stop: CancellationToken) {
        let stopped = stop.clone();
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.work(&stop) => {}
        }
    }

    async fn work(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // A broken stream is the usual thing in a game day: the next one is tried.
            let _ = self.one_task().await;
            let rest = u64::try_from(self.rest.as_millis()).unwrap_or(u64::MAX);
            tokio::time::sleep(PAUSE + Duration::from_millis(self.rng.between(0, rest))).await;
        }
    }

    async fn one_task(&mut self) -> anyhow::Result<()> {
        let mut link = self.connect(Vec::new()).await?;
        let task = loop {
            match link.responses.message().await?.and_then(|response| response.message) {
                Some(work_response::Message::Task(task)) if self.given.insert(task.lease.clone()) => break task,
                Some(_) => {}
                None => return Ok(()),
            }
        };
        let until = Instant::now() + link.lease;
        // No second task: what is held twice is hard to tell apart.
        link.say(work_request::Message::Capacity(v1::SetCapacity { capacity: 0 })).await?;
        let Some(outcome) = self.act(&task, until).await? else { return Ok(()) };
        match self.misdeed {
            Misdeed::Forget => tokio::time::sleep_until(until + BEYOND).await,
            Misdeed::Repeat => {
                link.say(work_request::Message::Outcome(outcome.clone())).await?;
                let first = link.answer(&task.lease).await;
                if first.as_ref().is_ok_and(|ack| ack.accepted) {
                    self.complete(&mut link, &task, outcome, true, false).await?;
                }
            }
            Misdeed::Stutter => {
                link.say(work_request::Message::Outcome(outcome.clone())).await?;
                // Recorded is the second one. That the first had not been acknowledged makes it none that is repeated.
                self.complete(&mut link, &task, outcome, false, false).await?;
            }
            Misdeed::Late => {
                tokio::time::sleep_until(until + BEYOND).await;
                self.complete(&mut link, &task, outcome, false, true).await?;
            }
            Misdeed::Pause => {
                tokio::time::sleep_until(until + BEYOND).await;
                drop(link);
                let mut link = self.connect(vec![task.lease.clone()]).await?;
                self.complete(&mut link, &task, outcome, false, true).await?;
            }
        }
        Ok(())
    }

    /// Does the task within its lease; none if there is not enough of it.
    async fn act(&self, task: &Task, until: Instant) -> anyhow::Result<Option<TaskOutcome>> {
        let input = Input::read(task.input.as_ref()).unwrap_or_default();
        let mut begin = self.scribe.entry(LedgerEvent::Begin, task);
        begin.input_sha256 = content_digest(task.input.as_ref());
        self.scribe.ledger.write(begin).await?;
        // Half of the lease is left for what it writes down.
        let time = Duration::from_millis(input.ms).min(until.saturating_duration_since(Instant::now()) / 2);
        tokio::time::sleep(time).await;
        for _ in 0..input.effects {
            if Instant::now() + PAUSE >= until {
                return Ok(None);
            }
            self.scribe.ledger.write(self.scribe.entry(LedgerEvent::Effect, task)).await?;
        }
        let result = match input.verdict(task.attempt) {
            Verdict::Succeed => task_outcome::Result::Succeeded(tasks::output(task.input.as_ref())),
            Verdict::Fail(failure) => task_outcome::Result::Failed(failure),
            Verdict::Release => task_outcome::Result::Released(v1::TaskReleased::default()),
        };
        let mut end = self.scribe.entry(LedgerEvent::End, task);
        let (word, output) = match &result {
            task_outcome::Result::Succeeded(output) => ("succeeded", content_digest(Some(output))),
            task_outcome::Result::Released(_) => ("released", String::new()),
            _ => ("failed", String::new()),
        };
        (end.outcome, end.output_sha256) = (word.to_owned(), output);
        self.scribe.ledger.write(end).await?;
        Ok(Some(TaskOutcome { lease: task.lease.clone(), result: Some(result) }))
    }

    /// Sends an outcome that should not be sent, and records what comes of it.
    async fn complete(&self, link: &mut Link, task: &Task, outcome: TaskOutcome, repeated: bool, late: bool) -> anyhow::Result<()> {
        let call = Call::Complete {
            run_uid: task.run_uid.clone(),
            step: task.step.clone(),
            attempt: task.attempt,
            token: task.token,
            repeated,
            late,
        };
        let id = self.recorder.invoke(&self.scribe.worker, call);
        let sent = link.say(work_request::Message::Outcome(outcome)).await;
        let answer = match sent {
            Ok(()) => link.answer(&task.lease).await,
            Err(error) => Err(error),
        };
        let ending = match answer {
            Ok(ack) => {
                Ending::Ok(Answer { run_uid: task.run_uid.clone(), shard: task.shard, accepted: Some(ack.accepted), ..Answer::default() })
            }
            Err(error) => Ending::Info { what: format!("{error:#}") },
        };
        self.recorder.end(id, ending);
        Ok(())
    }

    async fn connect(&mut self, held: Vec<bytes::Bytes>) -> anyhow::Result<Link> {
        self.session += 1;
        let channel = self.site.channel(self.rng.index(self.site.nodes()))?;
        let (requests, receiver) = mpsc::channel(16);
        let register = v1::RegisterWorker {
            name: self.scribe.worker.to_string(),
            incarnation: self.incarnation.clone(),
            session: self.session,
            queues: vec![self.queue.clone()],
            capacity: 1,
            held,
            ..v1::RegisterWorker::default()
        };
        requests.send(WorkRequest { message: Some(work_request::Message::Register(register)) }).await.context("registering")?;
        let mut client = WorkerServiceClient::new(channel);
        let mut responses = client.work(ReceiverStream::new(receiver)).await?.into_inner();
        let registered = tokio::time::timeout(ANSWER_PATIENCE, responses.message()).await.context("registering")??;
        match registered.and_then(|response| response.message) {
            Some(work_response::Message::Registered(registered)) => {
                Ok(Link { requests, responses, lease: Duration::from_millis(registered.lease_ms) })
            }
            other => anyhow::bail!("the node answered a registration with {other:?}"),
        }
    }
}

impl Link {
    async fn say(&self, message: work_request::Message) -> anyhow::Result<()> {
        self.requests.send(WorkRequest { message: Some(message) }).await.context("the stream is closed")
    }

    /// The answer to the outcome of this lease.
    async fn answer(&mut self, lease: &bytes::Bytes) -> anyhow::Result<v1::OutcomeAck> {
        let until = Instant::now() + ANSWER_PATIENCE;
        loop {
            let response = timeout_at(until, self.responses.message()).await.context("no answer to an outcome")??;
            match response.context("the node ended the stream")?.message {
                Some(work_response::Message::OutcomeAck(ack)) if ack.lease == lease => return Ok(ack),
                _ => {}
            }
        }
    }
}
