//! The sled database: one index segment for each pack, and the stat cache.
//!
//! Never the only place of anything: sled's flush does not survive the loss of power. Every value
//! carries a checksum, and a database that does not open, does not check or fails while in use is
//! thrown away and filled again from the packs. Values are few and large: sled's memory and time go
//! by records.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{IoContext, Result};
use crate::pack::{Footer, Pack};
use crate::store::locked;

/// Bytes of sled's own page cache.
const CACHE_BYTES: u64 = 1024 * 1024;
/// Most bytes remembered under one key.
pub(crate) const MAX_STATS: usize = 64 << 10;
/// zstd level for them. sled evicts late: what was written stays in memory for long, as it is.
const STATS_LEVEL: i32 = 1;
/// Milliseconds between sled's flushes: what is lost with a crash is only rebuilt.
const FLUSH_MS: u64 = 2_000;

/// Where the sessions are whose entries in the stat cache are trusted.
const TRUST: &[u8] = b"trust";
/// Where the objects are that were found damaged.
const DAMAGED: &[u8] = b"damaged";

pub(crate) struct Catalog {
    dir: PathBuf,
    /// None after a failure: then nothing is remembered until the store is opened again.
    open: Mutex<Option<Arc<Trees>>>,
}

struct Trees {
    segments: sled::Tree,
    stats: sled::Tree,
    state: sled::Tree,
    db: sled::Db,
}

impl Trees {
    fn open(dir: &Path) -> sled::Result<Self> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_MS))
            .open()?;
        let trees = Self {
            segments: db.open_tree("segments")?,
            stats: db.open_tree("inodes")?,
            state: db.open_tree("state")?,
            db,
        };
        // Of an earlier layout.
        trees.db.drop_tree("stats")?;
        // Touches every page of the segments, so that damage shows here.
        for segment in &trees.segments {
            segment?;
        }
        Ok(trees)
    }
}

impl Catalog {
    /// Opens the database in `dir`, or starts an empty one where it is missing or broken.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let trees = match guarded(|| Trees::open(dir)) {
            Some(trees) => trees,
            None => {
                remove(dir)?;
                Trees::open(dir)?
            }
        };
        Ok(Self { dir: dir.to_owned(), open: Mutex::new(Some(Arc::new(trees))) })
    }

    /// Reads; none if there is nothing sound.
    fn read<T>(&self, read: impl FnOnce(&Trees) -> sled::Result<Option<T>>) -> Option<T> {
        let trees = locked(&self.open).clone()?;
        guarded(|| read(&trees)).flatten()
    }

    /// Writes. A database that cannot be written is given up: what is in it must not be believed by
    /// whoever opens the store next. It is an error only if it cannot be removed either.
    fn write<T>(&self, write: impl FnOnce(&Trees) -> sled::Result<T>) -> Result<()> {
        let Some(trees) = locked(&self.open).clone() else { return Ok(()) };
        if guarded(|| write(&trees)).is_some() {
            return Ok(());
        }
        drop(trees);
        close(locked(&self.open).take());
        remove(&self.dir)
    }

    /// The id prefixes of a pack's records in order; none if there is no sound segment.
    pub(crate) fn segment(&self, pack: &Pack) -> Option<Vec<u32>> {
        let value = self.read(|trees| trees.segments.get(pack.trailer.digest))?;
        let prefixes = decode_prefixes(unseal(&value)?);
        (prefixes.len() == pack.trailer.records as usize).then_some(prefixes)
    }

    /// Keeps the segment of a pack.
    pub(crate) fn put_segment(&self, pack: &Pack, footer: &Footer) -> Result<()> {
        let mut body = Vec::with_capacity(footer.records.len() * 4 + 16);
        for record in &footer.records {
            body.extend_from_slice(&record.key.prefix().to_le_bytes());
        }
        let body = seal(body);
        self.write(|trees| trees.segments.insert(pack.trailer.digest, body))
    }

    /// Forgets the segment of a pack.
    pub(crate) fn remove_segment(&self, pack: &Pack) -> Result<()> {
        self.write(|trees| trees.segments.remove(pack.trailer.digest))
    }

    /// Forgets segments of packs that are not among `known`; whether there were any.
    pub(crate) fn retain_segments(&self, known: impl Fn(&[u8]) -> bool) -> Result<bool> {
        let mut removed = false;
        self.write(|trees| {
            for key in trees.segments.iter().keys() {
                let key = key?;
                if !known(&key) {
                    trees.segments.remove(key)?;
                    removed = true;
                }
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// What was remembered about some inodes; none if nothing sound was.
    pub(crate) fn stats(&self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.read(|trees| trees.stats.get(key))?;
        zstd::bulk::decompress(unseal(&value)?, MAX_STATS).ok()
    }

    /// Remembers something about some inodes, at most [`MAX_STATS`] bytes.
    pub(crate) fn put_stats(&self, key: &[u8], body: &[u8]) -> Result<()> {
        let Ok(pressed) = zstd::bulk::compress(body, STATS_LEVEL) else { return Ok(()) };
        let body = seal(pressed);
        self.write(|trees| trees.stats.insert(key, body))
    }

    /// Every key under which something is remembered about inodes.
    pub(crate) fn stat_keys(&self) -> Vec<sled::IVec> {
        let keys =
            self.read(|trees| trees.stats.iter().keys().collect::<sled::Result<_>>().map(Some));
        keys.unwrap_or_default()
    }

    /// Forgets some inodes.
    pub(crate) fn remove_stats(&self, key: &[u8]) -> Result<()> {
        self.write(|trees| trees.stats.remove(key))
    }

    /// Forgets all inodes.
    pub(crate) fn clear_stats(&self) -> Result<()> {
        self.write(|trees| trees.stats.clear())
    }

    /// The sessions that were trusted; none if nothing sound was remembered.
    pub(crate) fn trust(&self) -> Option<Vec<u8>> {
        let value = self.read(|trees| trees.state.get(TRUST))?;
        unseal(&value).map(<[u8]>::to_vec)
    }

    /// Remembers which sessions are trusted.
    pub(crate) fn put_trust(&self, body: Vec<u8>) -> Result<()> {
        let body = seal(body);
        self.write(|trees| trees.state.insert(TRUST, body))
    }

    /// Objects that were found damaged: the digest of the pack, and the record in it.
    pub(crate) fn damaged(&self) -> Vec<([u8; 32], u32)> {
        let value = self.read(|trees| trees.state.get(DAMAGED));
        decode_damaged(value.as_deref().and_then(unseal).unwrap_or_default())
    }

    /// Remembers all objects that were found damaged.
    pub(crate) fn put_damaged(&self, damaged: &[([u8; 32], u32)]) -> Result<()> {
        let entry = |(digest, record): &([u8; 32], u32)| {
            digest.iter().copied().chain(record.to_le_bytes()).collect::<Vec<u8>>()
        };
        let body = seal(damaged.iter().flat_map(entry).collect());
        self.write(|trees| trees.state.insert(DAMAGED, body))
    }

    /// Forgets everything but which sessions are trusted.
    pub(crate) fn clear(&self) -> Result<()> {
        self.write(|trees| {
            trees.segments.clear()?;
            trees.stats.clear()?;
            trees.state.remove(DAMAGED)
        })
    }

    /// Writes everything to the disk, as well as sled can.
    pub(crate) fn flush(&self) -> Result<()> {
        self.write(|trees| trees.db.flush())
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        // Only a cache: what cannot be flushed is rebuilt at the next open.
        let _ = self.flush();
        close(locked(&self.open).take());
    }
}

/// sled 0.34 reports some failures by an error and some by a panic.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?.ok()
}

/// Its end may panic too, when the disk fails.
fn close(trees: Option<Arc<Trees>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(trees)));
}

/// Removes what is, or should have been, a database.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => fs::remove_file(dir).at("remove", dir),
        Ok(()) => Ok(()),
    }
}

fn decode_prefixes(body: &[u8]) -> Vec<u32> {
    body.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
}

fn decode_damaged(body: &[u8]) -> Vec<([u8; 32], u32)> {
    let entry = |entry: &[u8; 36]| {
        let (digest, record) = entry.split_first_chunk::<32>()?;
        Some((*digest, u32::from_le_bytes(record.try_into().ok()?)))
    };
    body.as_chunks::<36>().0.iter().filter_map(entry).collect()
}

/// Every decoder of the values in the database.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode_any(data: &[u8]) {
    if let Some(body) = unseal(data) {
        assert_eq!(seal(body.to_vec()), data);
    }
    decode_prefixes(data);
    decode_damaged(data);
    crate::trust::decode(data);
}

/// Appends a 16-byte checksum.
fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let digest = blake3::hash(&body);
    body.extend_from_slice(&digest.as_bytes()[..16]);
    body
}

fn unseal(value: &[u8]) -> Option<&[u8]> {
    let (body, sum) = value.split_at_checked(value.len().checked_sub(16)?)?;
    (blake3::hash(body).as_bytes()[..16] == *sum).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_garbage_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        Catalog::open(&path).unwrap().put_stats(b"k", b"v").unwrap();
        assert_eq!(Catalog::open(&path).unwrap().stats(b"k").as_deref(), Some(&b"v"[..]));
        for file in ["conf", "db"] {
            fs::write(path.join(file), [0xa5; 4096]).unwrap();
        }
        Catalog::open(&path).unwrap().put_stats(b"k", b"w").unwrap();
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, b"a file").unwrap();
        assert_eq!(Catalog::open(&path).unwrap().stats(b"k"), None);
    }

    #[test]
    fn a_value_with_a_flipped_bit_is_no_value() {
        let mut value = seal(b"body".to_vec());
        assert_eq!(unseal(&value), Some(&b"body"[..]));
        value[1] ^= 1;
        assert_eq!(unseal(&value), None);
        assert_eq!(unseal(b"short"), None);
    }
}
