//! Reading one regular file of the host, and noticing when it changes meanwhile.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pyro_format::{FileId, Mtime};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, seek, statat};
use rustix::io::Errno;

use super::stream::{Cutter, StreamError};
use crate::error::{Error, Result};
use crate::writer::Sink;

/// How often a file that changes while it is read is read.
const ATTEMPTS: usize = 3;

/// What `stat` says about an entry, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) st_mode: u32,
    pub(super) size: u64,
    pub(super) mtime: Mtime,
    pub(super) ctime: Mtime,
    /// Whether fewer blocks are allocated than the length needs.
    sparse: bool,
}

impl Meta {
    pub(super) fn new(stat: &Stat) -> Self {
        let size = stat.st_size.max(0) as u64;
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            st_mode: stat.st_mode,
            size,
            mtime: Mtime { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            ctime: Mtime { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 },
            sparse: (stat.st_blocks.max(0) as u64) * 512 + 65_536 < size,
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.st_mode)
    }

    pub(super) fn mode(&self) -> pyro_format::Mode {
        pyro_format::Mode::new((self.st_mode & 0o777) as u16)
    }

    /// Whether nothing suggests that the content differs. The allocation may: writeback changes it.
    fn same_content(&self, other: &Meta) -> bool {
        Self { sparse: other.sparse, ..*self } == *other
    }
}

/// How reading a file went.
pub(super) enum Outcome {
    /// It is stored.
    Stored {
        /// What it was when it was read.
        meta: Meta,
        file: FileId,
        size: u64,
        /// It never held still; this is the last read.
        changing: bool,
    },
    /// It is gone, or no longer a regular file.
    Vanished,
    /// The caller may not read it.
    Unreadable(Errno),
}

/// How a file could not be read.
pub(super) enum ReadError {
    /// It changed every time.
    Changing,
    /// The operating system failed.
    Os(io::Error),
    /// The store failed.
    Store(Error),
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno.into())
    }
}

/// Reads `name` in `dir` into the store. `seen` is what `stat` said before.
pub(super) fn read(
    dir: BorrowedFd<'_>,
    name: &[u8],
    seen: Meta,
    allow_changing: bool,
    cutter: &mut Cutter,
    sink: &mut Sink,
    mut advanced: impl FnMut(u64) -> Result<()>,
) -> Result<Outcome, ReadError> {
    // NONBLOCK: if it was replaced by a fifo, open must not wait for a writer.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut meta = seen;
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(Outcome::Vanished),
                stat => meta = Meta::new(&stat?),
            }
            if meta.kind() != FileType::RegularFile {
                return Err(ReadError::Changing);
            }
        }
        let fd = match openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Outcome::Vanished),
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => return Ok(Outcome::Unreadable(errno)),
            Err(Errno::LOOP | Errno::NXIO) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let mut input = Input::new(&fd, &meta);
        let (file, size) = match cutter.store(sink, &mut input, &mut advanced) {
            Ok(stored) => stored,
            Err(StreamError::Input(error)) => return Err(ReadError::Os(error)),
            Err(StreamError::Store(error)) => return Err(ReadError::Store(error)),
        };
        let after = Meta::new(&fstat(&fd)?);
        if meta.same_content(&after) && size == meta.size {
            return Ok(Outcome::Stored { meta, file, size, changing: false });
        }
        last = Some(Outcome::Stored { meta: after, file, size, changing: true });
    }
    last.filter(|_| allow_changing).ok_or(ReadError::Changing)
}

/// A file's bytes, up to one more than its length: that one tells that it has grown, and a file
/// that grows for ever is not followed. Holes are not read from the file.
struct Input<'a> {
    fd: &'a OwnedFd,
    at: u64,
    limit: u64,
    sparse: bool,
    /// End of the data or hole that `at` is in, for sparse files.
    extent_end: u64,
    in_hole: bool,
}

impl<'a> Input<'a> {
    fn new(fd: &'a OwnedFd, meta: &Meta) -> Self {
        let limit = meta.size.saturating_add(1);
        Self { fd, at: 0, limit, sparse: meta.sparse, extent_end: 0, in_hole: false }
    }

    fn find_extent(&mut self) -> rustix::io::Result<()> {
        let file_end = self.limit - 1;
        match seek(self.fd, SeekFrom::Data(self.at)) {
            Ok(data) if data > self.at => (self.in_hole, self.extent_end) = (true, data),
            Ok(_) => {
                self.in_hole = false;
                self.extent_end = seek(self.fd, SeekFrom::Hole(self.at))?.max(self.at + 1);
            }
            // No data from here on, or beyond the end.
            Err(Errno::NXIO) if self.at < file_end => {
                (self.in_hole, self.extent_end) = (true, file_end);
            }
            // Beyond the end, or a file system without holes: plain reads.
            Err(_) => (self.in_hole, self.extent_end) = (false, u64::MAX),
        }
        if !self.in_hole && self.extent_end >= file_end {
            self.extent_end = u64::MAX;
        }
        Ok(())
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut wanted = (self.limit - self.at).min(out.len() as u64);
        if self.sparse {
            if self.at >= self.extent_end {
                self.find_extent()?;
            }
            wanted = wanted.min(self.extent_end - self.at);
        }
        let out = &mut out[..wanted as usize];
        if out.is_empty() {
            return Ok(0);
        }
        let len = if self.sparse && self.in_hole {
            out.fill(0);
            out.len()
        } else {
            rustix::io::pread(self.fd.as_fd(), &mut *out, self.at)?
        };
        self.at += len as u64;
        if len < out.len() && !self.sparse {
            // A short read of a regular file is its end: saves asking once more.
            self.limit = self.at;
        }
        Ok(len)
    }
}
