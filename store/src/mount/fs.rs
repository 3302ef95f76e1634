//! The kernel's requests, answered from the store.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use pyro_format::{BaselineKey, Mtime, Node};
use rustix::process::{getegid, geteuid};

use super::inodes::{Found, Inodes};
use crate::error::{Error, Result};
use crate::store::{Store, locked};

/// A baseline never changes: a century is for ever.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The file system.
pub(super) struct View {
    store: Store,
    inodes: Mutex<Inodes>,
    uid: u32,
    gid: u32,
}

impl View {
    pub(super) fn new(store: Store, key: &BaselineKey) -> Result<Self> {
        let inodes = Mutex::new(Inodes::new(store.clone(), key)?);
        Ok(Self { store, inodes, uid: geteuid().as_raw(), gid: getegid().as_raw() })
    }

    fn attr(&self, found: &Found) -> FileAttr {
        let (kind, perm, size) = match &found.node {
            Node::File { mode, size, .. } => (FileType::RegularFile, mode.bits(), *size),
            Node::Dir { mode, .. } => (FileType::Directory, mode.bits(), 4096),
            Node::Symlink { target } => (FileType::Symlink, 0o777, target.as_bytes().len() as u64),
        };
        let (ino, time) = (INodeNo(found.ino), time(found.mtime));
        let times =
            FileAttr { atime: time, mtime: time, ctime: time, crtime: time, ..self.no_attr() };
        FileAttr { ino, kind, perm, size, blocks: size.div_ceil(512), ..times }
    }

    /// Of nothing, and what all have in common.
    fn no_attr(&self) -> FileAttr {
        let (kind, time) = (FileType::RegularFile, UNIX_EPOCH);
        FileAttr {
            ino: INodeNo(0),
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0,
            // For a directory: "not counted", which keeps `find` from guessing.
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn find(&self, ino: INodeNo) -> Result<Found, Errno> {
        locked(&self.inodes).get(ino.0).map_err(errno)?.ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<Option<Found>, Errno> {
        let listing = locked(&self.inodes).list(parent.0).map_err(errno)?;
        let listing = listing.ok_or(Errno::ENOTDIR)?;
        Ok(listing.position(name.as_bytes()).and_then(|at| listing.get(at)))
    }

    /// Hands entries from `offset` on to `add`, until it wants no more.
    fn list(
        &self,
        ino: INodeNo,
        offset: u64,
        mut add: impl FnMut(u64, &OsStr, &FileAttr) -> bool,
    ) -> Result<(), Errno> {
        let (here, up, listing) = {
            let mut inodes = locked(&self.inodes);
            let listing = inodes.list(ino.0).map_err(errno)?.ok_or(Errno::ENOTDIR)?;
            let here = inodes.get(ino.0).map_err(errno)?.ok_or(Errno::ENOENT)?;
            let up = inodes.get(listing.parent).map_err(errno)?.ok_or(Errno::ENOENT)?;
            (here, up, listing)
        };
        for (at, (name, found)) in [(".", &here), ("..", &up)].into_iter().enumerate() {
            if at as u64 >= offset && add(at as u64 + 1, OsStr::new(name), &self.attr(found)) {
                return Ok(());
            }
        }
        let mut at = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        while let (Some(found), Some(name)) = (listing.get(at), listing.name(at)) {
            if add(at as u64 + 3, OsStr::from_bytes(name), &self.attr(&found)) {
                break;
            }
            at += 1;
        }
        Ok(())
    }

    fn content(&self, ino: INodeNo, offset: u64, len: u32) -> Result<Vec<u8>, Errno> {
        match self.find(ino)?.node {
            Node::File { size, content, .. } => {
                self.store.read_file_range(content, size, offset, len as usize).map_err(errno)
            }
            Node::Dir { .. } => Err(Errno::EISDIR),
            Node::Symlink { .. } => Err(Errno::EINVAL),
        }
    }
}

/// What is damaged cannot be read; `pyro store verify` tells why.
fn errno(_: Error) -> Errno {
    Errno::EIO
}

fn time(mtime: Mtime) -> SystemTime {
    let whole = Duration::from_secs(mtime.secs.unsigned_abs());
    let nanos = Duration::from_nanos(u64::from(mtime.nanos));
    let seconds =
        if mtime.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    seconds.and_then(|time| time.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

impl Filesystem for View {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        ];
        for flag in wanted {
            // Each only saves requests; a kernel without it works as well.
            let _ = config.add_capabilities(flag);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.child(parent, name) {
            Ok(Some(found)) => reply.entry(&FOR_EVER, &self.attr(&found), Generation(0)),
            // An entry with number 0 is a negative one, and as lasting as the others.
            Ok(None) => reply.entry(&FOR_EVER, &self.no_attr(), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.find(ino) {
            Ok(found) => reply.attr(&FOR_EVER, &self.attr(&found)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.find(ino).map(|found| found.node) {
            Ok(Node::Symlink { target }) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(errno) => reply.error(errno),
        }
    }

    // "Not implemented" is remembered by the kernel: no more opens, with everything kept cached.
    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _req: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(ino, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.list(ino, offset, |next, name, attr| reply.add(attr.ino, next, attr.kind, name))
        {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(ino, offset, |next, name, attr| {
            reply.add(attr.ino, next, name, &FOR_EVER, attr, Generation(0))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}
