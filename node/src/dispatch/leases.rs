//! The leases that this node's leaders granted or inherited, and when each is over.
//!
//! Renewals live here and nowhere else: they are liveness, not history. A leader that is new to a lease waits longer than any lease before it
//! gives one up, so that workers find it first (`inherited_until`), and until then no deadline of any kind ends the attempt.
//!
//! Invariant: `checks` has exactly one entry per lease, at `Entry::check_at`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quorus_engine::{AttemptRef, Millis, RunUid, StepId, Timestamp, WorkerId};
use quorus_mutants::{Mutant, active};
use tokio::time::Instant;

use super::{LeaseName, SessionKey};

/// A lease.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: LeaseName,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// Where the worker is, as far as it is known.
    pub session: Option<SessionKey>,
    /// It is over at this time unless renewed.
    pub expires_at: Instant,
    /// Until then nothing ends it: set while it is inherited and the worker has not come yet.
    pub inherited_until: Option<Instant>,
    /// When the attempt times out.
    pub attempt_deadline: Option<Timestamp>,
    /// Longest silence of the user's code.
    pub heartbeat_timeout: Option<Millis>,
    /// Last sign of progress.
    pub progress_at: Instant,
    check_at: Instant,
}

/// What a lease that was looked at needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Nobody renewed it.
    Lease,
    /// The attempt took too long.
    Attempt,
    /// The user's code was silent for too long.
    Heartbeat,
}

type Id = (RunUid, StepId);

/// All leases of the shards that this node leads.
#[derive(Default)]
pub struct Leases {
    entries: BTreeMap<Id, Entry>,
    checks: BTreeSet<(Instant, Id)>,
}

/// A command that was sent for an overdue lease is sent again after this time if the lease is still there.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

impl Entry {
    /// A lease granted now, or inherited (`inherited_until`).
    pub fn new(
        name: LeaseName,
        worker: WorkerId,
        lease: Duration,
        attempt_deadline: Option<Timestamp>,
        heartbeat_timeout: Option<Millis>,
    ) -> Self {
        let now = Instant::now();
        let expires_at = now + lease;
        Self {
            name,
            worker,
            session: None,
            expires_at,
            inherited_until: None,
            attempt_deadline,
            heartbeat_timeout,
            progress_at: now,
            check_at: expires_at,
        }
    }

    fn id(&self) -> Id {
        (self.name.uid, self.name.attempt.step.clone())
    }

    fn next_check(&self, now: Instant, wall: Timestamp) -> Instant {
        if let Some(until) = self.inherited_until {
            return until;
        }
        let mut next = self.expires_at;
        if let Some(deadline) = self.attempt_deadline {
            let left = u64::try_from(deadline.0.saturating_sub(wall.0)).unwrap_or(0);
            next = next.min(now + Duration::from_millis(left));
        }
        if let Some(silence) = self.heartbeat_timeout {
            next = next.min(self.progress_at + Duration::from_millis(silence.0));
        }
        next
    }

    fn overdue(&self, now: Instant, wall: Timestamp) -> Option<Overdue> {
        if let Some(until) = self.inherited_until {
            return (now >= until).then_some(Overdue::Lease);
        }
        if now >= self.expires_at {
            return Some(Overdue::Lease);
        }
        if self.attempt_deadline.is_some_and(|deadline| deadline <= wall) {
            return Some(Overdue::Attempt);
        }
        let silence = self.heartbeat_timeout?;
        (now >= self.progress_at + Duration::from_millis(silence.0)).then_some(Overdue::Heartbeat)
    }
}

impl Leases {
    /// Adds a lease, or replaces the one of the step.
    pub fn insert(&mut self, mut entry: Entry, wall: Timestamp) {
        self.remove(entry.name.uid, &entry.name.attempt.step);
        entry.check_at = entry.next_check(Instant::now(), wall);
        self.checks.insert((entry.check_at, entry.id()));
        self.entries.insert(entry.id(), entry);
    }

    /// Forgets the lease of a step.
    pub fn remove(&mut self, uid: RunUid, step: &StepId) -> Option<Entry> {
        let entry = self.entries.remove(&(uid, step.clone()))?;
        self.checks.remove(&(entry.check_at, entry.id()));
        Some(entry)
    }

    /// Forgets the leases of a run; returns them.
    pub fn remove_run(&mut self, uid: RunUid) -> Vec<Entry> {
        let steps: Vec<_> = self
            .entries
            .range((uid, StepId::from(""))..)
            .take_while(|((other, _), _)| *other == uid)
            .map(|((_, step), _)| step.clone())
            .collect();
        steps.iter().filter_map(|step| self.remove(uid, step)).collect()
    }

    /// Forgets the leases of a shard, when its leadership ends.
    pub fn remove_shard(&mut self, shard: u32) {
        let gone: Vec<_> = self.entries.values().filter(|entry| entry.name.shard == shard).map(Entry::id).collect();
        for (uid, step) in gone {
            self.remove(uid, &step);
        }
    }

    /// The lease of an attempt, if it is this very one.
    pub fn get(&self, uid: RunUid, attempt: &AttemptRef) -> Option<&Entry> {
        let entry = self.entries.get(&(uid, attempt.step.clone()))?;
        (entry.name.attempt == *attempt).then_some(entry)
    }

    /// Prolongs a lease: its worker showed a sign of life on this session.
    pub fn renew(&mut self, uid: RunUid, attempt: &AttemptRef, session: SessionKey, lease: Duration, wall: Timestamp) -> bool {
        self.change(uid, attempt, wall, |entry, now| {
            entry.expires_at = now + lease;
            entry.session = Some(session);
            if entry.inherited_until.take().is_some() {
                entry.progress_at = now;
            }
        })
    }

    /// Notes a sign of progress of the user's code.
    pub fn progress(&mut self, uid: RunUid, attempt: &AttemptRef, wall: Timestamp) -> bool {
        self.change(uid, attempt, wall, |entry, now| entry.progress_at = now)
    }

    /// The worker's stream closed at a gateway that lives. The lease runs on: the worker counts it from its last acknowledged heartbeat, and may be on its way
    /// to a gateway that does not reach this node.
    pub fn detach(&mut self, session: SessionKey) {
        for entry in self.entries.values_mut().filter(|entry| entry.session == Some(session)) {
            entry.session = None;
        }
    }

    /// The link died with its gateway: the workers will come elsewhere, their leases run on.
    pub fn detach_link(&mut self, link: u64) {
        if active(Mutant::LeasesDieWithGateway) {
            let held: Vec<_> = self.entries.values().filter(|entry| entry.session.is_some_and(|session| session.link == link)).collect();
            let held: Vec<_> = held.into_iter().map(|entry| (entry.name.uid, entry.name.attempt.clone())).collect();
            held.into_iter().for_each(|(uid, attempt)| {
                self.change(uid, &attempt, Timestamp(0), |entry, now| entry.expires_at = now);
            });
        }
        for entry in self.entries.values_mut() {
            if entry.session.is_some_and(|session| session.link == link) {
                entry.session = None;
            }
        }
    }

    /// The leases that a worker has by name, of any incarnation.
    pub fn of_worker<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.values().filter(move |entry| entry.worker.name == name)
    }

    /// All of them.
    pub fn names(&self) -> Vec<LeaseName> {
        self.entries.values().map(|entry| entry.name.clone()).collect()
    }

    /// When the last inherited lease of a run may be given up, if there is one.
    pub fn inherited_until(&self, uid: RunUid) -> Option<Instant> {
        self.entries
            .range((uid, StepId::from(""))..)
            .take_while(|((other, _), _)| *other == uid)
            .filter_map(|(_, entry)| entry.inherited_until)
            .max()
    }

    /// The leases that are over or whose attempts took too long. They stay until the decision about them is applied.
    pub fn overdue(&mut self, wall: Timestamp) -> Vec<(Overdue, Entry)> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        while let Some((check_at, id)) = self.checks.first().cloned() {
            if check_at > now {
                break;
            }
            self.checks.pop_first();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            match entry.overdue(now, wall) {
                Some(why) => {
                    entry.check_at = now + CHECK_AGAIN;
                    overdue.push((why, entry.clone()));
                }
                // Wall time and monotonic time may disagree by a little: look again soon, never in a tight loop.
                None => entry.check_at = entry.next_check(now, wall).max(now + Duration::from_millis(1)),
            }
            self.checks.insert((entry.check_at, id));
        }
        overdue
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn change(&mut self, uid: RunUid, attempt: &AttemptRef, wall: Timestamp, change: impl FnOnce(&mut Entry, Instant)) -> bool {
        let Some(entry) = self.entries.get_mut(&(uid, attempt.step.clone())).filter(|entry| entry.name.attempt == *attempt) else {
            return false;
        };
        let now = Instant::now();
        self.checks.remove(&(entry.check_at, entry.id()));
        change(entry, now);
        entry.check_at = entry.next_check(now, wall);
        self.checks.insert((entry.check_at, entry.id()));
        true
    }
}

#[cfg(test)]
mod tests {
    use quorus_engine::Token;

    use super::*;
    use crate::leader::RunKey;

    const LEASE: Duration = Duration::from_secs(30);

    fn entry(step: &str) -> Entry {
        let attempt = AttemptRef { step: step.into(), attempt: 1, token: Token(5) };
        let name = LeaseName { shard: 1, key: RunKey::new("default", "r"), uid: RunUid(1), attempt };
        Entry::new(name, WorkerId { name: "w".into(), incarnation: "i".into() }, LEASE, None, None)
    }

    fn session() -> SessionKey {
        SessionKey { link: 1, session: 1 }
    }

    fn steps(overdue: Vec<(Overdue, Entry)>) -> Vec<(Overdue, String)> {
        overdue.into_iter().map(|(why, entry)| (why, entry.name.attempt.step.to_string())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_lives_as_long_as_it_is_renewed() {
        let mut leases = Leases::default();
        let attempt = entry("a").name.attempt;
        leases.insert(entry("a"), Timestamp(0));
        for _ in 0..5 {
            tokio::time::advance(LEASE - Duration::from_secs(1)).await;
            assert!(leases.overdue(Timestamp(0)).is_empty());
            assert!(leases.renew(RunUid(1), &attempt, session(), LEASE, Timestamp(0)));
        }
        tokio::time::advance(LEASE).await;
        assert_eq!(steps(leases.overdue(Timestamp(0))), [(Overdue::Lease, "a".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_token_renews_nothing() {
        let mut leases = Leases::default();
        leases.insert(entry("a"), Timestamp(0));
        let stale = AttemptRef { token: Token(4), ..entry("a").name.attempt };
        assert!(!leases.renew(RunUid(1), &stale, session(), LEASE, Timestamp(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_an_inherited_attempt_before_its_worker_had_time_to_come() {
        let mut leases = Leases::default();
        let mut inherited = entry("a");
        inherited.attempt_deadline = Some(Timestamp(1));
        inherited.heartbeat_timeout = Some(Millis(1));
        inherited.inherited_until = Some(Instant::now() + 2 * LEASE);
        leases.insert(inherited, Timestamp(0));
        tokio::time::advance(2 * LEASE - Duration::from_secs(1)).await;
        assert!(leases.overdue(Timestamp(100_000)).is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(steps(leases.overdue(Timestamp(100_000))), [(Overdue::Lease, "a".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn once_its_worker_has_come_deadlines_count_again() {
        let mut leases = Leases::default();
        let mut inherited = entry("a");
        inherited.attempt_deadline = Some(Timestamp(1));
        inherited.inherited_until = Some(Instant::now() + 2 * LEASE);
        let attempt = inherited.name.attempt.clone();
        leases.insert(inherited, Timestamp(0));
        assert!(leases.renew(RunUid(1), &attempt, session(), LEASE, Timestamp(5)));
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(steps(leases.overdue(Timestamp(7))), [(Overdue::Attempt, "a".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_closed_stream_nor_a_dead_gateway_ends_a_lease_before_its_time() {
        let mut leases = Leases::default();
        for step in ["a", "b"] {
            leases.insert(entry(step), Timestamp(0));
        }
        let (a, b) = (entry("a").name.attempt, entry("b").name.attempt);
        leases.renew(RunUid(1), &a, session(), LEASE, Timestamp(0));
        leases.renew(RunUid(1), &b, SessionKey { link: 2, session: 1 }, LEASE, Timestamp(0));
        leases.detach(session());
        leases.detach_link(2);
        // The workers count from their last acknowledged heartbeats, and go on until then.
        tokio::time::advance(LEASE - Duration::from_millis(1)).await;
        assert!(leases.overdue(Timestamp(0)).is_empty());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(steps(leases.overdue(Timestamp(0))), [(Overdue::Lease, "a".to_owned()), (Overdue::Lease, "b".to_owned())]);
    }
}
