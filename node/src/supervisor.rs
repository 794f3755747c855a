//! The root of the actors: starts a shard's supervisor when this node becomes its leader, and kills it when it no longer is.
//!
//! Invariant: at most one supervisor per shard on a node, bound to the term in `led`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quorus_raft::{Group, GroupId, Leadership};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{
    dispatch::Ticker,
    leader::{LeaderContext, ShardArguments, ShardMessage, ShardSupervisor},
};

/// A leadership whose supervisor failed is taken up again after this time, unless it is over by then.
const RETRY: Duration = Duration::from_millis(500);

/// A message to the root.
pub enum NodeMessage {
    /// A shard's replica is open on this node.
    Opened(Group),
    /// A shard's leadership changed.
    Changed(GroupId, Leadership),
    /// Try again to lead a shard.
    Retry(GroupId),
    /// This node's clock left the bound, or is within: while it is outside, and before this was told, no shard has actors here, whoever leads.
    ClockOutside(bool),
}

/// The actor.
pub struct NodeSupervisor;

/// The actor's memory.
pub struct NodeState {
    context: Arc<LeaderContext>,
    groups: BTreeMap<GroupId, Group>,
    led: BTreeMap<GroupId, (u64, ActorRef<ShardMessage>)>,
    ticker: ActorId,
    clock_outside: bool,
}

impl Actor for NodeSupervisor {
    type Msg = NodeMessage;
    type State = NodeState;
    type Arguments = Arc<LeaderContext>;

    async fn pre_start(&self, myself: ActorRef<NodeMessage>, context: Arc<LeaderContext>) -> Result<NodeState, ActorProcessingErr> {
        let (ticker, _) = Actor::spawn_linked(None, Ticker, context.dispatcher.clone(), myself.get_cell()).await?;
        Ok(NodeState { context, groups: BTreeMap::new(), led: BTreeMap::new(), ticker: ticker.get_id(), clock_outside: true })
    }

    async fn handle(&self, myself: ActorRef<NodeMessage>, message: NodeMessage, state: &mut NodeState) -> Result<(), ActorProcessingErr> {
        match message {
            NodeMessage::Opened(group) => {
                watch(&group, myself);
                state.groups.insert(group.id(), group);
                Ok(())
            }
            NodeMessage::Changed(shard, leadership) => state.changed(&myself, shard, &leadership).await,
            NodeMessage::Retry(shard) => {
                let Some(group) = state.groups.get(&shard) else { return Ok(()) };
                let leadership = *group.leadership().borrow();
                state.changed(&myself, shard, &leadership).await
            }
            NodeMessage::ClockOutside(outside) => {
                state.clock_outside = outside;
                let leaderships: Vec<_> = state.groups.iter().map(|(shard, group)| (*shard, *group.leadership().borrow())).collect();
                for (shard, leadership) in leaderships {
                    state.changed(&myself, shard, &leadership).await?;
                }
                Ok(())
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<NodeMessage>,
        event: SupervisionEvent,
        state: &mut NodeState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
            SupervisionEvent::ActorTerminated(actor, last, _) => {
                // A shard's memory ends its leadership when it is dropped.
                drop(last);
                state.ended(&myself, actor.get_id(), None)
            }
            SupervisionEvent::ActorFailed(actor, error) => state.ended(&myself, actor.get_id(), Some(error)),
        }
    }
}

impl NodeState {
    async fn changed(&mut self, myself: &ActorRef<NodeMessage>, shard: GroupId, leadership: &Leadership) -> Result<(), ActorProcessingErr> {
        let leads = leadership.here && !self.clock_outside;
        let stays = |term: u64| leads && leadership.term == term;
        if self.led.get(&shard).is_some_and(|(term, _)| stays(*term)) {
            return Ok(());
        }
        if let Some((term, supervisor)) = self.led.remove(&shard) {
            tracing::info!(shard, term, "leads the shard no more");
            self.context.dispatcher.abandon_shard(shard, term);
            supervisor.kill();
        }
        let Some(group) = self.groups.get(&shard).filter(|_| leads) else { return Ok(()) };
        let with = ShardArguments { shard, term: leadership.term, group: group.clone(), context: self.context.clone() };
        let (supervisor, _) = Actor::spawn_linked(None, ShardSupervisor, with, myself.get_cell()).await?;
        self.led.insert(shard, (leadership.term, supervisor));
        Ok(())
    }

    /// A child ended. A supervisor that was killed is not in `led` any more.
    fn ended(
        &mut self,
        myself: &ActorRef<NodeMessage>,
        child: ActorId,
        error: Option<ActorProcessingErr>,
    ) -> Result<(), ActorProcessingErr> {
        if child == self.ticker {
            return Err(error.unwrap_or_else(|| "the dispatcher's ticker stopped".into()));
        }
        let Some(shard) = self.led.iter().find(|(_, (_, actor))| actor.get_id() == child).map(|(shard, _)| *shard) else { return Ok(()) };
        if let Some((term, _)) = self.led.remove(&shard) {
            self.context.dispatcher.abandon_shard(shard, term);
            let error = error.map(|error| error.to_string());
            tracing::warn!(shard, term, error, "the shard's supervisor ended; it is started again unless the leadership is over");
        }
        myself.send_after(RETRY, move || NodeMessage::Retry(shard));
        Ok(())
    }
}

/// Tells the root about every change of a shard's leadership.
fn watch(group: &Group, root: ActorRef<NodeMessage>) {
    let shard = group.id();
    let mut leadership = group.leadership();
    tokio::spawn(async move {
        loop {
            let now = *leadership.borrow_and_update();
            if root.cast(NodeMessage::Changed(shard, now)).is_err() || leadership.changed().await.is_err() {
                break;
            }
        }
    });
}
