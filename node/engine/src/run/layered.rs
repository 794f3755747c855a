//! A map, or what a draft changes about one.

use std::collections::BTreeMap;
use std::ops::Bound;

/// An ordered map over another one. Without one below it is the map itself.
#[derive(Debug)]
pub(crate) struct Layered<'a, K, V> {
    below: Option<&'a BTreeMap<K, Option<V>>>,
    /// `None` hides what is below; there is none without something below.
    own: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Layered<'_, K, V> {
    fn default() -> Self {
        Self { below: None, own: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> Layered<'static, K, V> {
    /// An empty layer over this map.
    pub(crate) fn draft(&self) -> Layered<'_, K, V> {
        Layered { below: Some(&self.own), own: BTreeMap::new() }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> BTreeMap<K, V>
    where
        V: Clone,
    {
        self.own.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect()
    }
}

impl<'a, K: Ord + Clone, V> Layered<'a, K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self.own.get(key) {
            Some(value) => value.as_ref(),
            None => self.below?.get(key)?.as_ref(),
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.own.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if self.below.is_some_and(|below| below.contains_key(key)) {
            self.own.insert(key.clone(), None);
        } else {
            self.own.remove(key);
        }
    }

    /// In order, from a key on.
    pub(crate) fn from<'s>(&'s self, from: Bound<&K>) -> impl Iterator<Item = (&'s K, &'s V)> + use<'s, 'a, K, V> {
        let mut own = self.own.range((from, Bound::Unbounded)).peekable();
        let mut below = self.below.map(|below| below.range((from, Bound::Unbounded))).into_iter().flatten().peekable();
        std::iter::from_fn(move || {
            loop {
                let (key, value) = match (own.peek(), below.peek()) {
                    (Some((mine, _)), Some((theirs, _))) if theirs < mine => below.next()?,
                    (Some((mine, _)), Some((theirs, _))) => {
                        if mine == theirs {
                            below.next();
                        }
                        own.next()?
                    }
                    (Some(_), None) => own.next()?,
                    (None, _) => below.next()?,
                };
                if let Some(value) = value {
                    return Some((key, value));
                }
            }
        })
    }

    /// Backwards, from before a key on.
    pub(crate) fn before<'s>(&'s self, end: &K) -> impl Iterator<Item = (&'s K, &'s V)> + use<'s, 'a, K, V> {
        let mut own = self.own.range(..end).rev().peekable();
        let mut below = self.below.map(|below| below.range(..end).rev()).into_iter().flatten().peekable();
        std::iter::from_fn(move || {
            loop {
                let (key, value) = match (own.peek(), below.peek()) {
                    (Some((mine, _)), Some((theirs, _))) if theirs > mine => below.next()?,
                    (Some((mine, _)), Some((theirs, _))) => {
                        if mine == theirs {
                            below.next();
                        }
                        own.next()?
                    }
                    (Some(_), None) => own.next()?,
                    (None, _) => below.next()?,
                };
                if let Some(value) = value {
                    return Some((key, value));
                }
            }
        })
    }

    pub(crate) fn last(&self) -> Option<&K> {
        let own = self.own.iter().rev().find(|(_, value)| value.is_some()).map(|(key, _)| key);
        let below = self.below.and_then(|below| {
            let shown = |(key, value): &(&K, &Option<V>)| value.is_some() && !self.own.contains_key(*key);
            below.iter().rev().find(shown).map(|(key, _)| key)
        });
        own.max(below)
    }

    pub(crate) fn first(&self) -> Option<&K> {
        self.from(Bound::Unbounded).next().map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A draft shows what the map would be, and leaves the map as it is.
        #[test]
        fn a_draft_shows_the_changed_map(
            first in prop::collection::vec((0..20_u8, any::<bool>()), 0..30),
            second in prop::collection::vec((0..20_u8, any::<bool>()), 0..30),
            from in 0..20_u8,
        ) {
            let mut plain = BTreeMap::new();
            let mut map = Layered::default();
            let change = |map: &mut Layered<'_, u8, usize>, plain: &mut BTreeMap<u8, usize>, changes: &[(u8, bool)]| {
                for (value, (key, keep)) in changes.iter().enumerate() {
                    if *keep {
                        map.insert(*key, value);
                        plain.insert(*key, value);
                    } else {
                        map.remove(key);
                        plain.remove(key);
                    }
                }
            };
            change(&mut map, &mut plain, &first);
            let before = map.entries();
            prop_assert_eq!(&before, &plain);
            let mut draft = map.draft();
            change(&mut draft, &mut plain, &second);
            let seen: Vec<_> = draft.from(Bound::Included(&from)).map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(seen, plain.range(from..).map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            let seen: Vec<_> = draft.before(&from).map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(seen, plain.range(..from).rev().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            prop_assert!((0..20).all(|key| draft.get(&key) == plain.get(&key)));
            prop_assert_eq!(draft.first(), plain.keys().next());
            prop_assert_eq!(draft.last(), plain.keys().next_back());
            prop_assert_eq!(map.entries(), before);
        }
    }
}
