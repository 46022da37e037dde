//! Ids that stay with their keys across generations, and rest for a while after a key is gone.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

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
    /// seconds from now on, and has it again if it comes back within that time.
    pub(super) fn assign(
        &mut self,
        keys: impl Iterator<Item = K>,
        now: Instant,
        kept_for: impl Fn(&K) -> u64,
    ) {
        let keys: Vec<K> = keys.collect();
        let present: HashSet<&K> = keys.iter().collect();
        self.entries.retain(|key, entry| {
            entry.gone = if present.contains(key) { None } else { Some(entry.gone.unwrap_or(now)) };
            entry.gone.is_none_or(|since| now < after(since, kept_for(key)))
        });
        let taken: HashSet<u32> = self.entries.values().map(|entry| entry.id).collect();
        let mut free = (0..).filter(|id| !taken.contains(id));
        for key in keys {
            self.entries
                .entry(key)
                .or_insert_with(|| Entry { id: free.next().unwrap_or(u32::MAX), gone: None });
        }
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
