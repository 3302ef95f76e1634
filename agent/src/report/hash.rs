//! Hashes of files, and which of them are still true.
//!
//! A hash is remembered with the file's size and times. It is trusted later only if both times were
//! older than the scan that computed it: after the scan's `syncfs` every write, through a shared
//! mapping too, sets them anew, to the scan's start or later.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};
use pyro_format::FileId;

use crate::beneath;
use crate::sys::ClockWatch;

/// File times are taken from a clock that ticks every 1 to 10 ms.
const TICK_NS: i128 = 50_000_000;
/// Most hashes remembered: some 60 MB.
const MOST: usize = 500_000;
/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// Hashes known from earlier scans, by inode of the upper layer.
#[derive(Debug)]
pub struct Hashes {
    known: HashMap<u64, Known>,
    clock: Option<ClockWatch>,
    scans: u64,
}

#[derive(Debug)]
struct Known {
    state: State,
    content: FileId,
    seen: u64,
}

/// What must not have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    size: i64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl State {
    fn of(stat: &FileStat) -> Self {
        Self {
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether both times are older than `start`, by more than a clock tick.
    fn settled_before(&self, start: i128) -> bool {
        let nanos = |(secs, nanos)| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        nanos(self.mtime) < start - TICK_NS && nanos(self.ctime) < start - TICK_NS
    }
}

/// One scan.
#[derive(Debug)]
pub struct Scan {
    number: u64,
    /// Nanoseconds since 1970.
    start: i128,
}

/// A file's content at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Hashed {
    /// The file's stat at that moment.
    pub stat: FileStat,
    /// Bytes of content.
    pub size: u64,
    /// Their hash.
    pub content: FileId,
    /// Bytes read to find out; none when the hash was known.
    pub read: Option<u64>,
}

impl Default for Hashes {
    fn default() -> Self {
        // Without a watch on the clock nothing is trusted.
        Self { known: HashMap::new(), clock: ClockWatch::new().ok(), scans: 0 }
    }
}

impl Hashes {
    /// Starts a scan. A clock that was set makes all times meaningless.
    pub fn begin(&mut self) -> Scan {
        self.forget_if_clock_was_set();
        self.scans += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let start = now.map_or(0, |now| now.as_nanos() as i128);
        Scan { number: self.scans, start }
    }

    /// Ends a scan: files it did not meet are forgotten.
    pub fn finish(&mut self, scan: Scan) {
        self.forget_if_clock_was_set();
        self.known.retain(|_, known| known.seen == scan.number);
    }

    fn forget_if_clock_was_set(&mut self) {
        if self.clock.as_ref().is_none_or(ClockWatch::was_set) {
            self.known.clear();
        }
    }

    /// The hash of a file of the upper layer.
    pub fn hash(
        &mut self,
        scan: &Scan,
        stat: &FileStat,
        open: impl FnOnce() -> Result<OwnedFd, Errno>,
        buffer: &mut [u8],
    ) -> Result<Hashed, Errno> {
        if let Some(known) = self.known.get_mut(&stat.st_ino)
            && known.state == State::of(stat)
        {
            known.seen = scan.number;
            let size = beneath::size(stat);
            return Ok(Hashed { stat: *stat, size, content: known.content, read: None });
        }
        let hashed = hash_file(open()?, buffer)?;
        let state = State::of(&hashed.stat);
        let whole = u64::try_from(state.size) == Ok(hashed.size);
        if whole && state.settled_before(scan.start) && self.known.len() < MOST {
            let known = Known { state, content: hashed.content, seen: scan.number };
            self.known.insert(hashed.stat.st_ino, known);
        } else {
            self.known.remove(&hashed.stat.st_ino);
        }
        Ok(hashed)
    }
}

/// Reads a file to its end. One that changes meanwhile is read again; the last reading counts, with
/// the size it really had.
pub fn hash_file(fd: OwnedFd, buffer: &mut [u8]) -> Result<Hashed, Errno> {
    let io = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let mut file = File::from(fd);
    let mut total = 0;
    let mut before = fstat(&file)?;
    for attempt in 1.. {
        std::io::Seek::rewind(&mut file).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(len) => {
                    hasher.update(&buffer[..len]);
                    size += len as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
        total += size;
        let after = fstat(&file)?;
        if State::of(&before) == State::of(&after) || attempt == ATTEMPTS {
            let content = FileId::from_bytes(*hasher.finalize().as_bytes());
            return Ok(Hashed { stat: after, size, content, read: Some(total) });
        }
        before = after;
    }
    Err(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_clearly_before_the_scan_are_trusted() {
        let state =
            |mtime: i64, ctime: i64| State { size: 1, mtime: (mtime, 0), ctime: (ctime, 0) };
        let start = 100 * 1_000_000_000;
        assert!(state(99, 99).settled_before(start));
        assert!(!state(100, 99).settled_before(start));
        assert!(!state(99, 100).settled_before(start));
        let tick = State { size: 1, mtime: (99, 0), ctime: (99, 960_000_000) };
        assert!(!tick.settled_before(start));
        // A time in the future, set by hand or by a clock since stepped back.
        assert!(!state(200, 99).settled_before(start));
    }

    #[test]
    fn known_hashes_are_reused_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let mut hashes = Hashes::default();
        let mut buffer = [0; 8];
        let mut hash = |hashes: &mut Hashes, start: i128| {
            let scan = Scan { start, ..hashes.begin() };
            let open = || Ok(OwnedFd::from(File::open(&path).unwrap()));
            let stat = fstat(File::open(&path).unwrap()).unwrap();
            let hashed = hashes.hash(&scan, &stat, open, &mut buffer).unwrap();
            hashes.finish(scan);
            (hashed.content, hashed.read)
        };
        let later = i128::from(i64::MAX);
        let one = FileId::of(b"one");
        assert_eq!(hash(&mut hashes, 0), (one, Some(3)));
        assert_eq!(hash(&mut hashes, later), (one, Some(3)), "a fresh file was trusted");
        assert_eq!(hash(&mut hashes, later), (one, None));
        std::fs::write(&path, "four").unwrap();
        assert_eq!(hash(&mut hashes, later), (FileId::of(b"four"), Some(4)));
    }
}
