//! What links bring: sessions with their room and their leases. See [`super::link`].

use std::sync::atomic::Ordering;

use quorus_proto::peer::{self, link_response::Message};
use tokio_util::sync::CancellationToken;

use super::{
    Dispatcher, LeaseName, LinkSender, Session, SessionKey,
    dispatcher::abandon,
    tables::{Link, demand, send},
};
use crate::leader::Ask;

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

    /// Registers a session, matches its inventory with the leases of its incarnation, and gives up those of earlier incarnations.
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
                    requests.push((name.clone(), Ask::Command(abandon(name, "the worker was started anew"))));
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
    use std::{sync::Arc, time::Duration};

    use quorus_proto::peer::{LinkHello, LinkRequest, LinkResponse, SessionOpened, link_request};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::{
        clock::SystemClock,
        dispatch::{Line, Times, serve_link},
        leader::LedShards,
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
}
