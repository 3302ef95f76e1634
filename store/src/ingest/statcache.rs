//! Which files need not be read again: by device, inode, size, mtime and ctime.
//!
//! The racy-clean rule: a time is trusted only if it lay well before the read, since a later change
//! within the clock's granularity would leave it equal. Pages that a program has mapped and dirtied
//! may be written without a new time until the kernel has flushed them, which it does after 30
//! seconds (`vm.dirty_expire_centisecs`) and a flusher's turn of 5: hence the default margin of
//! [`StoreOptions`](crate::StoreOptions).

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_format::{FileId, Mtime};

use super::file::Meta;

/// inode, size, two times of 12 bytes, file id.
const RECORD: usize = 8 + 8 + 12 + 12 + 32;

/// Files of one directory by inode number.
#[derive(Default)]
pub(super) struct KnownFiles {
    files: HashMap<u64, ([u8; RECORD - 40], FileId)>,
}

/// The key under which a directory's files are remembered.
pub(super) fn key(dev: u64, ino: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&dev.to_le_bytes());
    key[8..].copy_from_slice(&ino.to_le_bytes());
    key
}

impl KnownFiles {
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut files = HashMap::with_capacity(bytes.len() / RECORD);
        for record in bytes.chunks_exact(RECORD) {
            let (stat, id) = record.split_at(40);
            let mut ino = [0; 8];
            ino.copy_from_slice(&stat[..8]);
            let mut rest = [0; 32];
            rest.copy_from_slice(&stat[8..]);
            let mut digest = [0; 32];
            digest.copy_from_slice(id);
            files.insert(u64::from_le_bytes(ino), (rest, FileId::from_bytes(digest)));
        }
        Self { files }
    }

    /// The content of a file that is as it was.
    pub(super) fn get(&self, meta: &Meta) -> Option<FileId> {
        let (stat, file) = self.files.get(&meta.ino)?;
        (*stat == stat_bytes(meta)).then_some(*file)
    }
}

/// What is to be remembered of a directory, sorted by inode number.
pub(super) fn encode(mut files: Vec<(Meta, FileId)>) -> Vec<u8> {
    files.sort_unstable_by_key(|(meta, _)| meta.ino);
    files.dedup_by_key(|(meta, _)| meta.ino);
    let mut bytes = Vec::with_capacity(files.len() * RECORD);
    for (meta, file) in files {
        bytes.extend_from_slice(&meta.ino.to_le_bytes());
        bytes.extend_from_slice(&stat_bytes(&meta));
        bytes.extend_from_slice(file.as_bytes());
    }
    bytes
}

fn stat_bytes(meta: &Meta) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&meta.size.to_le_bytes());
    for (at, time) in [(8, meta.mtime), (20, meta.ctime)] {
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
