//! Workers that have room, as the leaders on this node know them: sessions with credits, by queue.
//!
//! Invariants: a credit is known to one leader node only (the gateway grants it exclusively); `by_queue` holds exactly the sessions that
//! have at least one credit; a session dies with its link, and its credits with it.

use std::collections::{BTreeMap, VecDeque};

use quorus_engine::WorkerId;
use quorus_proto::peer::LinkResponse;
use tokio::sync::mpsc::UnboundedSender;

use super::{Line, fits};

/// Where a leader's messages to a gateway go. What flows is bounded by credits, held leases and heartbeats.
pub type LinkSender = UnboundedSender<LinkResponse>;

/// Names a session: the link that it came by, and the gateway's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Number of the link in this process; a new link has a new number.
    pub link: u64,
    /// The gateway's number.
    pub session: u64,
}

/// The right to push one task to a session. Give it back with [`Sessions::release`] unless it was spent.
#[derive(Clone, Debug)]
pub struct Credit {
    /// Whose.
    pub session: SessionKey,
    /// Who will execute the task.
    pub worker: WorkerId,
}

/// A worker's stream, seen from a leader.
pub struct Session {
    /// The worker.
    pub worker: WorkerId,
    /// The worker's own number for the session.
    pub worker_session: u64,
    /// Its queues.
    pub queues: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Unspent credits.
    pub credits: u32,
    /// Credits that the gateway asked back while they were spent: paid as soon as room comes free.
    pub owed: u32,
    /// The way to its gateway.
    pub link: LinkSender,
}

/// All sessions that leaders on this node know.
#[derive(Default)]
pub struct Sessions {
    sessions: BTreeMap<SessionKey, Session>,
    by_queue: BTreeMap<String, VecDeque<SessionKey>>,
}

impl Sessions {
    /// Adds a session without credits, or replaces what was known of it but keeps its credits. Older sessions of the same process are closed:
    /// the worker has left them. Returns false, and changes nothing, if this is such an older one itself.
    pub fn open(&mut self, key: SessionKey, mut session: Session) -> bool {
        let same = self.sessions.iter().filter(|(other, known)| **other != key && known.worker == session.worker);
        let same: Vec<_> = same.map(|(other, known)| (*other, known.worker_session)).collect();
        if same.iter().any(|(_, number)| *number > session.worker_session) {
            return false;
        }
        for (older, _) in same.iter().filter(|(_, number)| *number < session.worker_session) {
            self.close(*older);
        }
        if let Some(known) = self.sessions.get(&key) {
            session.credits = known.credits;
            session.owed = known.owed;
        }
        self.sessions.insert(key, session);
        true
    }

    /// Forgets a session and its credits.
    pub fn close(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.sessions.remove(&key)?;
        self.unlist(&session.queues, key);
        Some(session)
    }

    /// Forgets every session of a link; returns their keys.
    pub fn close_link(&mut self, link: u64) -> Vec<SessionKey> {
        let keys: Vec<_> =
            self.sessions.range(SessionKey { link, session: 0 }..=SessionKey { link, session: u64::MAX }).map(|(key, _)| *key).collect();
        for key in &keys {
            self.close(*key);
        }
        keys
    }

    /// A session, if it is there.
    pub fn get(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(&key)
    }

    /// Where a worker is now.
    pub fn of_worker(&self, worker: &WorkerId) -> Option<(SessionKey, &Session)> {
        self.sessions
            .iter()
            .filter(|(_, session)| session.worker == *worker)
            .max_by_key(|(_, session)| session.worker_session)
            .map(|(key, session)| (*key, session))
    }

    /// Adds credits to a session; those of a session that is gone vanish, since its gateway has forgotten them, too.
    pub fn grant(&mut self, key: SessionKey, credits: u32) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let listed = session.credits > 0;
        session.credits += credits;
        if !listed && session.credits > 0 {
            for queue in session.queues.clone() {
                self.by_queue.entry(queue).or_default().push_back(key);
            }
        }
    }

    /// Takes a credit for a task of this line. Sessions take turns.
    ///
    /// Without demands on labels that is the first session; else those before the first that fits are looked at.
    pub fn take(&mut self, line: &Line) -> Option<Credit> {
        let sessions = &self.sessions;
        let queue = self.by_queue.get_mut(&line.queue)?;
        let fits =
            |key: &SessionKey| line.selectors.is_empty() || sessions.get(key).is_some_and(|known| fits(&line.selectors, &known.labels));
        let place = queue.iter().position(fits)?;
        let key = queue.remove(place)?;
        queue.push_back(key);
        self.take_from(key)
    }

    /// Takes a credit of this session, if it has one.
    pub fn take_from(&mut self, key: SessionKey) -> Option<Credit> {
        let session = self.sessions.get_mut(&key)?;
        session.credits = session.credits.checked_sub(1)?;
        let credit = Credit { session: key, worker: session.worker.clone() };
        if session.credits == 0 {
            let queues = session.queues.clone();
            self.unlist(&queues, key);
        }
        Some(credit)
    }

    /// Takes `wanted` credits of a session away: unspent ones at once, the others when room comes free. Returns how many at once.
    pub fn recall(&mut self, key: SessionKey, wanted: u32) -> u32 {
        let Some(session) = self.sessions.get_mut(&key) else { return 0 };
        let taken = session.credits.min(wanted);
        session.credits -= taken;
        session.owed = wanted - taken;
        if taken > 0 && session.credits == 0 {
            let queues = session.queues.clone();
            self.unlist(&queues, key);
        }
        taken
    }

    /// Takes what a session owes out of what it has; returns how many credits the gateway gets.
    pub fn pay(&mut self, key: SessionKey) -> u32 {
        let Some(owed) = self.sessions.get(&key).map(|session| session.owed).filter(|owed| *owed > 0) else { return 0 };
        self.recall(key, owed)
    }

    /// Gives an unspent credit back.
    pub fn release(&mut self, credit: Credit) {
        self.grant(credit.session, 1);
    }

    fn unlist(&mut self, queues: &[String], key: SessionKey) {
        for queue in queues {
            if let Some(line) = self.by_queue.get_mut(queue) {
                line.retain(|other| *other != key);
                if line.is_empty() {
                    self.by_queue.remove(queue);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(names: &[(&str, &[&str])]) -> Sessions {
        let mut sessions = Sessions::default();
        for (number, (name, queues)) in names.iter().enumerate() {
            let (link, _) = tokio::sync::mpsc::unbounded_channel();
            let worker = WorkerId { name: (*name).to_owned(), incarnation: (*name).to_owned() };
            let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
            sessions.open(
                key(number as u64),
                Session { worker, worker_session: 1, queues, labels: BTreeMap::new(), credits: 0, owed: 0, link },
            );
        }
        sessions
    }

    fn key(session: u64) -> SessionKey {
        SessionKey { link: 1, session }
    }

    #[test]
    fn sessions_take_turns_and_serve_only_their_queues() {
        let mut sessions = sessions(&[("a", &["x"]), ("b", &["x", "y"])]);
        sessions.grant(key(0), 2);
        sessions.grant(key(1), 2);
        let order: Vec<_> = std::iter::from_fn(|| sessions.take(&Line::plain("x"))).map(|credit| credit.worker.name).collect();
        assert_eq!(order, ["a", "b", "a", "b"]);
        assert!(sessions.take(&Line::plain("y")).is_none(), "its credits were spent on the other queue");
    }

    #[test]
    fn a_task_with_demands_finds_the_session_that_fits() {
        let mut sessions = sessions(&[("a", &["x"]), ("b", &["x"])]);
        sessions.sessions.get_mut(&key(1)).unwrap().labels.insert("gpu".into(), "yes".into());
        sessions.grant(key(0), 1);
        sessions.grant(key(1), 1);
        let line = Line { queue: "x".into(), selectors: std::sync::Arc::new([("gpu".to_owned(), "yes".to_owned())].into()) };
        assert_eq!(sessions.take(&line).map(|credit| credit.worker.name), Some("b".to_owned()));
        assert!(sessions.take(&line).is_none());
        assert_eq!(sessions.take(&Line::plain("x")).map(|credit| credit.worker.name), Some("a".to_owned()));
    }

    #[test]
    fn a_credit_given_back_can_be_taken_again() {
        let mut sessions = sessions(&[("a", &["x"])]);
        sessions.grant(key(0), 1);
        let credit = sessions.take(&Line::plain("x")).unwrap();
        assert!(sessions.take(&Line::plain("x")).is_none());
        sessions.release(credit);
        assert!(sessions.take(&Line::plain("x")).is_some());
    }

    #[test]
    fn recalled_credits_are_gone() {
        let mut sessions = sessions(&[("a", &["x"])]);
        sessions.grant(key(0), 3);
        assert_eq!(sessions.recall(key(0), 2), 2);
        assert_eq!(sessions.recall(key(0), 2), 1);
        assert!(sessions.take(&Line::plain("x")).is_none());
    }

    #[test]
    fn a_credit_that_was_spent_is_paid_when_its_room_comes_free() {
        let mut sessions = sessions(&[("a", &["x"])]);
        sessions.grant(key(0), 1);
        let credit = sessions.take(&Line::plain("x")).unwrap();
        assert_eq!(sessions.recall(key(0), 1), 0);
        assert_eq!(sessions.pay(key(0)), 0);
        sessions.release(credit);
        assert_eq!(sessions.pay(key(0)), 1);
        assert_eq!(sessions.pay(key(0)), 0);
        assert!(sessions.take(&Line::plain("x")).is_none());
    }

    #[test]
    fn a_worker_is_at_its_newest_session_only() {
        let mut sessions = sessions(&[("a", &["x"])]);
        sessions.grant(key(0), 1);
        let (link, _) = tokio::sync::mpsc::unbounded_channel();
        let worker = WorkerId { name: "a".into(), incarnation: "a".into() };
        let again = |worker_session| Session {
            worker: worker.clone(),
            worker_session,
            queues: vec!["x".into()],
            labels: BTreeMap::new(),
            credits: 0,
            owed: 0,
            link: link.clone(),
        };
        assert!(sessions.open(key(9), again(2)));
        assert!(sessions.take(&Line::plain("x")).is_none(), "the older session's credits are gone");
        assert!(!sessions.open(key(10), again(1)), "a message about an older session came late");
    }

    #[test]
    fn credits_die_with_their_link() {
        let mut sessions = sessions(&[("a", &["x"])]);
        sessions.grant(key(0), 1);
        let credit = sessions.take(&Line::plain("x")).unwrap();
        sessions.grant(key(0), 1);
        assert_eq!(sessions.close_link(1), [key(0)]);
        sessions.release(credit);
        assert!(sessions.take(&Line::plain("x")).is_none());
    }
}
