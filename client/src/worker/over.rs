//! Remembers leases that are over, so that a late copy of their task is not executed again.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

/// A copy arrives within one change of session, long before this many other leases end.
const MAX: usize = 16 * 1024;

/// The last [`MAX`] leases that ended.
#[derive(Debug, Default)]
pub(super) struct Over {
    leases: BTreeSet<Bytes>,
    order: VecDeque<Bytes>,
}

impl Over {
    pub(super) fn contains(&self, lease: &Bytes) -> bool {
        self.leases.contains(lease)
    }

    pub(super) fn remember(&mut self, lease: Bytes) {
        if self.leases.insert(lease.clone()) {
            self.order.push_back(lease);
        }
        if self.order.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.leases.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_keeps_the_newest() {
        let lease = |number: usize| Bytes::from(number.to_string());
        let mut over = Over::default();
        (0..MAX + 10).for_each(|number| over.remember(lease(number)));
        assert_eq!((over.leases.len(), over.order.len()), (MAX, MAX));
        assert!(!over.contains(&lease(9)) && over.contains(&lease(10)));
    }
}
