//! What the courier has at hand: places to go to now, deliveries on their way, and those that went wrong and wait for another try.
//!
//! Bounded: what does not fit is dropped and remembered as one bit, and found again in the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Delivered, Owing};
use crate::store::RunPlace;

/// Places at hand, and places that wait for another try, each.
const PLACES_MAX: usize = 10_000;
/// Pause before a second try, doubled up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The bookkeeping.
#[derive(Default)]
pub(super) struct Pending {
    ready: BTreeMap<RunPlace, Owing>,
    /// True if something new was told of the place meanwhile.
    in_flight: BTreeMap<RunPlace, bool>,
    later: BTreeMap<RunPlace, Owing>,
    by_time: BTreeSet<(Instant, RunPlace)>,
    /// Tries so far of what is on its way again.
    tries: BTreeMap<RunPlace, u32>,
    overflowed: bool,
}

impl Pending {
    /// Something may be owed at a place.
    pub(super) fn add(&mut self, owing: Owing) {
        let place = place(&owing);
        if let Some(again) = self.in_flight.get_mut(&place) {
            *again = true;
        } else if !self.later.contains_key(&place) {
            self.make_ready(place, owing);
        }
    }

    /// Takes the next place to go to; it is on its way from now on.
    pub(super) fn next(&mut self) -> Option<Owing> {
        let (place, owing) = self.ready.pop_first()?;
        self.in_flight.insert(place, false);
        Some(owing)
    }

    /// A delivery came back.
    pub(super) fn done(&mut self, owing: Owing, delivered: Delivered, now: Instant) {
        let place = place(&owing);
        let told_again = self.in_flight.remove(&place).unwrap_or(false);
        match delivered {
            Delivered::Failed => {
                let tries = self.tries.remove(&place).unwrap_or(0);
                if self.later.len() >= PLACES_MAX {
                    self.overflowed = true;
                    return;
                }
                let at = now + (RETRY_MIN * 2_u32.saturating_pow(tries.min(16))).min(RETRY_MAX);
                self.tries.insert(place.clone(), tries + 1);
                self.by_time.insert((at, place.clone()));
                self.later.insert(place, owing);
            }
            Delivered::Done | Delivered::Waits => {
                self.tries.remove(&place);
                if told_again {
                    self.make_ready(place, owing);
                }
            }
        }
    }

    /// What waited long enough is at hand again.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((at, place)) = self.by_time.first().cloned() {
            if at > now {
                break;
            }
            self.by_time.pop_first();
            if let Some(owing) = self.later.remove(&place) {
                self.make_ready(place, owing);
            }
        }
    }

    /// When something has waited long enough.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Deliveries on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// True, once, if something was dropped since the last time.
    pub(super) fn overflowed(&mut self) -> bool {
        self.ready.len() < PLACES_MAX / 2 && std::mem::take(&mut self.overflowed)
    }

    fn make_ready(&mut self, place: RunPlace, owing: Owing) {
        if self.ready.len() < PLACES_MAX {
            self.ready.insert(place, owing);
        } else {
            self.overflowed = true;
        }
    }
}

fn place(owing: &Owing) -> RunPlace {
    RunPlace { uid: owing.uid, step: owing.step.clone() }
}

#[cfg(test)]
mod tests {
    use quorus_engine::RunUid;

    use super::*;
    use crate::leader::RunKey;

    fn owing(uid: u128) -> Owing {
        Owing { key: RunKey::new("default", "r"), uid: RunUid(uid), step: Some("s".into()) }
    }

    #[test]
    fn a_place_is_visited_once_at_a_time_and_again_if_something_new_was_told() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.add(owing(1));
        pending.add(owing(1));
        assert_eq!(pending.next(), Some(owing(1)));
        assert_eq!(pending.next(), None);
        pending.add(owing(1));
        assert_eq!((pending.next(), pending.in_flight()), (None, 1));
        pending.done(owing(1), Delivered::Done, now);
        assert_eq!(pending.next(), Some(owing(1)));
        pending.done(owing(1), Delivered::Waits, now);
        assert_eq!((pending.next(), pending.in_flight(), pending.next_wake()), (None, 0, None), "nothing is kept of what waits");
    }

    #[test]
    fn what_went_wrong_is_tried_again_later_and_later() {
        let (mut pending, mut now) = (Pending::default(), Instant::now());
        pending.add(owing(1));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(pending.next(), Some(owing(1)));
            pending.done(owing(1), Delivered::Failed, now);
            pending.add(owing(1));
            assert_eq!(pending.next(), None, "news don't shorten the pause");
            let at = pending.next_wake().unwrap();
            pauses.push((at - now).as_millis());
            now = at;
            pending.wake(now);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn more_than_fits_is_found_in_the_index_again() {
        let mut pending = Pending::default();
        for uid in 0..=PLACES_MAX as u128 {
            pending.add(owing(uid));
        }
        assert!(!pending.overflowed(), "not before there is room");
        for _ in 0..=PLACES_MAX / 2 {
            let owing = pending.next().unwrap();
            pending.done(owing, Delivered::Done, Instant::now());
        }
        assert!(pending.overflowed());
        assert!(!pending.overflowed());
    }
}
