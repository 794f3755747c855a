//! Credits on their way: reserved for a decision, drawn by one, and given back by whoever does not spend them.

use quorus_engine::{Credits, PlannedStep, PlannedTask, WorkerId};

use super::{Credit, Dispatcher, Line, Selectors};

/// A credit on its way to the decision that is to spend it; given back if it never gets there.
pub struct ReservedCredit {
    dispatcher: Dispatcher,
    credit: Option<Credit>,
}

impl ReservedCredit {
    /// Reserves a credit that was taken.
    pub(super) fn new(dispatcher: Dispatcher, credit: Credit) -> Self {
        Self { dispatcher, credit: Some(credit) }
    }
}

impl Drop for ReservedCredit {
    fn drop(&mut self) {
        // Not served at once: this may happen in the middle of serving. The ticker does it.
        if let Some(credit) = self.credit.take() {
            self.dispatcher.give_back(credit);
        }
    }
}

/// The credits of one decision: remembers which session each lease is for, and gives back what the decision did not use.
pub struct CreditDraw<'a> {
    dispatcher: &'a Dispatcher,
    taken: Vec<Credit>,
}

impl<'a> CreditDraw<'a> {
    /// Nothing taken yet.
    pub fn new(dispatcher: &'a Dispatcher) -> Self {
        Self { dispatcher, taken: Vec::new() }
    }

    /// Adds a credit that was reserved before.
    pub fn add(&mut self, reserved: Option<ReservedCredit>) {
        self.taken.extend(reserved.and_then(|mut reserved| reserved.credit.take()));
    }

    /// The credit that a lease to this worker spends.
    pub fn spend(&mut self, worker: &WorkerId) -> Option<Credit> {
        let place = self.taken.iter().position(|credit| credit.worker == *worker)?;
        Some(self.taken.remove(place))
    }
}

impl Credits for CreditDraw<'_> {
    fn take(&mut self, queue: &str) -> Option<WorkerId> {
        self.take_of(&Line::plain(queue))
    }

    /// A task that counts against limits always queues first: there it waits for its permits.
    fn take_for(&mut self, queue: &str, step: &PlannedStep, task: &PlannedTask) -> Option<WorkerId> {
        if self.dispatcher.is_limited(step, task) {
            return None;
        }
        let selectors = if task.selectors.is_empty() { Selectors::default() } else { task.selectors.clone().into() };
        self.take_of(&Line { queue: queue.to_owned(), selectors })
    }
}

impl CreditDraw<'_> {
    fn take_of(&mut self, line: &Line) -> Option<WorkerId> {
        let credit = self.dispatcher.take(line)?;
        let worker = credit.worker.clone();
        self.taken.push(credit);
        Some(worker)
    }
}

impl Drop for CreditDraw<'_> {
    fn drop(&mut self) {
        for credit in self.taken.drain(..) {
            self.dispatcher.release(credit);
        }
    }
}
