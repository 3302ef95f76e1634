//! Collection: what nothing needs leaves the store, and what stays is written smaller.
//!
//! ```text
//! roots ─ mark ─▶ plan ─ write again what is still needed ─▶ new packs ─▶ old packs leave
//! ```
//! Roots are the baseline records, what the caller names, pinned trees, and whatever open
//! operations found or added (see [`Hold`](crate::Hold)). It runs beside everything else: packs
//! leave in one step in which roots and operations are looked at once more, and a pack that somebody
//! came to rely on meanwhile stays. It may die at any point: new packs are durable before old ones
//! leave, and of objects that are then stored twice the next collection drops one.

mod plan;
mod rewrite;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::time::Duration;

use pyro_format::BaselineId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::progress::Progress;
use crate::reach::{Reach, Root};
use crate::store::{Store, locked};
use plan::{Fate, Plan};

/// Packs that are written again together: what this needs on the disk until the old ones leave.
const GROUP: usize = 8;

/// How a collection goes about it.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Nothing in packs younger than this counts as unused.
    pub grace: Duration,
    /// Also write again what was written in haste: slower, and a fifth smaller.
    pub dense: bool,
    /// Threads that compress.
    pub threads: usize,
    /// Take only what processor time is left over, and stop early when asked to: what is written
    /// again is handed over pack by pack.
    pub background: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get()).min(8);
        Self { dry_run: false, grace: Duration::ZERO, dense: true, threads, background: false }
    }
}

/// What a collection found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Version of this report's shape: 1.
    pub schema: u32,
    /// Only planned.
    pub dry_run: bool,
    /// Packs before.
    pub packs: u64,
    /// Bytes of all packs before.
    pub bytes: u64,
    /// Objects in them; one that is in two packs counts twice.
    pub objects: u64,
    /// Of those, objects that nothing needs.
    pub objects_unused: u64,
    /// Bytes that those take, as far as can be told from outside compressed frames.
    pub bytes_unused: u64,
    /// Of those, bytes in packs that are removed or written again.
    pub bytes_reclaimable: u64,
    /// Packs of which nothing is needed: removed.
    pub packs_removed: u64,
    /// Packs of which the rest was written again.
    pub packs_rewritten: u64,
    /// Packs that are kept whole because operations rely on them, or because they are young.
    pub packs_in_use: u64,
    /// Bytes of packs that left, less those of packs that were written; negative if more was
    /// written than left. 0 if only planned.
    pub bytes_reclaimed: i64,
}

/// What has been marked.
struct Marked<'a> {
    reach: Reach<'a>,
    baselines: BTreeSet<BaselineId>,
    roots: BTreeSet<Root>,
}

impl Store {
    /// Collects what nothing needs. `roots` tells what is needed besides the store's own records;
    /// it is asked more than once, and trees that are not whole are kept as far as they are there.
    ///
    /// Fails, leaving everything, if a baseline's record is damaged or something a baseline needs
    /// is missing: what is needed could not be told from what is not.
    pub fn gc(
        &self,
        options: &GcOptions,
        roots: &dyn Fn() -> Vec<Root>,
        progress: &dyn Progress,
    ) -> Result<GcReport> {
        let _one = locked(&self.shared.collecting);
        // From here on, whatever any operation finds is remembered until the end.
        let _hold = self.hold();
        let mut marked = Marked {
            reach: Reach::new(self, progress),
            baselines: BTreeSet::new(),
            roots: BTreeSet::new(),
        };
        let packs = self.shared.packs();
        marked.add(self.baseline_ids()?, self.other_roots(roots))?;
        let plan = Plan::new(self, packs, &marked.reach.marks, options)?;
        let mut report = plan.report(options.dry_run);
        if options.dry_run {
            return Ok(report);
        }
        let removed: Vec<_> = plan.with(Fate::Remove).collect();
        let left = self.leave(&removed, &plan, &mut marked, roots, &mut report)?;
        report.packs_removed += left;
        let rewritten: Vec<_> = plan.with(Fate::Rewrite).collect();
        for group in rewritten.chunks(if options.background { 1 } else { GROUP }) {
            let written = rewrite::rewrite(self, &plan, group, &marked.reach, options, progress)?;
            report.bytes_reclaimed -= written.bytes as i64;
            let left = self.leave(&written.copied, &plan, &mut marked, roots, &mut report)?;
            report.packs_rewritten += left;
        }
        self.remove_damaged_packs()?;
        let left: Vec<u32> = removed.into_iter().chain(rewritten).collect();
        if !plan.all_stays(&left) {
            crate::ingest::forget_unstored(self)?;
        }
        Ok(report)
    }

    fn other_roots(&self, roots: &dyn Fn() -> Vec<Root>) -> Vec<Root> {
        let mut all = roots();
        all.extend(self.shared.holds.pinned());
        all
    }

    /// Lets packs leave that nothing relies on; answers how many did.
    fn leave(
        &self,
        numbers: &[u32],
        plan: &Plan,
        marked: &mut Marked<'_>,
        roots: &dyn Fn() -> Vec<Root>,
        report: &mut GcReport,
    ) -> Result<u64> {
        let mut doomed: HashSet<u32> = numbers.iter().copied().collect();
        let all_stays = plan.all_stays(numbers);
        let packs = loop {
            // While packs leave no baseline is recorded: those on record now are all there are.
            let mut late = None;
            let packs = self.shared.take_out(all_stays, || {
                let (baselines, others) = (self.baseline_ids()?, self.other_roots(roots));
                if marked.lacks(&baselines, &others) {
                    late = Some((baselines, others));
                    return Ok(HashSet::new());
                }
                doomed.retain(|pack| !self.shared.holds.rely_on(*pack, &plan.safe));
                Ok(std::mem::take(&mut doomed))
            })?;
            let Some((baselines, others)) = late else { break packs };
            marked.add(baselines, others)?;
            let marks = &marked.reach.marks;
            doomed.retain(|pack| marks.records(*pack).all(|record| plan.safe.get(*pack, record)));
        };
        report.packs_in_use += (numbers.len() - packs.len()) as u64;
        for pack in &packs {
            report.bytes_reclaimed += pack.len as i64;
            fs::remove_file(&pack.path).at("remove", &pack.path)?;
            self.shared.catalog.remove_segment(pack)?;
        }
        let dir = self.shared.packs_dir();
        pyro_durable::sync_dir(&dir).at("sync", dir)?;
        Ok(packs.len() as u64)
    }

    /// Removes packs that cannot be read: nothing needs them, or this would not be reached.
    fn remove_damaged_packs(&self) -> Result<()> {
        for pack in std::mem::take(&mut *locked(&self.shared.damaged)) {
            pyro_durable::remove(&pack.path).at("remove", pack.path)?;
        }
        let damaged = self.shared.index().damage();
        self.shared.catalog.put_damaged(&damaged)
    }
}

impl Marked<'_> {
    fn lacks(&self, baselines: &[BaselineId], roots: &[Root]) -> bool {
        baselines.iter().any(|id| !self.baselines.contains(id))
            || roots.iter().any(|root| !self.roots.contains(root))
    }

    fn add(&mut self, baselines: Vec<BaselineId>, roots: Vec<Root>) -> Result<()> {
        for id in baselines {
            if self.baselines.insert(id) {
                match self.reach.store.baseline(id) {
                    // Forgotten since it was listed.
                    Err(Error::NoBaseline(_)) => {}
                    record => self.reach.whole_baseline(&record?)?,
                }
            }
        }
        for root in roots {
            if self.roots.insert(root) {
                self.reach.root(&root)?;
            }
        }
        Ok(())
    }
}
