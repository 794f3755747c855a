//! Brings waiting tasks to workers that have room, and takes back those that nobody could decide on.
//!
//! Invariant, up to the next tick: while a task waits in a line that is open, no session with a credit fits it. So a task is matched when it becomes
//! the first of its line, and a session when it gets a credit; nobody looks at all tasks or all sessions.

use std::{sync::atomic::Ordering, time::Duration};

use quorus_engine::{Command, Rejection};
use tokio::time::Instant;

use super::{
    Credit, Dispatcher, Line, PermitEnd, ReservedCredit, SessionKey, WaitingTask,
    tables::{Parked, Tables},
};
use crate::leader::{Answer, Ask, Refusal, Reply, Request};

/// A task that the engine failed on comes back after this time.
const PARKED_FOR: Duration = Duration::from_secs(1);

/// What becomes of a task that was taken out of its line for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comeback {
    /// The decision was made.
    Done,
    /// It does not wait any more, or the next leader finds it in the state.
    Gone,
    /// It was too early to decide: it stands in its line again.
    Now,
    /// The engine failed on it: the same, but later, so that a fault is not tried in a loop.
    Later,
}

impl Comeback {
    fn after(answer: &Result<Answer, Refusal>) -> Self {
        match answer {
            Ok(_) => Self::Done,
            // Clocks differ by a little, or were set back.
            Err(Refusal::Rejected(Rejection::TimerNotDue(_))) => Self::Now,
            Err(Refusal::Broken(_)) => Self::Later,
            Err(Refusal::Rejected(_) | Refusal::NotLeader { .. } | Refusal::OutcomeUnknown) => Self::Gone,
        }
    }
}

impl Dispatcher {
    /// Leases the waiting tasks of a line to whoever has room.
    pub(super) fn serve_line(&self, line: &Line) {
        self.serve(|tables| {
            if tables.is_paused(&line.queue) || tables.waiting.len(line) == 0 {
                return None;
            }
            let credit = tables.sessions.take(line)?;
            let Some(task) = tables.waiting.pop(line) else {
                tables.sessions.release(credit);
                return None;
            };
            Some((task, credit))
        });
    }

    /// Leases waiting tasks to a session, as far as it has room.
    pub(super) fn serve_session(&self, key: SessionKey) {
        self.serve(|tables| {
            let session = tables.sessions.get(key).filter(|session| session.credits > 0)?;
            let paused = |queue: &str| tables.is_paused(queue);
            let line = tables.waiting.first_line(&session.queues, &session.labels, |queue| !paused(queue))?;
            let credit = tables.sessions.take_from(key)?;
            let Some(task) = tables.waiting.pop(&line) else {
                tables.sessions.release(credit);
                return None;
            };
            Some((task, credit))
        });
    }

    fn serve(&self, mut next: impl FnMut(&mut Tables) -> Option<(WaitingTask, Credit)>) {
        if self.inner.draining.load(Ordering::Acquire) {
            return;
        }
        loop {
            let mut tables = self.inner.tables.lock();
            let Some((task, credit)) = next(&mut tables) else {
                tables.announce();
                return;
            };
            drop(tables);
            let command = Command::Lease { step: task.step.clone(), worker: credit.worker.clone() };
            self.deliver(task, Ask::Command(command), Some(credit));
        }
    }

    /// Sends a request about a task that was taken out of its line; if it can't be decided, the task stands there again.
    pub(super) fn deliver(&self, task: WaitingTask, ask: Ask, credit: Option<Credit>) {
        let credit = credit.map(|credit| ReservedCredit::new(self.clone(), credit));
        // Its leadership is over: the next one finds it in the state.
        let Some(led) = self.inner.shards.get(task.shard) else { return };
        let (dispatcher, term) = (self.clone(), led.term);
        let (uid, key) = (task.uid, task.key.clone());
        let reply = Reply::new(move |answer| dispatcher.answered(term, task, &answer));
        led.deliver(&key, Request { uid: Some(uid), ask, credit, reply, permit: None });
    }

    fn answered(&self, term: u64, task: WaitingTask, answer: &Result<Answer, Refusal>) {
        let comeback = Comeback::after(answer);
        if comeback == Comeback::Done {
            return;
        }
        let line = task.line();
        let first = {
            let mut tables = self.inner.tables.lock();
            // It may have come back already, with a permit to come.
            if !tables.waiting.contains(task.uid, &task.step) {
                tables.permits.end(task.uid, &task.step, PermitEnd::Unused);
            }
            if !self.inner.shards.is_led(task.shard, term) {
                return;
            }
            match comeback {
                Comeback::Done | Comeback::Gone => false,
                Comeback::Now => tables.wait(task),
                Comeback::Later => {
                    tables.parked.push(Parked { until: Instant::now() + PARKED_FOR, term, task });
                    false
                }
            }
        };
        if first {
            self.serve_line(&line);
        }
    }

    /// Puts parked tasks back into their lines when their time has come, and those whose permits nobody used at their gates.
    pub(super) fn bring_back(&self, tables: &mut Tables) {
        let now = Instant::now();
        let (due, parked) = std::mem::take(&mut tables.parked).into_iter().partition(|parked| parked.until <= now);
        tables.parked = parked;
        let due: Vec<Parked> = due;
        for Parked { term, task, .. } in due {
            if self.inner.shards.is_led(task.shard, term) {
                tables.wait(task);
            }
        }
        for (uid, step) in tables.permits.tick() {
            // One that does not wait is being decided on.
            if let Some(task) = tables.waiting.remove(uid, &step) {
                tables.wait(task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorus_engine::{RunUid, StepId, Timestamp};

    use super::*;

    #[test]
    fn a_task_that_could_not_be_decided_on_comes_back() {
        let rejected = |rejection| Err(Refusal::Rejected(rejection));
        assert_eq!(Comeback::after(&Ok(Answer { uid: RunUid(1), existing: false })), Comeback::Done);
        assert_eq!(Comeback::after(&rejected(Rejection::TimerNotDue(Timestamp(5)))), Comeback::Now, "a schedule timeout was early");
        assert_eq!(Comeback::after(&Err(Refusal::Broken("the engine panicked".into()))), Comeback::Later);
        assert_eq!(Comeback::after(&rejected(Rejection::NotQueued(StepId::from("s")))), Comeback::Gone);
        assert_eq!(Comeback::after(&Err(Refusal::OutcomeUnknown)), Comeback::Gone);
    }
}
