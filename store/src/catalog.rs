//! The sled database: one index segment for each pack, and the stat cache.
//!
//! Never the only place of anything: sled's flush does not survive the loss of power. Every value
//! carries a checksum, and a database that does not open or does not check is thrown away and
//! filled again from the packs. Values are few and large: sled's memory and time go by records.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{IoContext, Result};
use crate::pack::{Footer, Pack};

/// Bytes of sled's own page cache.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Milliseconds between sled's flushes: what is lost with a crash is only rebuilt.
const FLUSH_MS: u64 = 2_000;

/// Where the sessions are whose entries in the stat cache are trusted.
const TRUST: &[u8] = b"trust";
/// Where the objects are that were found damaged.
const DAMAGED: &[u8] = b"damaged";

pub(crate) struct Catalog {
    segments: sled::Tree,
    stats: sled::Tree,
    state: sled::Tree,
    db: sled::Db,
}

impl Catalog {
    /// Opens the database in `dir`, or starts an empty one where it is missing or broken.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        // sled 0.34 reports some kinds of damage by an error and some by a panic.
        match catch_unwind(AssertUnwindSafe(|| Self::try_open(dir))) {
            Ok(Ok(catalog)) => Ok(catalog),
            _ => {
                match fs::remove_dir_all(dir) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        fs::remove_file(dir).at("remove", dir)?
                    }
                    _ => {}
                }
                Ok(Self::try_open(dir)?)
            }
        }
    }

    fn try_open(dir: &Path) -> sled::Result<Self> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_MS))
            .open()?;
        let catalog = Self {
            segments: db.open_tree("segments")?,
            stats: db.open_tree("inodes")?,
            state: db.open_tree("state")?,
            db,
        };
        // Of an earlier layout.
        catalog.db.drop_tree("stats")?;
        // Touches every page of the segments, so that damage shows here.
        for segment in &catalog.segments {
            segment?;
        }
        Ok(catalog)
    }

    /// The id prefixes of a pack's records in order; none if there is no sound segment.
    pub(crate) fn segment(&self, pack: &Pack) -> Option<Vec<u32>> {
        let value = self.segments.get(pack.trailer.digest).ok()??;
        let prefixes = decode_prefixes(unseal(&value)?);
        (prefixes.len() == pack.trailer.records as usize).then_some(prefixes)
    }

    /// Keeps the segment of a pack.
    pub(crate) fn put_segment(&self, pack: &Pack, footer: &Footer) -> Result<()> {
        let mut body = Vec::with_capacity(footer.records.len() * 4 + 16);
        for record in &footer.records {
            body.extend_from_slice(&record.key.prefix().to_le_bytes());
        }
        self.segments.insert(pack.trailer.digest, seal(body))?;
        Ok(())
    }

    /// Forgets segments of packs that are not among `known`; whether there were any.
    pub(crate) fn retain_segments(&self, known: impl Fn(&[u8]) -> bool) -> Result<bool> {
        let mut removed = false;
        for key in self.segments.iter().keys() {
            let key = key?;
            if !known(&key) {
                self.segments.remove(key)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// What was remembered about some inodes; none if nothing sound was.
    pub(crate) fn stats(&self, key: &[u8]) -> Option<Vec<u8>> {
        unseal(&self.stats.get(key).ok()??).map(<[u8]>::to_vec)
    }

    /// Every key under which something is remembered about inodes.
    pub(crate) fn stat_keys(&self) -> impl Iterator<Item = Result<sled::IVec>> {
        self.stats.iter().keys().map(|key| Ok(key?))
    }

    /// Forgets some inodes.
    pub(crate) fn remove_stats(&self, key: &[u8]) -> Result<()> {
        self.stats.remove(key)?;
        Ok(())
    }

    /// Remembers something about some inodes.
    pub(crate) fn put_stats(&self, key: &[u8], body: Vec<u8>) -> Result<()> {
        self.stats.insert(key, seal(body))?;
        Ok(())
    }

    /// The sessions that were trusted; none if nothing sound was remembered.
    pub(crate) fn trust(&self) -> Option<Vec<u8>> {
        unseal(&self.state.get(TRUST).ok()??).map(<[u8]>::to_vec)
    }

    /// Remembers which sessions are trusted.
    pub(crate) fn put_trust(&self, body: Vec<u8>) -> Result<()> {
        self.state.insert(TRUST, seal(body))?;
        Ok(())
    }

    /// Objects that were found damaged: the digest of the pack, and the record in it.
    pub(crate) fn damaged(&self) -> Vec<([u8; 32], u32)> {
        let value = self.state.get(DAMAGED).ok().flatten();
        decode_damaged(value.as_deref().and_then(unseal).unwrap_or_default())
    }

    /// Remembers all objects that were found damaged.
    pub(crate) fn put_damaged(&self, damaged: &[([u8; 32], u32)]) -> Result<()> {
        let entry = |(digest, record): &([u8; 32], u32)| {
            digest.iter().copied().chain(record.to_le_bytes()).collect::<Vec<u8>>()
        };
        self.state.insert(DAMAGED, seal(damaged.iter().flat_map(entry).collect()))?;
        Ok(())
    }

    /// Forgets the segment of a pack.
    pub(crate) fn remove_segment(&self, pack: &Pack) -> Result<()> {
        self.segments.remove(pack.trailer.digest)?;
        Ok(())
    }

    /// Forgets all inodes.
    pub(crate) fn clear_stats(&self) -> Result<()> {
        Ok(self.stats.clear()?)
    }

    /// Forgets everything but which sessions are trusted.
    pub(crate) fn clear(&self) -> Result<()> {
        self.segments.clear()?;
        self.stats.clear()?;
        self.state.remove(DAMAGED)?;
        Ok(())
    }

    /// Writes everything to the disk, as well as sled can.
    pub(crate) fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        // Only a cache: what cannot be flushed is rebuilt at the next open.
        let _ = self.flush();
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
        Catalog::open(&path).unwrap().put_stats(b"k", b"v".to_vec()).unwrap();
        assert_eq!(Catalog::open(&path).unwrap().stats(b"k").as_deref(), Some(&b"v"[..]));
        for file in ["conf", "db"] {
            fs::write(path.join(file), [0xa5; 4096]).unwrap();
        }
        Catalog::open(&path).unwrap().put_stats(b"k", b"w".to_vec()).unwrap();
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
