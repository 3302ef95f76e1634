//! What changes in the index: packs that come and go, and damage that is found.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{DamagedPack, Shared, locked};
use crate::error::{Error, IoContext, Result};
use crate::index::Candidate;
use crate::pack::{Footer, Pack, SealedPack};

impl Shared {
    /// Makes the objects of a durable pack findable.
    pub(crate) fn publish(&self, sealed: &SealedPack) -> Result<()> {
        let (pack, _) = Pack::open(&sealed.path)
            .map_err(|_| Error::ReadBack { path: sealed.path.clone(), reason: "the trailer" })?;
        self.admit(pack, &sealed.footer).map(|_| ())
    }

    /// Makes the objects of a durable pack findable that somebody else wrote.
    pub(crate) fn publish_file(&self, path: &Path) -> Result<u32> {
        let unreadable = |reason: String| std::io::Error::other(reason);
        let (pack, file) = Pack::open(path).map_err(unreadable).at("open", path)?;
        let footer = pack.footer(&file).map_err(unreadable).at("read", path)?;
        self.admit(pack, &footer)
    }

    /// First in sled, then in memory.
    fn admit(&self, pack: Pack, footer: &Footer) -> Result<u32> {
        self.catalog.put_segment(&pack, footer)?;
        let prefixes = footer.records.iter().map(|record| record.key.prefix());
        let mut index = self.index_mut();
        let number = index.add(pack, prefixes);
        self.holds.added(number);
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    }

    /// Takes the packs that `doomed` names out of the index. If not all that they hold stays in other
    /// packs, no content is vouched for from then on.
    pub(crate) fn take_out(
        &self,
        all_stays: bool,
        doomed: impl FnOnce() -> Result<HashSet<u32>>,
    ) -> Result<Vec<Arc<Pack>>> {
        let _leaving = self.leaving.write().unwrap_or_else(PoisonError::into_inner);
        let take = || {
            let mut index = self.index_mut();
            let doomed = doomed()?;
            let packs = doomed.iter().filter_map(|number| index.pack(*number).cloned()).collect();
            index.remove(&doomed);
            let mut files = locked(&self.files);
            for number in &doomed {
                files.remove(number);
            }
            Ok(packs)
        };
        self.trust.alone(all_stays, &self.catalog, take)
    }

    /// Uses packs no longer that turned out to be unusable, and remembers why.
    pub(crate) fn set_aside(&self, packs: HashSet<u32>, damaged: &[DamagedPack]) -> Result<()> {
        if !packs.is_empty() {
            for pack in self.take_out(false, || Ok(packs))? {
                self.catalog.remove_segment(&pack)?;
            }
            *locked(&self.damaged) = damaged.to_vec();
        }
        Ok(())
    }

    /// Notes that an object was found damaged, so that it is stored again when it is met again, and
    /// no file is vouched for. False if its pack has left the store.
    pub(crate) fn note_damage(&self, at: &Candidate) -> Result<bool> {
        let damage = {
            let mut index = self.index_mut();
            if index.pack(at.number).is_none() {
                return Ok(false);
            }
            if !index.note_damage(at.number, at.record) {
                return Ok(true);
            }
            index.damage()
        };
        self.remember_damage(&damage).map(|()| true)
    }

    /// Notes which objects of all packs were found damaged.
    pub(crate) fn set_damage(&self, damaged: BTreeSet<(u32, u32)>) -> Result<()> {
        let damage = {
            let mut index = self.index_mut();
            if !index.set_damage(damaged) {
                return Ok(());
            }
            index.damage()
        };
        self.remember_damage(&damage)
    }

    fn remember_damage(&self, damage: &[([u8; 32], u32)]) -> Result<()> {
        self.catalog.put_damaged(damage)?;
        self.trust.lose(&self.catalog)
    }
}
