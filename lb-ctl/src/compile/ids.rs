//! Ids that stay with their keys across generations, and rest for a while after a key is gone.

use std::{collections::HashMap, hash::Hash};

use lb_core::time::Instant;

use super::after;

/// Ids by key.
#[derive(Clone)]
pub(super) struct Ids<K> {
    entries: HashMap<K, Entry>,
}

#[derive(Clone)]
struct Entry {
    id: u32,
    /// When the key was first missing.
    gone: Option<Instant>,
}

impl<K: Eq + Hash> Ids<K> {
    /// Gives every key an id, the lowest free ones to new keys. A key that is missing keeps its id for `kept_for`
    /// seconds from now on, and has it again if it comes back within that time. Where more than `most` keys would have one, those
    /// missing for longest lose theirs: these are returned.
    pub(super) fn assign(
        &mut self,
        keys: impl Iterator<Item = K>,
        now: Instant,
        kept_for: impl Fn(&K) -> u64,
        most: usize,
    ) -> Vec<K> {
        for entry in self.entries.values_mut() {
            entry.gone.get_or_insert(now);
        }
        let mut new = Vec::new();
        for key in keys {
            match self.entries.get_mut(&key) {
                Some(entry) => entry.gone = None,
                None => new.push(key),
            }
        }
        self.entries.retain(|key, entry| entry.gone.is_none_or(|since| now < after(since, kept_for(key))));
        let crowded_out = self.forget((self.entries.len() + new.len()).saturating_sub(most));
        let free = self.free(new.len());
        self.entries.extend(new.into_iter().zip(free).map(|(key, id)| (key, Entry { id, gone: None })));
        crowded_out
    }

    /// Forgets so many of the missing keys, or all of them, and returns them: those missing for longest.
    fn forget(&mut self, count: usize) -> Vec<K> {
        let missing = self.entries.values().filter_map(|entry| Some((entry.gone?, entry.id)));
        let mut missing: Vec<(Instant, u32)> = if count > 0 { missing.collect() } else { Vec::new() };
        missing.sort_unstable();
        missing.truncate(count);
        let last = missing.last().copied();
        let is_forgotten =
            |_: &K, entry: &mut Entry| entry.gone.is_some_and(|since| Some((since, entry.id)) <= last);
        self.entries.extract_if(is_forgotten).map(|(key, _)| key).collect()
    }

    /// Forgets one of the missing keys, however long it was to be kept.
    pub(super) fn forget_missing(&mut self, key: &K) {
        if self.entries.get(key).is_some_and(|entry| entry.gone.is_some()) {
            self.entries.remove(key);
        }
    }

    /// How many keys have an id.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The lowest ids that no key has.
    fn free(&self, count: usize) -> impl Iterator<Item = u32> + use<K> {
        let mut is_taken = vec![false; self.entries.len() + count];
        for entry in self.entries.values() {
            if let Some(is_taken) = is_taken.get_mut(entry.id as usize) {
                *is_taken = true;
            }
        }
        (0..).zip(is_taken).filter(|(_, is_taken)| !is_taken).map(|(id, _)| id)
    }

    /// The id of a key.
    pub(super) fn id(&self, key: &K) -> Option<u32> {
        self.entries.get(key).map(|entry| entry.id)
    }

    /// Every key with its id and, for a missing one, since when it is missing; in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u32, Option<Instant>)> {
        self.entries.iter().map(|(key, entry)| (key, entry.id, entry.gone))
    }
}

impl<K> Default for Ids<K> {
    fn default() -> Ids<K> {
        Ids { entries: HashMap::new() }
    }
}
