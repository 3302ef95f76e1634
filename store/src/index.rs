//! Which pack holds an object: the part of the index that is in memory.
//!
//! Twelve bytes for each object: the first four of its id, the pack and the record in it. A hit is
//! only a candidate; the full id stands in the pack's record, which the caller compares.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::object::ObjectKey;
use crate::pack::Pack;

#[derive(Clone, Copy)]
struct Slot {
    prefix: u32,
    pack: u32,
    record: u32,
}

/// A pack and a record in it that may be the wanted object.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) number: u32,
    pub(crate) pack: Arc<Pack>,
    pub(crate) record: u32,
}

/// All packs and where objects are in them.
#[derive(Default)]
pub(crate) struct Index {
    table: HashTable<Slot>,
    /// By number; none where a pack has left.
    packs: Vec<Option<Arc<Pack>>>,
    by_digest: HashMap<[u8; 32], u32>,
    /// Pack and record of objects that were found damaged.
    damaged: BTreeSet<(u32, u32)>,
}

impl Index {
    /// Makes room for so many more objects at once.
    pub(crate) fn reserve(&mut self, objects: usize) {
        self.table.reserve(objects, |slot| spread(slot.prefix));
    }

    /// Adds a pack whose records, in order, have these id prefixes, and answers its number, which
    /// no other pack ever gets. A pack that is known is left as it is.
    pub(crate) fn add(&mut self, pack: Pack, prefixes: impl ExactSizeIterator<Item = u32>) -> u32 {
        let number = self.packs.len() as u32;
        if let Some(known) = self.by_digest.get(&pack.trailer.digest) {
            return *known;
        }
        self.by_digest.insert(pack.trailer.digest, number);
        self.packs.push(Some(Arc::new(pack)));
        self.reserve(prefixes.len());
        for (record, prefix) in prefixes.enumerate() {
            let slot = Slot { prefix, pack: number, record: record as u32 };
            self.table.insert_unique(spread(prefix), slot, |slot| spread(slot.prefix));
        }
        number
    }

    /// Forgets packs.
    pub(crate) fn remove(&mut self, numbers: &HashSet<u32>) {
        self.table.retain(|slot| !numbers.contains(&slot.pack));
        self.damaged.retain(|(pack, _)| !numbers.contains(pack));
        for number in numbers {
            if let Some(pack) = self.packs[*number as usize].take() {
                self.by_digest.remove(&pack.trailer.digest);
            }
        }
    }

    /// Where `key` may be; almost always none or one. Places found damaged come last.
    pub(crate) fn candidates(&self, key: &ObjectKey) -> Vec<Candidate> {
        let mut found: Vec<_> = self.slots(key).collect();
        found.sort_by_key(|at| self.is_damaged(at.number, at.record));
        found
    }

    /// The same as they come, without those found damaged.
    pub(crate) fn sound(&self, key: &ObjectKey) -> impl Iterator<Item = Candidate> {
        self.slots(key).filter(|at| !self.is_damaged(at.number, at.record))
    }

    /// Whether there is at most one place where `key` may be.
    pub(crate) fn is_sole(&self, key: &ObjectKey) -> bool {
        self.slots(key).nth(1).is_none()
    }

    fn slots(&self, key: &ObjectKey) -> impl Iterator<Item = Candidate> {
        let prefix = key.prefix();
        let slots = self.table.iter_hash(spread(prefix)).filter(move |slot| slot.prefix == prefix);
        slots.filter_map(|slot| {
            let pack = self.pack(slot.pack)?.clone();
            Some(Candidate { number: slot.pack, pack, record: slot.record })
        })
    }

    /// The pack with this number.
    pub(crate) fn pack(&self, number: u32) -> Option<&Arc<Pack>> {
        self.packs.get(number as usize)?.as_ref()
    }

    /// The number of the pack with this digest.
    pub(crate) fn number(&self, digest: &[u8; 32]) -> Option<u32> {
        self.by_digest.get(digest).copied()
    }

    /// Every pack with its number.
    pub(crate) fn packs(&self) -> Vec<(u32, Arc<Pack>)> {
        let packs = self.packs.iter().enumerate();
        packs.filter_map(|(n, pack)| Some((n as u32, pack.clone()?))).collect()
    }

    /// Objects in all packs; one that is in two packs counts twice.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether an object was found damaged.
    pub(crate) fn is_damaged(&self, pack: u32, record: u32) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&(pack, record))
    }

    /// Notes that an object is damaged; whether that is new.
    pub(crate) fn note_damage(&mut self, pack: u32, record: u32) -> bool {
        self.pack(pack).is_some() && self.damaged.insert((pack, record))
    }

    /// Notes which objects are damaged, and that no others are; whether that is new.
    pub(crate) fn set_damage(&mut self, damaged: BTreeSet<(u32, u32)>) -> bool {
        let new = self.damaged != damaged;
        self.damaged = damaged;
        new
    }

    /// Every object that was found damaged: the digest of its pack, and its record.
    pub(crate) fn damage(&self) -> Vec<([u8; 32], u32)> {
        let damaged = self.damaged.iter();
        damaged.filter_map(|(n, record)| Some((self.pack(*n)?.trailer.digest, *record))).collect()
    }
}

/// Prefixes are uniform but short: the table wants its seven tag bits at the top of 64.
fn spread(prefix: u32) -> u64 {
    u64::from(prefix).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
