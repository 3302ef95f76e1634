//! Making files, links and directories.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pyro_format::{DecodeError, EntryName, FileId, Mtime, Node, TimesEntry, TimesId, TreeId};
use rustix::fs::{
    AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fsync, ftruncate, futimens,
    mkdirat, openat, symlinkat, syncfs, utimensat,
};

use super::place::{Place, open_dir};
use super::{CheckoutItem, CheckoutReport};
use crate::descend::{Descent, DirFds, Found, Node as DirNode, descend};
use crate::error::{Error, IoContext, Result};
use crate::object::ObjectKey;
use crate::progress::{self, Progress};
use crate::store::Store;

/// As for reading: see `ingest::walk`.
const GROUP_FILES: usize = 256;
const GROUP_BYTES: u64 = 8 * 1024 * 1024;
/// Zeroes in at least this many bytes, a file system block, become a hole.
const HOLE: usize = 4096;

/// Makes `item` under the temporary name of `place`.
pub(super) fn write(
    store: &Store,
    item: &CheckoutItem,
    place: &Place,
    durable: bool,
    progress: &dyn Progress,
) -> Result<CheckoutReport> {
    let writing = Writing {
        store,
        dest: &place.dest,
        progress,
        entries: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let mtime = item.times.map(|times| times.mtime);
    match &item.node {
        Node::File { mode, size, content } => {
            let file = FileTask { mode: *mode, size: *size, content: *content, mtime };
            let fd = writing.file(place.dir.as_fd(), &place.temp, &file, || place.dest.clone())?;
            if durable {
                fsync(&fd).at("sync", &place.dest)?;
            }
        }
        Node::Symlink { target } => {
            writing.link(place.dir.as_fd(), &place.temp, target.as_bytes(), mtime, || {
                place.dest.clone()
            })?;
        }
        Node::Dir { mode, tree } => {
            mkdirat(&place.dir, &*place.temp, Mode::RWXU).at("create", &place.dest)?;
            let top = open_dir(&place.dir, &place.temp).at("open", &place.dest)?;
            let synced = open_dir(&place.dir, &place.temp).at("open", &place.dest)?;
            let times = item.times.and_then(|times| times.children);
            let dir = Dir { mode: *mode, mtime, tree: *tree, times };
            let mut workers = vec![(); store.shared.options.threads.max(1)];
            descend(&writing, top, dir, &mut workers)?;
            if durable {
                syncfs(synced).at("sync", &place.dest)?;
            }
        }
    }
    Ok(CheckoutReport {
        entry_count: writing.entries.into_inner(),
        bytes_written: writing.bytes.into_inner(),
    })
}

struct Writing<'a> {
    store: &'a Store,
    dest: &'a Path,
    progress: &'a dyn Progress,
    entries: AtomicU64,
    bytes: AtomicU64,
}

struct Dir {
    mode: pyro_format::Mode,
    mtime: Option<Mtime>,
    tree: TreeId,
    times: Option<TimesId>,
}

struct FileTask {
    mode: pyro_format::Mode,
    size: u64,
    content: FileId,
    mtime: Option<Mtime>,
}

impl Writing<'_> {
    fn host_path(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.dest.to_owned() } else { self.dest.join(OsStr::from_bytes(path)) }
    }

    fn count(&self, bytes: u64) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.advance(1, bytes);
    }

    fn link(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        target: &[u8],
        mtime: Option<Mtime>,
        path: impl Fn() -> PathBuf,
    ) -> Result<()> {
        symlinkat(target, dir, name).at("create", path())?;
        if let Some(mtime) = mtime {
            utimensat(dir, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
                .at("set the time of", path())?;
        }
        self.count(0);
        Ok(())
    }

    /// Writes a file whose content is checked: each chunk by its id, and the whole by the file's.
    fn file(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        file: &FileTask,
        path: impl Fn() -> PathBuf,
    ) -> Result<OwnedFd> {
        let FileTask { mode, size, content, mtime } = *file;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut reader = self.store.open_file(content, size)?;
        let fd = openat(dir, name, flags, Mode::RUSR | Mode::WUSR).at("create", path())?;
        let mut whole = blake3::Hasher::new();
        let (mut at, mut ends_in_hole) = (0u64, false);
        while let Some(chunk) = reader.next_chunk()? {
            progress::check(self.progress)?;
            // A chunk that is the whole file was checked when it was read.
            if chunk.len() as u64 != size {
                whole.update(&chunk);
            }
            ends_in_hole = chunk.len() >= HOLE && chunk.iter().all(|byte| *byte == 0);
            let mut rest = if ends_in_hole { &[][..] } else { &chunk[..] };
            let mut offset = at;
            while !rest.is_empty() {
                let len = rustix::io::pwrite(&fd, rest, offset).at("write", path())?;
                (rest, offset) = (&rest[len..], offset + len as u64);
            }
            at += chunk.len() as u64;
        }
        if ends_in_hole {
            ftruncate(&fd, at).at("write", path())?;
        }
        let whole = FileId::from_bytes(*whole.finalize().as_bytes());
        let found = if reader.is_sole_chunk() { content } else { whole };
        if found != content {
            return Err(Error::FileMismatch { expected: content, found });
        }
        fchmod(&fd, raw_mode(mode)).at("set the mode of", path())?;
        if let Some(mtime) = mtime {
            futimens(&fd, &timestamps(mtime)).at("set the time of", path())?;
        }
        self.count(size);
        Ok(fd)
    }
}

impl Descent for Writing<'_> {
    type Dir = Dir;
    type Group = Vec<(EntryName, FileTask)>;
    type Worker = ();

    fn enter(
        &self,
        worker: &mut (),
        node: &DirNode<Dir>,
        fds: &DirFds,
    ) -> Result<Found<Dir, Self::Group>> {
        let here = || self.host_path(&node.path());
        let fd = fds.open(node).at("open", here())?;
        let tree = self.store.get_tree(node.data.tree)?;
        let times = self.times(&node.data, tree.entries().len())?;
        let mut found = Found { dirs: Vec::new(), groups: Vec::new() };
        let mut bytes = 0;
        for (at, entry) in tree.entries().iter().enumerate() {
            let name = entry.name.as_bytes();
            let times = times.as_ref().map(|times| times[at]);
            let mtime = times.map(|times| times.mtime);
            match &entry.node {
                Node::Symlink { target } => {
                    let path = || self.host_path(&node.path_of(name));
                    self.link(fd.as_fd(), name, target.as_bytes(), mtime, path)?;
                }
                Node::Dir { mode, tree } => {
                    let path = || self.host_path(&node.path_of(name));
                    mkdirat(&fd, name, Mode::RWXU).at("create", path())?;
                    self.count(0);
                    let times = times.and_then(|times| times.children);
                    found.dirs.push((name.into(), Dir { mode: *mode, mtime, tree: *tree, times }));
                }
                Node::File { mode, size, content } => {
                    let file = FileTask { mode: *mode, size: *size, content: *content, mtime };
                    let fits =
                        |group: &&mut Self::Group| group.len() < GROUP_FILES && bytes < GROUP_BYTES;
                    match found.groups.last_mut().filter(fits) {
                        Some(group) => {
                            bytes += size;
                            group.push((entry.name.clone(), file));
                        }
                        None => {
                            bytes = *size;
                            found.groups.push(vec![(entry.name.clone(), file)]);
                        }
                    }
                }
            }
        }
        if found.groups.len() == 1
            && let Some(only) = found.groups.pop()
        {
            self.group(worker, node, fds, only)?;
        }
        Ok(found)
    }

    fn group(
        &self,
        _worker: &mut (),
        node: &DirNode<Dir>,
        fds: &DirFds,
        group: Self::Group,
    ) -> Result<()> {
        let fd = fds.open(node).at("open", self.host_path(&node.path()))?;
        for (name, file) in group {
            progress::check(self.progress)?;
            let path = || self.host_path(&node.path_of(name.as_bytes()));
            self.file(fd.as_fd(), name.as_bytes(), &file, path)?;
        }
        Ok(())
    }

    /// Mode and time last: a directory must be writable while it fills, and filling changes its
    /// time.
    fn leave(&self, _worker: &mut (), node: &DirNode<Dir>, fds: &DirFds) -> Result<()> {
        let here = || self.host_path(&node.path());
        let fd = fds.open(node).at("open", here())?;
        fchmod(&fd, raw_mode(node.data.mode)).at("set the mode of", here())?;
        if let Some(mtime) = node.data.mtime {
            futimens(&fd, &timestamps(mtime)).at("set the time of", here())?;
        }
        Ok(())
    }
}

impl Writing<'_> {
    fn times(&self, dir: &Dir, entries: usize) -> Result<Option<Vec<TimesEntry>>> {
        let Some(id) = dir.times else { return Ok(None) };
        let times = self.store.get_times(id)?.entries;
        if times.len() == entries {
            return Ok(Some(times));
        }
        let source = DecodeError { what: "times node", why: "does not fit its tree node" };
        Err(Error::Decode { key: ObjectKey::from(id), source })
    }
}

fn raw_mode(mode: pyro_format::Mode) -> Mode {
    Mode::from_raw_mode(u32::from(mode.bits()))
}

fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) },
    }
}
