//! What baselines take, alone and together.

use pyro_format::BaselineId;
use serde::{Deserialize, Serialize};

use crate::baseline::BaselineRecord;
use crate::error::{IoContext, Result};
use crate::marks::Marks;
use crate::progress::Progress;
use crate::reach::Reach;
use crate::store::Store;

/// Sizes of a set of stored objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Objects.
    pub objects: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Their part of the packs, in bytes: as much of each frame as they are of its content.
    pub stored_bytes: u64,
}

/// What one baseline takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineUsage {
    /// Which.
    pub baseline: BaselineId,
    /// Everything that it reaches, each object once.
    pub all: Usage,
    /// Of that, what no other baseline reaches.
    pub unique: Usage,
    /// Of that, what no older baseline reaches.
    pub added: Usage,
}

impl Store {
    /// What each baseline takes, oldest first. Takes one bit of memory for each object, and walks
    /// every tree twice.
    pub fn usage(&self, progress: &dyn Progress) -> Result<Vec<BaselineUsage>> {
        let _stay = self.shared.stay();
        let records = self.baselines()?;
        let reach = |record: &BaselineRecord| -> Result<Marks> {
            let mut reach = Reach::new(self, progress);
            reach.root(&record.top())?;
            Ok(reach.marks)
        };
        let (mut once, mut again) = (Marks::default(), Marks::default());
        let mut usages = Vec::new();
        for record in &records {
            let marks = reach(record)?;
            let mut added = Marks::default();
            for (pack, record) in marks.all() {
                let seen = if once.set(pack, record) { &mut added } else { &mut again };
                seen.set(pack, record);
            }
            let (all, added) = (self.sizes(&marks)?, self.sizes(&added)?);
            let (baseline, unique) = (record.id, Usage::default());
            usages.push(BaselineUsage { baseline, all, unique, added });
        }
        for (record, usage) in records.iter().zip(&mut usages) {
            let mut unique = Marks::default();
            let marks = reach(record)?;
            for (pack, record) in marks.all().filter(|(pack, record)| !again.get(*pack, *record)) {
                unique.set(pack, record);
            }
            usage.unique = self.sizes(&unique)?;
        }
        Ok(usages)
    }

    fn sizes(&self, marks: &Marks) -> Result<Usage> {
        let mut usage = Usage::default();
        for (number, pack) in self.shared.packs() {
            if marks.records(number).next().is_none() {
                continue;
            }
            let footer = self.shared.footer(number, &pack).at("read", &pack.path)?;
            for record in marks.records(number) {
                let Some(record) = footer.records.get(record as usize) else { continue };
                usage.objects += 1;
                usage.bytes += u64::from(record.len);
                usage.stored_bytes += footer.stored_part(record);
            }
        }
        Ok(usage)
    }
}
