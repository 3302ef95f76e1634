//! Sets of stored objects: one bit for each record of each pack.

use std::collections::HashMap;

/// A set of records, each named by the number of its pack and its own number in it. An eighth of a
/// byte for each record of the packs that are in it, however large the objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    packs: HashMap<u32, Vec<u64>>,
}

impl Marks {
    /// Adds a record; whether it is new.
    pub(crate) fn set(&mut self, pack: u32, record: u32) -> bool {
        let words = self.packs.entry(pack).or_default();
        let (word, bit) = place(record);
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let new = words[word] & bit == 0;
        words[word] |= bit;
        new
    }

    /// Whether a record is in it.
    pub(crate) fn get(&self, pack: u32, record: u32) -> bool {
        let (word, bit) = place(record);
        self.packs.get(&pack).and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// The records of a pack that are in it, in order.
    pub(crate) fn records(&self, pack: u32) -> impl Iterator<Item = u32> + '_ {
        let words = self.packs.get(&pack).into_iter().flatten().enumerate();
        words.flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at as u32 * 64 + bit)
        })
    }

    /// Everything that is in it: packs and records, the records of each pack in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.packs.keys().flat_map(|pack| self.records(*pack).map(|record| (*pack, record)))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.packs.clear();
    }
}

fn place(record: u32) -> (usize, u64) {
    (record as usize / 64, 1 << (record % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_a_set_of_records(
            records in prop::collection::vec((0u32..3, 0u32..300), 0..60),
        ) {
            let (mut marks, mut model) = (Marks::default(), BTreeSet::new());
            for (pack, record) in records {
                prop_assert_eq!(marks.set(pack, record), model.insert((pack, record)));
            }
            for pack in 0..4 {
                let of_pack: Vec<u32> =
                    model.range((pack, 0)..(pack + 1, 0)).map(|(_, record)| *record).collect();
                prop_assert!((0..300).all(|n| marks.get(pack, n) == of_pack.contains(&n)));
                prop_assert_eq!(marks.records(pack).collect::<Vec<_>>(), of_pack);
            }
        }
    }
}
