//! Which pack holds an object: the part of the index that is in memory.
//!
//! Twelve bytes for each object: the first four of its id, the pack and the record in it. A hit is
//! only a candidate; the full id stands in the pack's record, which the caller compares.

use std::collections::HashMap;
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
    packs: Vec<Arc<Pack>>,
    by_digest: HashMap<[u8; 32], u32>,
}

impl Index {
    /// Adds a pack whose records, in order, have these id prefixes. A pack that is known is left
    /// as it is.
    pub(crate) fn add(&mut self, pack: Pack, prefixes: impl ExactSizeIterator<Item = u32>) {
        let number = self.packs.len() as u32;
        if self.by_digest.contains_key(&pack.trailer.digest) {
            return;
        }
        self.by_digest.insert(pack.trailer.digest, number);
        self.packs.push(Arc::new(pack));
        self.table.reserve(prefixes.len(), |slot| spread(slot.prefix));
        for (record, prefix) in prefixes.enumerate() {
            let slot = Slot { prefix, pack: number, record: record as u32 };
            self.table.insert_unique(spread(prefix), slot, |slot| spread(slot.prefix));
        }
    }

    /// Where `key` may be; almost always none or one.
    pub(crate) fn candidates(&self, key: &ObjectKey) -> Vec<Candidate> {
        let prefix = key.prefix();
        self.table
            .iter_hash(spread(prefix))
            .filter(|slot| slot.prefix == prefix)
            .map(|slot| Candidate {
                number: slot.pack,
                pack: self.packs[slot.pack as usize].clone(),
                record: slot.record,
            })
            .collect()
    }

    /// Every pack with its number.
    pub(crate) fn packs(&self) -> Vec<(u32, Arc<Pack>)> {
        self.packs.iter().enumerate().map(|(n, pack)| (n as u32, pack.clone())).collect()
    }

    /// Objects in all packs; one that is in two packs counts twice.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Prefixes are uniform but short: the table wants its seven tag bits at the top of 64.
fn spread(prefix: u32) -> u64 {
    u64::from(prefix).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
