//! Which files need not be read again: by device, inode, size, mtime and ctime.
//!
//! The racy-clean rule: a time is trusted only if it lay well before the read, since a later change
//! within the clock's granularity would leave it equal. Pages that a program has mapped and dirtied
//! may be written without a new time until the kernel has flushed them, which it does after 30
//! seconds (`vm.dirty_expire_centisecs`) and a flusher's turn of 5: hence the default margin of
//! [`StoreOptions`](crate::StoreOptions).
//!
//! Entries are kept by inode, not by path: a directory that was moved, and a tree of hard links to
//! another, are known. Neighbouring inodes, which mostly are neighbours in the tree too, share one
//! record of the database.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_format::{FileId, Mtime};

use super::file::Meta;
use crate::error::Result;
use crate::lru::Lru;
use crate::store::{Shared, Store, locked};
use crate::trust::Session;

/// Inodes that share a record: up to 38 KiB.
const SHARD_BITS: u32 = 9;
/// Bytes of records kept while an ingest reads them.
const CACHED: usize = 2 << 20;
/// Entries that wait to be written: up to 1.5 MiB.
const WAITING: usize = 1 << 14;

/// inode, then what `stat` says.
const STAT: usize = 8 + 8 + 12 + 12;
/// The file id, and the session that made the entry.
const ENTRY: usize = STAT + 32 + 4;
const _: () = assert!(ENTRY << SHARD_BITS <= crate::catalog::MAX_STATS);

type ShardKey = [u8; 16];
type Shard = Arc<Vec<u8>>;

/// The stat cache, as one ingest uses it.
pub(super) struct StatCache {
    store: Store,
    session: Session,
    shards: Mutex<Lru<ShardKey, Shard>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    shards: HashMap<ShardKey, BTreeMap<u64, [u8; ENTRY]>>,
    entries: usize,
}

/// The record that one thread looked into last.
#[derive(Default)]
pub(super) struct LastShard(Option<(ShardKey, Shard)>);

/// A file that is as it was.
pub(super) struct Known {
    pub(super) file: FileId,
    /// Its content is stored; otherwise that must be looked up.
    pub(super) stored: bool,
}

impl StatCache {
    pub(super) fn new(store: &Store, session: Session) -> Self {
        let (shards, waiting) = (Mutex::new(Lru::new(CACHED)), Mutex::default());
        Self { store: store.clone(), session, shards, waiting }
    }

    /// What is known of a file.
    pub(super) fn get(&self, meta: &Meta, last: &mut LastShard) -> Option<Known> {
        let key = shard_key(meta);
        let shard = match &last.0 {
            Some((last, shard)) if *last == key => shard,
            _ => {
                let shard = self.shard(key);
                &last.0.insert((key, shard)).1
            }
        };
        let entry = find(shard, meta.ino)?;
        if entry[..STAT] != stat_bytes(meta) {
            return None;
        }
        let session = entry[STAT + 32..].try_into().map_or(0, u32::from_le_bytes);
        Some(Known { file: file_of(entry), stored: self.session.trusts(session) })
    }

    fn shard(&self, key: ShardKey) -> Shard {
        if let Some(shard) = locked(&self.shards).get(&key) {
            return shard;
        }
        let shard = Arc::new(self.store.shared.catalog.stats(&key).unwrap_or_default());
        locked(&self.shards).insert(key, shard.clone(), shard.len() + ENTRY);
        shard
    }

    /// Remembers files that were read, or looked up, in this session.
    pub(super) fn remember(&self, files: &[(Meta, FileId)]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let full = {
            let mut waiting = locked(&self.waiting);
            for (meta, file) in files {
                let mut entry = [0; ENTRY];
                entry[..STAT].copy_from_slice(&stat_bytes(meta));
                entry[STAT..STAT + 32].copy_from_slice(file.as_bytes());
                entry[STAT + 32..].copy_from_slice(&self.session.number.to_le_bytes());
                waiting.shards.entry(shard_key(meta)).or_default().insert(meta.ino, entry);
            }
            waiting.entries += files.len();
            (waiting.entries >= WAITING).then(|| std::mem::take(&mut *waiting))
        };
        full.map_or(Ok(()), |waiting| self.write(waiting))
    }

    fn write(&self, waiting: Waiting) -> Result<()> {
        let catalog = &self.store.shared.catalog;
        for (key, mut entries) in waiting.shards {
            for old in catalog.stats(&key).unwrap_or_default().as_chunks::<ENTRY>().0 {
                entries.entry(inode(old)).or_insert(*old);
            }
            let body: Vec<u8> = entries.into_values().flatten().collect();
            catalog.put_stats(&key, &body)?;
        }
        Ok(())
    }

    /// Writes what waits. The session is to be trusted once everything it stored is durable.
    pub(super) fn finish(self) -> Result<Session> {
        let waiting = std::mem::take(&mut *locked(&self.waiting));
        self.write(waiting)?;
        Ok(self.session)
    }
}

/// Forgets files whose content is not stored any more, and vouches anew for that of the others.
pub(crate) fn forget_unstored(store: &Store) -> Result<()> {
    let Shared { catalog, trust, .. } = &*store.shared;
    let session = trust.begin(catalog)?;
    for key in catalog.stat_keys() {
        let shard = catalog.stats(&key).unwrap_or_default();
        let mut kept = Vec::with_capacity(shard.len());
        for entry in shard.as_chunks::<ENTRY>().0 {
            if store.has_file(file_of(entry), size_of(entry))? {
                kept.extend_from_slice(&entry[..STAT + 32]);
                kept.extend_from_slice(&session.number.to_le_bytes());
            }
        }
        if kept.is_empty() {
            catalog.remove_stats(&key)?;
        } else {
            catalog.put_stats(&key, &kept)?;
        }
    }
    trust.commit(session, catalog)
}

/// Looks for inodes in what may be a record.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode_any(data: &[u8]) {
    for ino in [0, 1, u64::MAX] {
        find(data, ino);
    }
    for entry in data.as_chunks::<ENTRY>().0 {
        if let Some(found) = find(data, inode(entry)) {
            assert_eq!(inode(found), inode(entry));
            // Of several for one inode any may be found.
            let _ = file_of(found);
            let _ = size_of(found);
        }
    }
}

fn file_of(entry: &[u8; ENTRY]) -> FileId {
    let mut id = [0; 32];
    id.copy_from_slice(&entry[STAT..STAT + 32]);
    FileId::from_bytes(id)
}

fn size_of(entry: &[u8; ENTRY]) -> u64 {
    let mut size = [0; 8];
    size.copy_from_slice(&entry[8..16]);
    u64::from_le_bytes(size)
}

fn shard_key(meta: &Meta) -> ShardKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&meta.dev.to_be_bytes());
    key[8..].copy_from_slice(&(meta.ino >> SHARD_BITS).to_be_bytes());
    key
}

fn inode(entry: &[u8; ENTRY]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *entry;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Entries are sorted by inode.
fn find(shard: &[u8], ino: u64) -> Option<&[u8; ENTRY]> {
    let entries = shard.as_chunks::<ENTRY>().0;
    let at = entries.binary_search_by_key(&ino, inode).ok()?;
    entries.get(at)
}

fn stat_bytes(meta: &Meta) -> [u8; STAT] {
    let mut bytes = [0; STAT];
    bytes[..8].copy_from_slice(&meta.ino.to_le_bytes());
    bytes[8..16].copy_from_slice(&meta.size.to_le_bytes());
    for (at, time) in [(16, meta.mtime), (28, meta.ctime)] {
        bytes[at..at + 8].copy_from_slice(&time.secs.to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&time.nanos.to_le_bytes());
    }
    bytes
}

/// Times before this are trusted by an ingest that starts now.
pub(super) fn trusted_before(margin: Duration) -> Mtime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = since.saturating_sub(margin);
    Mtime { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// Whether a file that was just read may be remembered.
pub(super) fn may_remember(meta: &Meta, trusted_before: Mtime) -> bool {
    meta.mtime < trusted_before && meta.ctime < trusted_before
}
