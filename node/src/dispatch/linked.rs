//! What links bring: sessions with their room and their leases. See [`super::link`].

use std::sync::atomic::Ordering;

use quorus_proto::peer::{self, link_response::Message};

use super::{
    Dispatcher, LeaseName, LinkSender, Session, SessionKey,
    dispatcher::abandon,
    tables::{demand, send},
};
use crate::leader::Ask;

impl Dispatcher {
    /// Registers a link; tells it what this node leads and what waits.
    pub(super) fn link_opened(&self, link: LinkSender) -> u64 {
        let number = self.inner.links_opened.fetch_add(1, Ordering::Relaxed);
        let mut tables = self.inner.tables.lock();
        for (shard, term) in self.inner.shards.terms() {
            send(&link, Message::Leading(peer::Leading { shard, term }));
        }
        for (line, waiting) in tables.waiting.lengths().filter(|(line, _)| !tables.is_paused(&line.queue)) {
            send(&link, Message::Demand(demand(line, waiting)));
        }
        tables.links.insert(number, link);
        number
    }

    /// Forgets a link: its gateway died or its connection broke.
    pub(super) fn link_closed(&self, link: u64) {
        let mut tables = self.inner.tables.lock();
        tables.links.remove(&link);
        tables.sessions.close_link(link);
        tables.leases.detach_link(link);
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
        let wall = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        tables.sessions.close(key);
        tables.leases.detach(key, self.inner.times.reconnect_grace, wall);
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
