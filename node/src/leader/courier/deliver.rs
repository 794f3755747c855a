//! One delivery: reads what a place owes now, brings it to where it belongs, and has the run take note of the answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quorus_engine::{ChildState, Command, OnConflict, Owed, Principal, RunHead, RunInfo, RunUid, SlotState, StepId, StepState};
use quorus_proto::{
    peer::{self, courier_service_client::CourierServiceClient},
    v1,
};
use quorus_raft::{NodeId, Peers};
use tokio::sync::oneshot;
use tonic::{Request, Status, transport::Channel};

use crate::{
    api::{MESSAGE_BYTES_MAX, SystemPort, from_proto, to_proto},
    crash_point::{self, Place},
    leader::{Ask, LeaderContext, LedShard, Owing, Refusal, Reply, Request as RunRequest},
    store::{ShardStore, StoreError},
    system::{FlowAnswer, FlowCommand, SlotConflict, SlotKey, SlotRun, SlotStatus, SystemAnswer, SystemCommand, SystemStore},
};

/// How long a delivery may take: it waits for leaders.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The ways from a node to all shards.
pub(crate) struct Post {
    /// This node: it brings requests to where they belong.
    pub(crate) node: NodeId,
    /// The way to it.
    pub(crate) peers: Arc<Peers>,
    /// The way to group 0.
    pub(crate) port: SystemPort,
    /// This node's copy of group 0.
    pub(crate) system: SystemStore,
}

impl Post {
    /// The ways of a node.
    pub(crate) fn of(context: &LeaderContext) -> Self {
        let (peers, port, system) = (context.peers.clone(), context.port.clone(), context.system.clone());
        Self { node: context.node_id, peers, port, system }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The run took note, or owes nothing.
    Done,
    /// It was delivered; something outside will end the debt.
    Waits,
    /// Try again.
    Failed,
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the state can't be read: {0}")]
    Store(#[from] StoreError),
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error("the answer can't be read")]
    Answer,
    #[error(transparent)]
    Refusal(Refusal),
}

/// What a delivery works with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) led: LedShard,
    pub(super) store: ShardStore,
    pub(super) post: Arc<Post>,
}

impl Tools {
    /// Delivers what a place owes.
    pub(super) async fn deliver(&self, owing: &Owing) -> Delivered {
        let delivered = match &owing.step {
            Some(step) => self.of_step(owing, step).await,
            None => self.of_run(owing).await,
        };
        delivered.unwrap_or_else(|error| {
            tracing::debug!(run = %owing.key, step = owing.step.as_ref().map(tracing::field::display), %error, "a delivery failed, it is tried again");
            Delivered::Failed
        })
    }

    async fn of_step(&self, owing: &Owing, step: &StepId) -> Result<Delivered, Failed> {
        let Some((info, state)) = self.store.run_info(owing.uid)?.zip(self.store.step(owing.uid, step)?) else {
            return Ok(Delivered::Done);
        };
        let Some((owed, child)) = state.owes().zip(state.child.as_deref()) else { return Ok(Delivered::Done) };
        match owed {
            Owed::StartChild => {
                let request = peer::StartChildRequest { child: Some(child_run(&info, step, &state, child)) };
                let answer = self.others()?.start_child(timed(request)).await?.into_inner();
                crash_point::reached(Place::ChildAccepted);
                let command = match answer.refused {
                    None => Command::ChildStarted { step: step.clone(), child: child.uid },
                    Some(failure) => Command::ChildRefused { step: step.clone(), child: child.uid, failure: from_proto::failure(failure) },
                };
                self.note(owing, command).await
            }
            Owed::CancelChild => {
                let reason = child.cancel.clone().unwrap_or_default();
                let request = peer::CancelChildRequest { child: Some(child_run(&info, step, &state, child)), reason };
                match self.others()?.cancel_child(timed(request)).await?.into_inner().ended {
                    Some(end) => self.note(owing, ended(step, child.uid, end)?).await,
                    // It tells its parent when it has ended.
                    None => Ok(Delivered::Waits),
                }
            }
            Owed::CompensateChild => {
                let request = peer::CompensateChildRequest {
                    namespace: info.namespace.clone(),
                    run_id: child.run_id.clone(),
                    run_uid: uid_bytes(child.uid),
                    notify: step.to_string(),
                    reason: format!("run {} undoes its step {step}", info.run_id),
                    principal: Some(to_proto::principal(&info.principal)),
                };
                let answer = self.others()?.compensate_child(timed(request)).await?.into_inner();
                let command = match (answer.refused, answer.ended) {
                    (Some(failure), _) => {
                        Command::ChildRefused { step: step.clone(), child: child.uid, failure: from_proto::failure(failure) }
                    }
                    (None, Some(end)) => ended(step, child.uid, end)?,
                    (None, None) => Command::ChildStarted { step: step.clone(), child: child.uid },
                };
                self.note(owing, command).await
            }
            Owed::NotifyParent | Owed::AcquireSlot | Owed::ReleaseSlot => Ok(Delivered::Done),
        }
    }

    async fn of_run(&self, owing: &Owing) -> Result<Delivered, Failed> {
        let Some((info, head)) = self.store.run_info(owing.uid)?.zip(self.store.run_head(owing.uid)?) else { return Ok(Delivered::Done) };
        let mut delivered = Delivered::Done;
        for owed in head.owes() {
            let one = match owed {
                Owed::NotifyParent => self.notify_parent(owing, &info, &head).await?,
                Owed::AcquireSlot => self.acquire(owing, &info, &head).await?,
                Owed::ReleaseSlot => {
                    let command = FlowCommand::ReleaseSlot { uid: owing.uid, claim: claim(&head) };
                    self.flow(command).await?;
                    self.note(owing, Command::SlotReleased).await?
                }
                Owed::StartChild | Owed::CancelChild | Owed::CompensateChild => Delivered::Done,
            };
            if one != Delivered::Done {
                delivered = one;
            }
        }
        Ok(delivered)
    }

    async fn notify_parent(&self, owing: &Owing, info: &RunInfo, head: &RunHead) -> Result<Delivered, Failed> {
        let Some(parent) = &head.parent else { return Ok(Delivered::Done) };
        let parent = v1::RunParent {
            namespace: parent.namespace.clone(),
            run_id: parent.run_id.clone(),
            run_uid: parent.uid.to_string(),
            step: head.notify.as_ref().map_or_else(|| parent.step.clone(), ToString::to_string),
        };
        let end = Some(to_proto::child_end(head));
        let request = peer::ChildEndedRequest { parent: Some(parent), child_uid: uid_bytes(info.uid), end };
        self.others()?.child_ended(timed(request)).await?;
        crash_point::reached(Place::ParentTold);
        self.note(owing, Command::ParentNotified).await
    }

    async fn acquire(&self, owing: &Owing, info: &RunInfo, head: &RunHead) -> Result<Delivered, Failed> {
        let Some(slot) = &head.slot else { return Ok(Delivered::Done) };
        let claim = claim(head);
        // Most looks at a run that waits in line end here, without a commit.
        let known = self.post.system.slot_of(owing.uid)?.filter(|standing| standing.run.claim == claim);
        match known.map(|standing| standing.status) {
            Some(SlotStatus::Waiting) if slot.on_conflict != OnConflict::Replace => return Ok(Delivered::Waits),
            // One that is still parked of a workflow that is resumed lets itself and others in by asking.
            Some(SlotStatus::Parked) if self.post.system.flow().paused_workflow(&info.namespace, &info.workflow).is_some() => {
                return Ok(Delivered::Waits);
            }
            _ => {}
        }
        let answer = self.flow(acquire_command(self.led.shard, info, head, slot)).await?;
        match answer.status {
            SlotStatus::Held => self.note(owing, Command::SlotGranted).await,
            SlotStatus::Refused => {
                let reason = format!("{} other runs hold the concurrency key {:?}", slot.limit, slot.key);
                self.note(owing, Command::SlotDenied { reason }).await
            }
            SlotStatus::Waiting => {
                for run in &answer.replaces {
                    self.replace(info, run).await?;
                }
                Ok(Delivered::Waits)
            }
            SlotStatus::Parked => Ok(Delivered::Waits),
            // The run has let go of it meanwhile.
            SlotStatus::Released => Ok(Delivered::Done),
        }
    }

    /// Cancels a run that has to go for another one.
    async fn replace(&self, by: &RunInfo, run: &SlotRun) -> Result<(), Failed> {
        let child = peer::ChildRun {
            namespace: by.namespace.clone(),
            run_id: run.run_id.clone(),
            run_uid: uid_bytes(run.uid),
            principal: Some(to_proto::principal(&by.principal)),
            ..Default::default()
        };
        let request = peer::CancelChildRequest { child: Some(child), reason: format!("replaced by run {}", by.run_id) };
        self.others()?.cancel_child(timed(request)).await?;
        Ok(())
    }

    async fn flow(&self, command: FlowCommand) -> Result<crate::system::SlotAnswer, Failed> {
        match self.post.port.propose(&SystemCommand::Flow(command)).await? {
            SystemAnswer::Flow(FlowAnswer::Slot(answer)) => Ok(answer),
            _ => Err(Failed::Answer),
        }
    }

    fn others(&self) -> Result<CourierServiceClient<Channel>, Failed> {
        let channel = self.post.peers.channel(self.post.node).map_err(|error| Status::unavailable(error.to_string()))?;
        let client = CourierServiceClient::new(channel);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Has the run take note. What it refuses to note it does not owe any more.
    async fn note(&self, owing: &Owing, command: Command) -> Result<Delivered, Failed> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::new(move |answer| drop(sender.send(answer)));
        let request = RunRequest { uid: Some(owing.uid), ask: Ask::Command(command), credit: None, reply, permit: None };
        self.led.deliver(&owing.key, request);
        match receiver.await.unwrap_or(Err(Refusal::OutcomeUnknown)) {
            Ok(_) | Err(Refusal::Rejected(_)) => Ok(Delivered::Done),
            Err(refusal) => Err(Failed::Refusal(refusal)),
        }
    }
}

/// Rises each time that the run asks anew.
fn claim(head: &RunHead) -> u64 {
    u64::from(head.generation)
}

fn acquire_command(shard: u32, info: &RunInfo, head: &RunHead, slot: &SlotState) -> FlowCommand {
    let claim = claim(head);
    let key = SlotKey { namespace: info.namespace.clone(), workflow: info.workflow.clone(), key: slot.key.clone() };
    let run = SlotRun { uid: info.uid, run_id: info.run_id.clone(), shard, claim, since: quorus_engine::Timestamp(0) };
    let on_conflict = match slot.on_conflict {
        OnConflict::Queue => SlotConflict::Queue,
        OnConflict::Reject => SlotConflict::Reject,
        OnConflict::Replace => SlotConflict::Replace,
    };
    // What was repaired has begun before.
    let begins = (head.generation == 0).then_some(head.started_at);
    FlowCommand::AcquireSlot { key, limit: slot.limit, run, on_conflict, begins }
}

fn child_run(info: &RunInfo, step: &StepId, state: &StepState, child: &ChildState) -> peer::ChildRun {
    let principal = |principal: &Principal| Some(to_proto::principal(principal));
    peer::ChildRun {
        namespace: info.namespace.clone(),
        run_id: child.run_id.clone(),
        run_uid: uid_bytes(child.uid),
        workflow: child.workflow.clone(),
        version: child.version.unwrap_or(0),
        input: state.input.as_ref().map(to_proto::payload),
        parent: Some(v1::RunParent {
            namespace: info.namespace.clone(),
            run_id: info.run_id.clone(),
            run_uid: info.uid.to_string(),
            step: step.to_string(),
        }),
        traceparent: info.traceparent.clone(),
        tracestate: info.tracestate.clone(),
        principal: principal(&info.principal),
        root_principal: principal(info.starter()),
    }
}

fn ended(step: &StepId, child: RunUid, end: peer::ChildEnd) -> Result<Command, Failed> {
    let (status, output, failure) = from_proto::child_end(end).ok_or(Failed::Answer)?;
    Ok(Command::ChildEnded { step: step.clone(), child, status, output, failure })
}

fn uid_bytes(uid: RunUid) -> Bytes {
    Bytes::copy_from_slice(&uid.to_bytes())
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}
