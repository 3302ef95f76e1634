//! A small cache that forgets what was used longest ago.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

struct Slot<V> {
    value: V,
    weight: usize,
    used: u64,
}

/// Holds values up to a total weight (bytes, or a plain count).
pub(crate) struct Lru<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Use time → key; times are unique.
    order: BTreeMap<u64, K>,
    clock: u64,
    weight: usize,
    capacity: usize,
}

impl<K: Hash + Eq + Copy, V: Clone> Lru<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: HashMap::new(), order: BTreeMap::new(), clock: 0, weight: 0, capacity }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let slot = self.slots.get_mut(key)?;
        self.order.remove(&slot.used);
        self.clock += 1;
        slot.used = self.clock;
        self.order.insert(slot.used, *key);
        Some(slot.value.clone())
    }

    /// Keeps `value` unless it alone outweighs the cache.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        if weight > self.capacity {
            return;
        }
        self.clock += 1;
        self.order.insert(self.clock, key);
        self.slots.insert(key, Slot { value, weight, used: self.clock });
        self.weight += weight;
        while self.weight > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(slot) = self.slots.remove(&oldest) {
                self.weight -= slot.weight;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot.used);
            self.weight -= slot.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first_and_the_weight_stays_bounded() {
        let mut lru = Lru::new(10);
        lru.insert(1, "a", 4);
        lru.insert(2, "b", 4);
        assert_eq!(lru.get(&1), Some("a"));
        lru.insert(3, "c", 4);
        assert_eq!((lru.get(&1), lru.get(&2), lru.get(&3)), (Some("a"), None, Some("c")));
        lru.insert(4, "huge", 11);
        assert_eq!(lru.get(&4), None);
        lru.insert(1, "again", 10);
        assert_eq!((lru.get(&1), lru.get(&3), lru.weight), (Some("again"), None, 10));
    }
}
