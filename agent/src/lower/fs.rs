//! The kernel's side: FUSE requests answered from the nodes read so far, or when they arrive.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use parking_lot::Mutex;
use pyro_format::{Mode, Mtime};
use pyro_proto::{FetchBody, FetchedBody, MAX_DATA, Source};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::host::Content;
use super::nodes::{Attr, Kind, Nodes, ROOT_INO};
use crate::identity::Owner;

/// The tree never changes: a century is for ever.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Files up to this many bytes are fetched whole.
const WHOLE_FILE: u64 = 128 * 1024;
/// How many files fetched whole wait for the rest to be read.
const HEADS: usize = 16;
/// Requests the kernel may have under way without anybody waiting (read-ahead).
const MAX_BACKGROUND: u16 = 64;

/// The filesystem.
#[derive(Debug)]
pub struct Lower {
    shared: Arc<Shared>,
    runtime: Handle,
}

/// Learns how the fetch of a directory ended.
type Waiting = oneshot::Sender<Result<(), Errno>>;

#[derive(Debug)]
struct Shared {
    nodes: Mutex<Nodes>,
    /// Directories being fetched, and who waits for them.
    loading: Mutex<HashMap<u64, Vec<Waiting>>>,
    /// Small files fetched whole of which the kernel has read only the start so far.
    heads: Mutex<VecDeque<(u64, Vec<u8>)>>,
    content: Content,
    owner: Owner,
    /// Random for each mount. Overlayfs remembers in the upper layer which lower inode a file was
    /// copied from, but inode numbers last only as long as the mount: another generation tells it
    /// that such a memory is void, or it would take one file for another after a reboot.
    generation: Generation,
}

impl Lower {
    pub(super) fn new(
        content: Content,
        (mode, mtime): (Mode, Mtime),
        owner: Owner,
        runtime: Handle,
    ) -> Self {
        let shared = Shared {
            nodes: Mutex::new(Nodes::new(mode.bits(), mtime)),
            loading: Mutex::default(),
            heads: Mutex::default(),
            content,
            owner,
            generation: Generation(RandomState::new().hash_one(()) >> 32),
        };
        Self { shared: Arc::new(shared), runtime }
    }
}

impl Shared {
    /// Makes sure that the node of directory `ino` is there.
    async fn load(&self, ino: u64) -> Result<(), Errno> {
        let wait = {
            let mut loading = self.loading.lock();
            // Looked at under the lock: whoever loads takes its entry out only afterwards.
            let nodes = self.nodes.lock();
            if nodes.is_loaded(ino) {
                return Ok(());
            }
            if !nodes.is_dir(ino) {
                return Err(Errno::ENOTDIR);
            }
            match loading.get_mut(&ino) {
                Some(waiting) => {
                    let (sender, receiver) = oneshot::channel();
                    waiting.push(sender);
                    Some(receiver)
                }
                None => {
                    loading.insert(ino, Vec::new());
                    None
                }
            }
        };
        if let Some(wait) = wait {
            return wait.await.unwrap_or(Err(Errno::EIO));
        }
        let result = self.fetch_node(ino).await;
        for waiting in self.loading.lock().remove(&ino).unwrap_or_default() {
            let _ = waiting.send(result);
        }
        result
    }

    async fn fetch_node(&self, ino: u64) -> Result<(), Errno> {
        let path = self.nodes.lock().path(ino).ok_or(Errno::ENOENT)?;
        let answer = self.content.ask(Source::Lower, FetchBody::Nodes { paths: vec![path] });
        let list = match answer.await {
            Ok(FetchedBody::Nodes(list)) => list,
            Ok(FetchedBody::Error(errno)) => return Err(Errno::from_i32(errno)),
            _ => return Err(Errno::EIO),
        };
        let mut nodes = self.nodes.lock();
        for node in list {
            nodes.insert(&node.path, &node.tree, &node.times).map_err(|_| Errno::EIO)?;
        }
        if nodes.is_loaded(ino) { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Content of `ino` that a reply to the kernel needs.
    async fn read(&self, ino: u64, offset: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let (path, size) = {
            let nodes = self.nodes.lock();
            let attr = nodes.attr(ino).filter(|attr| attr.kind == Kind::File);
            let size = attr.ok_or(Errno::EISDIR)?.size;
            (nodes.path(ino).ok_or(Errno::ENOENT)?, size)
        };
        let end = offset.saturating_add(len).min(size);
        if offset >= end {
            return Ok(Vec::new());
        }
        if let Some(bytes) = self.take_head(ino, offset, end) {
            return Ok(bytes);
        }
        let whole = size <= WHOLE_FILE;
        let (mut at, until) = if whole { (0, size) } else { (offset, end) };
        let mut bytes = Vec::new();
        while at < until {
            let want = (until - at).min(MAX_DATA as u64) as u32;
            let answer = self.content.ask_range(Source::Lower, path.clone(), at, want).await;
            match answer {
                // Sizes come from the tree: content that is shorter is damaged.
                Ok(FetchedBody::Bytes(part)) if part.len() == want as usize => bytes.extend(part),
                Ok(FetchedBody::Error(errno)) => return Err(Errno::from_i32(errno)),
                _ => return Err(Errno::EIO),
            }
            at += u64::from(want);
        }
        if !whole || (offset, end) == (0, size) {
            return Ok(bytes);
        }
        let part = bytes[offset as usize..end as usize].to_vec();
        if end < size {
            let mut heads = self.heads.lock();
            heads.truncate(HEADS - 1);
            heads.push_front((ino, bytes));
        }
        Ok(part)
    }

    /// A part of a file fetched whole earlier; forgotten once its end has been read.
    fn take_head(&self, ino: u64, offset: u64, end: u64) -> Option<Vec<u8>> {
        let mut heads = self.heads.lock();
        let at = heads.iter().position(|(head, _)| *head == ino)?;
        let bytes = &heads[at].1;
        let part = bytes.get(offset as usize..end as usize)?.to_vec();
        if end as usize == bytes.len() {
            heads.remove(at);
        }
        Some(part)
    }

    fn file_attr(&self, attr: Option<Attr>) -> FileAttr {
        file_attr(attr, self.owner.get())
    }

    fn answer_entry(&self, reply: ReplyEntry, attr: Option<Attr>) {
        // An entry with inode 0 is a negative one, and as lasting as the others.
        reply.entry(&FOR_EVER, &self.file_attr(attr), self.generation);
    }

    /// Fills a reply; `false` when the node is not there.
    fn list(&self, ino: u64, offset: u64, reply: &mut ReplyDirectoryPlus) -> bool {
        let nodes = self.nodes.lock();
        let up = if ino == ROOT_INO { root_attr() } else { self.file_attr(nodes.attr(ino)) };
        let from = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        let Some(entries) = nodes.list(ino, from) else { return false };
        for (at, name) in [".", ".."].into_iter().enumerate().skip(offset as usize) {
            // The kernel takes no attributes from these two.
            if reply.add(up.ino, at as u64 + 1, name, &FOR_EVER, &up, self.generation) {
                return true;
            }
        }
        for (at, (attr, name)) in (from as u64 + 3..).zip(entries) {
            let attr = self.file_attr(Some(attr));
            let name = OsStr::from_bytes(name);
            if reply.add(attr.ino, at, name, &FOR_EVER, &attr, self.generation) {
                break;
            }
        }
        true
    }
}

fn time(mtime: Mtime) -> SystemTime {
    let whole = Duration::from_secs(mtime.secs.unsigned_abs());
    let nanos = Duration::from_nanos(u64::from(mtime.nanos));
    let seconds =
        if mtime.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    seconds.and_then(|time| time.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

fn root_attr() -> FileAttr {
    let mtime = Mtime::default();
    let attr = Attr { ino: ROOT_INO, kind: Kind::Dir, mode: 0o755, size: 4096, mtime };
    file_attr(Some(attr), (0, 0))
}

fn file_attr(attr: Option<Attr>, (uid, gid): (u32, u32)) -> FileAttr {
    let none = Attr { ino: 0, kind: Kind::File, mode: 0, size: 0, mtime: Mtime::default() };
    let attr = attr.unwrap_or(none);
    let time = time(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: match attr.kind {
            Kind::File => FileType::RegularFile,
            Kind::Dir => FileType::Directory,
            Kind::Symlink => FileType::Symlink,
        },
        perm: attr.mode,
        // For a directory: "not counted", which keeps `find` from guessing.
        nlink: 1,
        uid,
        gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Lower {
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
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let known = self.shared.nodes.lock().lookup(parent.0, name.as_bytes());
        if let Some(attr) = known {
            return self.shared.answer_entry(reply, attr);
        }
        let (shared, name) = (self.shared.clone(), name.as_bytes().to_vec());
        self.runtime.spawn(async move {
            if let Err(errno) = shared.load(parent.0).await {
                return reply.error(errno);
            }
            let known = shared.nodes.lock().lookup(parent.0, &name);
            match known {
                Some(attr) => shared.answer_entry(reply, attr),
                None => reply.error(Errno::EIO),
            }
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if ino.0 == ROOT_INO {
            return reply.attr(&FOR_EVER, &root_attr());
        }
        match self.shared.nodes.lock().attr(ino.0) {
            Some(attr) => reply.attr(&FOR_EVER, &self.shared.file_attr(Some(attr))),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.shared.nodes.lock().target(ino.0) {
            Some(target) => reply.data(target),
            None => reply.error(Errno::EINVAL),
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

    fn access(&self, _req: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
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
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            match shared.read(ino.0, offset, u64::from(size)).await {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        if self.shared.list(ino.0, offset, &mut reply) {
            return reply.ok();
        }
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            match shared.load(ino.0).await {
                Ok(()) if shared.list(ino.0, offset, &mut reply) => reply.ok(),
                Ok(()) => reply.error(Errno::EIO),
                Err(errno) => reply.error(errno),
            }
        });
    }
}
