//! What becomes of each pack.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{GcOptions, GcReport};
use crate::error::{IoContext, Result};
use crate::marks::Marks;
use crate::pack::{Effort, Pack};
use crate::store::Store;

/// A pack is written again when at least this part of it, one in so many, is unused.
const UNUSED_PART: u64 = 8;
/// Packs below one in so many parts of a full one are small ...
const SMALL_PART: u64 = 4;
/// ... and written together when there are so many.
const SMALL_PACKS: usize = 8;

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Keep,
    /// Nothing of it is needed.
    Remove,
    /// What is needed of it is written to other packs.
    Rewrite,
}

pub(super) struct Plan {
    packs: Vec<Planned>,
    by_number: HashMap<u32, usize>,
    /// Records that are to be copied from packs that are written again.
    pub(super) copy: Marks,
    /// Records of packs that leave whose objects stay in the store: copied, or stored elsewhere.
    pub(super) safe: Marks,
}

struct Planned {
    number: u32,
    pack: Arc<Pack>,
    fate: Fate,
    used: u64,
    unused: u64,
    /// Bytes of unused objects, in the proportion that their frames are compressed.
    unused_bytes: u64,
    /// An operation that is open wrote it.
    open: bool,
    /// Nothing of it counts as unused yet.
    young: bool,
    /// It has the only copy of something needed, and that copy is damaged.
    wrecked: bool,
    /// It has a damaged copy of something that is sound elsewhere.
    spoilt: bool,
}

impl Plan {
    pub(super) fn new(
        store: &Store,
        packs: Vec<(u32, Arc<Pack>)>,
        marks: &Marks,
        options: &GcOptions,
    ) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let young = now.saturating_sub(options.grace).as_millis() as u64;
        let (copy, safe) = (Marks::default(), Marks::default());
        let mut plan = Self { packs: Vec::new(), by_number: HashMap::new(), copy, safe };
        for (number, pack) in packs {
            let mut planned = Planned {
                number,
                fate: Fate::Keep,
                used: 0,
                unused: 0,
                unused_bytes: 0,
                open: store.shared.holds.was_added(number),
                young: !options.grace.is_zero() && pack.modified > young,
                wrecked: false,
                spoilt: false,
                pack,
            };
            plan.look(store, marks, &mut planned)?;
            plan.by_number.insert(number, plan.packs.len());
            plan.packs.push(planned);
        }
        plan.decide(store, options);
        Ok(plan)
    }

    /// Counts what is needed of a pack.
    fn look(&mut self, store: &Store, marks: &Marks, planned: &mut Planned) -> Result<()> {
        let pack = &planned.pack;
        let footer = store.shared.footer(planned.number, pack).at("read", &pack.path)?;
        for (at, record) in footer.records.iter().enumerate() {
            let at = at as u32;
            if !planned.young && !marks.get(planned.number, at) {
                planned.unused += 1;
                planned.unused_bytes += footer.stored_part(record);
                continue;
            }
            let here = (planned.number, at);
            let home = store.shared.home(&record.key, here);
            self.safe.set(planned.number, at);
            if home.place == here {
                planned.used += 1;
                planned.wrecked |= home.damaged;
                self.copy.set(planned.number, at);
            } else {
                planned.unused += 1;
                planned.unused_bytes += footer.stored_part(record);
                planned.spoilt |= store.shared.is_damaged(here);
            }
        }
        Ok(())
    }

    fn decide(&mut self, store: &Store, options: &GcOptions) {
        let full = store.shared.options.pack_bytes;
        let is_small = |planned: &Planned| planned.pack.len < full / SMALL_PART;
        for planned in &mut self.packs {
            let hasty = options.dense && planned.pack.effort < Effort::Dense;
            planned.fate = if planned.open || planned.wrecked {
                Fate::Keep
            } else if planned.used == 0 {
                Fate::Remove
            } else if planned.spoilt
                || hasty
                || planned.unused_bytes >= (planned.pack.len / UNUSED_PART).max(1)
            {
                Fate::Rewrite
            } else {
                Fate::Keep
            };
        }
        // Small packs come along when others are written anyway, or when there are many.
        let any = self.packs.iter().any(|planned| planned.fate == Fate::Rewrite);
        let may = |p: &&mut Planned| p.fate == Fate::Keep && !p.open && !p.wrecked && is_small(p);
        let small = self.packs.iter_mut().filter(may).collect::<Vec<_>>();
        if any || small.len() >= SMALL_PACKS {
            small.into_iter().for_each(|planned| planned.fate = Fate::Rewrite);
        }
    }

    /// The numbers of packs with this fate.
    pub(super) fn with(&self, fate: Fate) -> impl Iterator<Item = u32> + '_ {
        self.packs.iter().filter(move |p| p.fate == fate).map(|planned| planned.number)
    }

    /// Whether everything in these packs, used or not, is or will be stored elsewhere.
    pub(super) fn all_stays(&self, numbers: &[u32]) -> bool {
        numbers.iter().all(|number| {
            let records = self.pack(*number).map_or(0, |pack| pack.trailer.records);
            self.safe.records(*number).count() == records as usize
        })
    }

    pub(super) fn pack(&self, number: u32) -> Option<&Arc<Pack>> {
        self.by_number.get(&number).map(|at| &self.packs[*at].pack)
    }

    pub(super) fn report(&self, dry_run: bool) -> GcReport {
        let sum = |of: &dyn Fn(&Planned) -> u64| self.packs.iter().map(of).sum::<u64>();
        let leaves = |p: &Planned| p.fate != Fate::Keep;
        let with = |fate| self.packs.iter().filter(|p| p.fate == fate).count() as u64;
        GcReport {
            schema: 1,
            dry_run,
            packs: self.packs.len() as u64,
            bytes: sum(&|p| p.pack.len),
            objects: sum(&|p| p.used + p.unused),
            objects_unused: sum(&|p| p.unused),
            bytes_unused: sum(&|p| p.unused_bytes),
            bytes_reclaimable: sum(&|p| match p.fate {
                Fate::Remove => p.pack.len,
                _ if leaves(p) => p.unused_bytes,
                _ => 0,
            }),
            packs_removed: if dry_run { with(Fate::Remove) } else { 0 },
            packs_rewritten: if dry_run { with(Fate::Rewrite) } else { 0 },
            packs_in_use: self.packs.iter().filter(|p| p.open || p.young).count() as u64,
            bytes_reclaimed: 0,
        }
    }
}
