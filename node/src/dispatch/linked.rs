//! What links bring: sessions with their room and their leases. See [`super::link`].

use std::{sync::atomic::Ordering, time::Duration};

use quorus_engine::{Command, Outcome};
use quorus_proto::peer::{self, link_response::Message};
use tokio_util::sync::CancellationToken;

use super::{
    Dispatcher, LeaseName, LinkSender, Session, SessionKey,
    dispatcher::abandon,
    tables::{Link, demand, send},
};
use crate::leader::Ask;

/// Why an attempt is given up whose worker has a successor.
const STARTED_ANEW: &str = "the worker was started anew";

impl Dispatcher {
    /// Registers a link; tells it what this node leads and what waits. The token ends when its gateway has opened another one.
    pub(super) fn link_opened(&self, link: LinkSender) -> (u64, CancellationToken) {
        let number = self.inner.links_opened.fetch_add(1, Ordering::Relaxed);
        let mut tables = self.inner.tables.lock();
        for (shard, term) in self.inner.shards.terms() {
            send(&link, Message::Leading(peer::Leading { shard, term }));
        }
        for (line, waiting) in tables.waiting.lengths().filter(|(line, _)| !tables.is_paused(&line.queue)) {
            send(&link, Message::Demand(demand(line, waiting)));
        }
        let replaced = CancellationToken::new();
        tables.links.insert(number, Link { sender: link, gateway: None, replaced: replaced.clone() });
        (number, replaced)
    }

    /// A link says whose it is. A gateway has one link at a time: it has given up those before, even if the end of their connections did not get here.
    /// What is pushed there is lost, so they go before this one tells where the workers are.
    pub(super) fn link_is_of(&self, link: u64, gateway: u64) {
        let mut tables = self.inner.tables.lock();
        let Some(this) = tables.links.get_mut(&link) else { return };
        this.gateway = Some(gateway);
        let others = tables.links.range(..link).filter(|(_, other)| other.gateway == Some(gateway));
        for number in others.map(|(number, _)| *number).collect::<Vec<_>>() {
            if let Some(other) = tables.remove_link(number) {
                other.replaced.cancel();
            }
        }
    }

    /// Forgets a link: its gateway died or its connection broke.
    pub(super) fn link_closed(&self, link: u64) {
        self.inner.tables.lock().remove_link(link);
    }

    /// Registers a session, matches its inventory with the leases of its incarnation, and asks about those of other incarnations.
    ///
    /// Which incarnation is the newer one can't be told from here: a gateway may have the stream of one that died, and not know it yet. So nothing is given up
    /// because a session is there. Its worker is told to stop those attempts, and answers that it does not have them: then it lives, and was started after
    /// they were granted, so that their own worker is gone. See [`Dispatcher::reported`].
    pub(super) fn session_opened(&self, key: SessionKey, session: Session, held: &[LeaseName], only_shard: u32) {
        let wall = self.inner.clock.now();
        let mut requests = Vec::new();
        {
            let mut tables = self.inner.tables.lock();
            let worker = session.worker.clone();
            if !tables.sessions.open(key, session) {
                return;
            }
            let known: Vec<_> = tables.leases.of_worker(&worker.name).cloned().collect();
            for lease in known.into_iter().filter(|lease| only_shard == 0 || lease.name.shard == only_shard) {
                let name = &lease.name;
                if lease.worker.incarnation != worker.incarnation {
                    tables.cancel(key, name, STARTED_ANEW, Duration::ZERO);
                } else if held.contains(name) {
                    tables.leases.renew(name.uid, &name.attempt, key, self.inner.times.lease, wall);
                } else if lease.session != Some(key) {
                    let (step, token) = (name.attempt.step.clone(), name.attempt.token);
                    requests.push((name.clone(), Ask::Redeliver { step, token, session: key }));
                }
            }
        }
        self.send_all(requests);
    }

    /// What an outcome asks of a run; none if nothing can be decided, so that it is to be reported again.
    ///
    /// A worker gives back what it was told to stop and does not have. If the attempt is that of another incarnation, this one is its successor: what the other
    /// one did is in doubt.
    pub(super) fn reported(&self, key: SessionKey, name: &LeaseName, outcome: Outcome) -> Option<Command> {
        if matches!(outcome, Outcome::Released(_)) {
            let tables = self.inner.tables.lock();
            if let Some(lease) = tables.leases.get(name.uid, &name.attempt) {
                // Its worker has another session by now, and repeats there what was not acknowledged.
                let reporter = tables.sessions.get(key)?;
                if reporter.worker != lease.worker {
                    return Some(abandon(name, STARTED_ANEW));
                }
            }
        }
        Some(Command::Complete { attempt: name.attempt.clone(), outcome })
    }

    /// A worker's stream closed at a gateway that lives.
    pub(super) fn session_closed(&self, key: SessionKey) {
        let mut tables = self.inner.tables.lock();
        tables.sessions.close(key);
        tables.leases.detach(key);
    }

    /// Room for tasks was granted.
    pub(super) fn granted(&self, key: SessionKey, credits: u32) {
        {
            let mut tables = self.inner.tables.lock();
            tables.sessions.grant(key, credits);
            tables.pay(key);
        }
        self.serve_session(key);
    }

    /// Gives unspent credits back to the gateway.
    pub(super) fn recalled(&self, key: SessionKey, most: u32) {
        let mut tables = self.inner.tables.lock();
        let credits = tables.sessions.recall(key, most);
        if let Some(session) = tables.sessions.get(key) {
            send(&session.link, Message::Returned(peer::ReturnCredits { session: key.session, credits }));
        }
    }

    /// Renews the leases that are known; returns the names that are not.
    pub(super) fn renew(&self, key: SessionKey, names: &[LeaseName]) -> (Vec<LeaseName>, Vec<LeaseName>) {
        let wall = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        let lease = self.inner.times.lease;
        names.iter().cloned().partition(|name| tables.leases.renew(name.uid, &name.attempt, key, lease, wall))
    }

    /// Notes progress of the user's code.
    pub(super) fn progress(&self, name: &LeaseName) {
        let wall = self.inner.clock.now();
        self.inner.tables.lock().leases.progress(name.uid, &name.attempt, wall);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorus_engine::{AttemptRef, RunUid, Timestamp, Token, WorkerId};
    use quorus_proto::peer::{LinkHello, LinkRequest, LinkResponse, SessionOpened, link_request};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::{
        clock::SystemClock,
        dispatch::{Entry, Line, Times, serve_link},
        leader::{LedShards, RunKey},
    };

    fn dispatcher() -> Dispatcher {
        let second = Duration::from_secs(1);
        let times = Times::new(30 * second, second, second);
        Dispatcher::new(times, Arc::new(SystemClock), LedShards::default())
    }

    /// A gateway opens a link and tells of one worker with room for one task.
    fn link(dispatcher: &Dispatcher, gateway: u64) -> (UnboundedSender<LinkRequest>, UnboundedReceiver<LinkResponse>) {
        let (requests, from_gateway) = unbounded_channel();
        let (to_gateway, responses) = unbounded_channel();
        tokio::spawn(serve_link(dispatcher.clone(), UnboundedReceiverStream::new(from_gateway), to_gateway));
        let opened = SessionOpened {
            session: 1,
            worker: "w".into(),
            incarnation: "i".into(),
            worker_session: 1,
            queues: vec!["q".into()],
            ..SessionOpened::default()
        };
        let grant = peer::GrantCredits { session: 1, credits: 1 };
        for message in [
            link_request::Message::Hello(LinkHello { node_id: gateway }),
            link_request::Message::SessionOpened(opened),
            link_request::Message::Grant(grant),
        ] {
            requests.send(LinkRequest { message: Some(message) }).unwrap();
        }
        (requests, responses)
    }

    async fn links(dispatcher: &Dispatcher) -> Vec<u64> {
        // Everything that was sent is handled before a task that was spawned later gets its turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        dispatcher.inner.tables.lock().links.keys().copied().collect()
    }

    /// Found by the simulation: the end of a broken connection did not get through, so tasks were pushed to a gateway that had long opened another
    /// link, and their leases ran out.
    #[tokio::test]
    async fn a_gateway_that_links_again_is_pushed_to_by_its_new_link_only() {
        let dispatcher = dispatcher();
        let (_first, mut responses) = link(&dispatcher, 2);
        let (_other, _others) = link(&dispatcher, 3);
        assert_eq!(links(&dispatcher).await, [0, 1]);
        let (_second, _responses) = link(&dispatcher, 2);
        assert_eq!(links(&dispatcher).await, [1, 2]);
        let credits: Vec<u64> = std::iter::from_fn(|| dispatcher.take(&Line::plain("q"))).map(|credit| credit.session.link).collect();
        assert_eq!(credits, [1, 2], "the room that the first link told of is gone with it");
        assert!(responses.recv().await.is_none(), "a gateway that still listens there finds out");
    }

    fn name(step: &str) -> LeaseName {
        let attempt = AttemptRef { step: step.into(), attempt: 1, token: Token(2) };
        LeaseName { shard: 1, key: RunKey::new("default", "r"), uid: RunUid(1), attempt }
    }

    fn lease(dispatcher: &Dispatcher, step: &str, incarnation: &str) {
        let worker = WorkerId { name: "w".into(), incarnation: incarnation.into() };
        let entry = Entry::new(name(step), worker, dispatcher.inner.times.lease, None, None);
        dispatcher.inner.tables.lock().leases.insert(entry, Timestamp(0));
    }

    /// Found by the simulation: a gateway still had the stream of a worker that had died, and told a new leader of it. The leader took that worker for the
    /// successor of the one that was started in its place, and gave up what that one was executing.
    #[tokio::test]
    async fn a_session_of_another_incarnation_gives_nothing_up_before_its_worker_has_answered() {
        let dispatcher = dispatcher();
        lease(&dispatcher, "s", "another");
        let (_requests, mut responses) = link(&dispatcher, 2);
        links(&dispatcher).await;
        let asked: Vec<_> = std::iter::from_fn(|| responses.try_recv().ok()).filter_map(|response| response.message).collect();
        let [Message::Cancel(peer::CancelPushed { session: 1, cancel: Some(cancel) })] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(LeaseName::decode(&cancel.lease), Some(name("s")));
        let tables = dispatcher.inner.tables.lock();
        assert_eq!(tables.leases.get(RunUid(1), &name("s").attempt).unwrap().session, None, "its lease is not moved there either");
    }

    #[tokio::test]
    async fn what_another_incarnation_gives_back_is_given_up_and_what_its_own_does_is_released() {
        let dispatcher = dispatcher();
        lease(&dispatcher, "of-another", "another");
        lease(&dispatcher, "own", "i");
        let (_requests, _responses) = link(&dispatcher, 2);
        links(&dispatcher).await;
        let here = SessionKey { link: 0, session: 1 };
        let released = || Outcome::Released(None);
        assert_eq!(dispatcher.reported(here, &name("of-another"), released()), Some(abandon(&name("of-another"), STARTED_ANEW)));
        let complete = |step, outcome| Some(Command::Complete { attempt: name(step).attempt, outcome });
        assert_eq!(dispatcher.reported(here, &name("own"), released()), complete("own", released()));
        let gone = SessionKey { link: 0, session: 9 };
        assert_eq!(dispatcher.reported(gone, &name("of-another"), released()), None, "nobody knows whose word it is");
        assert_eq!(dispatcher.reported(gone, &name("unknown"), released()), complete("unknown", released()), "the run's history tells");
        assert_eq!(dispatcher.reported(gone, &name("own"), Outcome::Succeeded(None)), complete("own", Outcome::Succeeded(None)));
    }
}
