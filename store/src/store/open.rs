//! What a store's directory must be like, and filling the index.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DamagedPack, Store, locked};
use crate::catalog::Catalog;
use crate::error::{Error, IoContext, Result};
use crate::index::Index;
use crate::pack::Pack;
use crate::trust::Trust;

/// The format this program writes, and the newest it reads. Since 2 packs may be dense; stores of
/// format 1 become stores of format 2 when they are opened.
pub(super) const FORMAT: u32 = 2;
pub(super) const VERSION_FILE: &str = "version";
const OURS: [&str; 6] = ["lock", "packs", "baselines", "checkouts", "mounts", "index"];

/// What filling the index again found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildReport {
    /// Version of this report's shape: 1.
    pub schema: u32,
    /// Packs that can be used.
    pub packs: u64,
    /// Objects in them; one that is in two packs counts twice.
    pub objects: u64,
    /// Packs that cannot be used.
    pub damaged_packs: Vec<DamagedPack>,
}

impl Store {
    /// Fills the index again from the packs themselves; nothing that is stored changes. Packs that
    /// somebody put into the store's directory are found, and those that are gone forgotten.
    pub fn rebuild_index(&self) -> Result<RebuildReport> {
        let _one = locked(&self.shared.collecting);
        let catalog = &self.shared.catalog;
        catalog.clear()?;
        let (fresh, damaged) = load_index(&self.shared.packs_dir(), catalog)?;
        let (packs, objects) = (fresh.packs().len() as u64, fresh.len() as u64);
        let known = self.shared.packs();
        let gone = known.iter().filter(|(_, pack)| fresh.number(&pack.trailer.digest).is_none());
        let gone: HashSet<u32> = gone.map(|(number, _)| *number).collect();
        self.shared.take_out(gone.is_empty(), || Ok(gone))?;
        // Numbers stay what they are: caches and open operations go by them.
        let mut index = self.shared.index_mut();
        for (_, pack) in fresh.packs() {
            if index.number(&pack.trailer.digest).is_none() {
                let footer = File::open(&pack.path).at("open", &pack.path)?;
                let footer = pack.footer(&footer).map_err(std::io::Error::other);
                let footer = footer.at("read", &pack.path)?;
                let prefixes = footer.records.iter().map(|record| record.key.prefix());
                index.add((*pack).clone(), prefixes);
            }
        }
        drop(index);
        locked(&self.shared.damaged).clone_from(&damaged);
        Ok(RebuildReport { schema: 1, packs, objects, damaged_packs: damaged })
    }
}

/// Whether the directory is a store of this format already; an error if it is something else.
pub(super) fn check_version(dir: &Path) -> Result<bool> {
    let path = dir.join(VERSION_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(true),
            Ok(1..FORMAT) => Ok(false),
            Ok(found) if found > FORMAT => Err(Error::NewerFormat {
                path: dir.to_owned(),
                found: text.trim().into(),
                known: FORMAT,
            }),
            _ => Err(Error::NotAStore {
                path: dir.to_owned(),
                reason: "its version file is garbled",
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A store whose making was cut short has only our own, empty, directories.
            for entry in fs::read_dir(dir).at("read", dir)? {
                let name = entry.at("read", dir)?.file_name();
                let ours = OURS.iter().any(|ours| name == *ours)
                    || name.as_encoded_bytes().starts_with(pyro_durable::TEMP_PREFIX.as_bytes());
                if !ours {
                    let reason = "it holds other files";
                    return Err(Error::NotAStore { path: dir.to_owned(), reason });
                }
            }
            let occupied = |sub: &str| {
                fs::read_dir(dir.join(sub)).is_ok_and(|mut entries| entries.next().is_some())
            };
            if occupied("packs") || occupied("baselines") {
                let reason = "it holds packs but no version file";
                return Err(Error::NotAStore { path: dir.to_owned(), reason });
            }
            Ok(false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::NotAStore { path: dir.to_owned(), reason: "its version file is garbled" })
        }
        Err(error) => Err(error).at("read", path),
    }
}

pub(super) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(error).at("lock", path),
    }
}

/// Reads the segments from sled, and from the packs' own footers where sled has none.
pub(super) fn load_index(packs: &Path, catalog: &Catalog) -> Result<(Index, Vec<DamagedPack>)> {
    let mut index = Index::default();
    let mut damaged = Vec::new();
    let mut found = Vec::new();
    for entry in fs::read_dir(packs).at("read", packs)? {
        let path = entry.at("read", packs)?.path();
        if path.extension().is_none_or(|extension| extension != "pack") {
            continue;
        }
        match Pack::open(&path) {
            Err(reason) => damaged.push(DamagedPack { path, reason }),
            Ok(opened) => found.push(opened),
        }
    }
    // Oldest first, as far as the file system can tell.
    found.sort_by_cached_key(|(pack, _)| (pack.modified, pack.trailer.digest));
    index.reserve(found.iter().map(|(pack, _)| pack.trailer.records as usize).sum());
    let known: HashSet<_> = found.iter().map(|(pack, _)| pack.trailer.digest).collect();
    for (pack, file) in found {
        match catalog.segment(&pack) {
            Some(prefixes) => {
                index.add(pack, prefixes.into_iter());
            }
            None => match pack.footer(&file) {
                Err(reason) => damaged.push(DamagedPack { path: pack.path, reason }),
                Ok(footer) => {
                    catalog.put_segment(&pack, &footer)?;
                    index.add(pack, footer.records.iter().map(|record| record.key.prefix()));
                }
            },
        }
    }
    for (digest, record) in catalog.damaged() {
        if let Some(pack) = index.number(&digest) {
            index.note_damage(pack, record);
        }
    }
    let gone = catalog.retain_segments(|digest| {
        <[u8; 32]>::try_from(digest).is_ok_and(|digest| known.contains(&digest))
    })?;
    if gone || !damaged.is_empty() {
        Trust::load(catalog)?.lose(catalog)?;
    }
    Ok((index, damaged))
}
