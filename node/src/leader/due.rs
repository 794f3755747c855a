//! One go through the timers that are due: which fire now, and which have to wait a moment longer.
//!
//! A timer can be due and still have to wait (its command is on its way, or its attempt's worker may yet come back). So a go is bounded by what it looks
//! at, too, and the next one begins behind it: timers that wait hold up no others, however many they are.

use std::time::Duration;

use crate::store::{StoreError, Timer, TimerEntry};

/// Timers fired in one go; more are smoothed over the next ones.
const FIRED_AT_ONCE: usize = 500;
/// Timers looked at in one go.
const LOOKED_AT_ONCE: usize = 2_000;
/// Timers read at a time.
pub(super) const PAGE: usize = 500;

/// Where the next go begins: `None` for the first of all timers.
#[derive(Debug, Default)]
pub(super) struct Cursor(Option<Timer>);

/// What a go found.
#[derive(Debug)]
pub(super) struct Gone {
    /// To be fired, earliest first.
    pub(super) due: Vec<TimerEntry>,
    /// When the first of those that wait may be fired.
    pub(super) next: Option<Duration>,
    /// How far it came.
    pub(super) end: End,
}

/// How far a go came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There are more behind.
    More,
    /// It came to the last one, and did not look at the first ones.
    Last,
    /// It looked at all.
    All,
}

impl Cursor {
    /// Reads pages of at most [`PAGE`] due timers, in order; `waits` says how long one of them has to wait.
    pub(super) fn go(
        &mut self,
        mut page: impl FnMut(Option<&Timer>) -> Result<Vec<TimerEntry>, StoreError>,
        mut waits: impl FnMut(&Timer) -> Option<Duration>,
    ) -> Result<Gone, StoreError> {
        let mut gone = Gone { due: Vec::new(), next: None, end: if self.0.is_none() { End::All } else { End::Last } };
        let mut looked_at = 0;
        loop {
            let entries = page(self.0.as_ref())?;
            let is_last = entries.len() < PAGE;
            for entry in entries {
                if gone.due.len() == FIRED_AT_ONCE || looked_at == LOOKED_AT_ONCE {
                    gone.end = End::More;
                    return Ok(gone);
                }
                looked_at += 1;
                self.0 = Some(entry.timer.clone());
                match waits(&entry.timer) {
                    Some(left) => gone.next = Some(gone.next.map_or(left, |next| next.min(left))),
                    None => gone.due.push(entry),
                }
            }
            if is_last {
                self.0 = None;
                return Ok(gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorus_engine::{RunUid, TimerKind, Timestamp};

    use super::*;

    fn timers(count: usize) -> Vec<TimerEntry> {
        let timer = |index| Timer { due: Timestamp(index), uid: RunUid(1), kind: TimerKind::Due, step: None };
        (0..i64::try_from(count).unwrap())
            .map(|index| TimerEntry { timer: timer(index), namespace: "n".to_owned(), run_id: "r".to_owned() })
            .collect()
    }

    fn page(all: &[TimerEntry], after: Option<&Timer>) -> Vec<TimerEntry> {
        all.iter().filter(|entry| after.is_none_or(|after| entry.timer > *after)).take(PAGE).cloned().collect()
    }

    #[test]
    fn thousands_of_timers_that_have_to_wait_hold_up_none_behind_them() {
        let all = timers(10_001);
        let mut cursor = Cursor::default();
        let mut gos = 0;
        loop {
            gos += 1;
            let waits = |timer: &Timer| (timer.due.0 < 10_000).then(|| Duration::from_secs(5));
            let gone = cursor.go(|after| Ok(page(&all, after)), waits).unwrap();
            assert!(gone.next.is_none_or(|next| next == Duration::from_secs(5)));
            if gone.end != End::More {
                assert_eq!((gone.end, gone.due.len()), (End::Last, 1));
                break;
            }
        }
        assert_eq!(gos, 6, "each go looks at a bounded number");
        let again = cursor.go(|after| Ok(page(&all, after)), |_| None).unwrap();
        assert_eq!(again.due[0].timer, all[0].timer, "and then from the start");
    }

    #[test]
    fn a_flood_of_due_timers_is_fired_in_order_over_several_goes() {
        let mut all = timers(1_201);
        let mut cursor = Cursor::default();
        let mut fired = Vec::new();
        for expected in [500, 500, 201] {
            let gone = cursor.go(|after| Ok(page(&all, after)), |_| None).unwrap();
            assert_eq!(gone.due.len(), expected);
            all.retain(|entry| !gone.due.iter().any(|due| due.timer == entry.timer));
            fired.extend(gone.due.into_iter().map(|entry| entry.timer.due.0));
        }
        assert_eq!(fired, (0..1_201).collect::<Vec<_>>());
    }
}
