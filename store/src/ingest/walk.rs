//! Taking in a directory of the host.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pyro_format::{
    Entry, EntryName, FileId, LinkTarget, MAX_DEPTH, Mtime, Node, RootNode, TimesEntry,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, fstat, open, readlinkat, statat};
use rustix::io::Errno;

use super::dir::{Dir, FileTask, groups, split};
use super::file::{self, Meta, Outcome};
use super::filter::{Excludes, Ignores};
use super::source::named;
use super::statcache::{self, LastShard, StatCache};
use super::stream::Cutter;
use super::{IngestOptions, Tally, Top, git, sinks};
use crate::baseline::{PathBytes, SkipReason};
use crate::descend::{Descent, DirFds, Found, Node as DirNode, descend};
use crate::error::{Error, IoContext, Result};
use crate::progress::{self, Progress};
use crate::store::{Store, locked};
use crate::writer::{Batch, Sink};

pub(super) struct Worker {
    sink: Sink,
    cutter: Cutter,
    listing: Vec<MaybeUninit<u8>>,
    last_shard: LastShard,
}

struct Walk<'a> {
    store: &'a Store,
    source: &'a Path,
    options: &'a IngestOptions,
    excludes: Excludes,
    stats: &'a StatCache,
    tally: &'a Tally,
    progress: &'a dyn Progress,
    store_dir: Meta,
    trusted_before: Mtime,
    top: Mutex<Option<Top>>,
}

pub(super) fn ingest(
    batch: &Arc<Batch>,
    source: &Path,
    options: &IngestOptions,
    stats: &StatCache,
    tally: &Tally,
    progress: &dyn Progress,
) -> Result<Top> {
    let mut workers = Vec::new();
    let trusted_before = statcache::trusted_before(batch.store().shared.options.stat_margin);
    let excludes = Excludes::new(&options.exclude)?;
    let store = batch.store();
    for sink in sinks(batch)? {
        let listing = vec![MaybeUninit::uninit(); 64 * 1024];
        let last_shard = LastShard::default();
        workers.push(Worker { sink, cutter: Cutter::new(), listing, last_shard });
    }
    let resolved = source.canonicalize().at("read", source)?;
    let keeps_all = excludes.is_empty() && !options.gitignore;
    if resolved.starts_with(store.dir()) || (keeps_all && store.dir().starts_with(&resolved)) {
        let store = store.dir().to_owned();
        return Err(Error::SourceOverlapsStore { path: source.to_owned(), store });
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = open(&resolved, flags, Mode::empty()).at("read", source)?;
    let store_dir = open(store.dir(), flags, Mode::empty()).at("read", store.dir())?;
    let walk = Walk {
        store,
        source,
        options,
        excludes,
        stats,
        tally,
        progress,
        store_dir: Meta::new(&fstat(&store_dir).at("read", store.dir())?),
        trusted_before,
        top: Mutex::default(),
    };
    let first = Dir::default();
    if options.gitignore {
        let exclude = git::read_below(&top, &[b".git", b"info", b"exclude"]);
        locked(&first.state).ignores = exclude.and_then(|lines| Ignores::parse(b"", &lines, None));
    }
    descend(&walk, top, first, &mut workers)?;
    for worker in &mut workers {
        worker.sink.flush()?;
    }
    let top = locked(&walk.top).take();
    top.ok_or_else(|| Error::Changing(source.to_owned()))
}

impl Walk<'_> {
    fn host_path(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            return self.source.to_owned();
        }
        self.source.join(OsStr::from_bytes(path))
    }

    /// Whether an entry is left out by a pattern.
    fn excluded(&self, dir: &[u8], name: &[u8], is_dir: bool, ignores: Option<&Ignores>) -> bool {
        if self.excludes.is_empty() && ignores.is_none() {
            return false;
        }
        let path = if dir.is_empty() { name.to_vec() } else { [dir, name].join(&b'/') };
        self.excludes.exclude(&path, is_dir)
            || ignores.is_some_and(|ignores| ignores.ignore(&path, is_dir))
    }

    fn unreadable(&self, path: Vec<u8>, errno: Errno) -> Result<()> {
        if self.options.skip_unreadable {
            self.tally.skip(path, SkipReason::Unreadable);
            return Ok(());
        }
        Err(errno).at("read", self.host_path(&path))
    }

    /// Opens a directory; none if it is left out.
    fn open(&self, node: &DirNode<Dir>, fds: &DirFds) -> Result<Option<Arc<OwnedFd>>> {
        let path = || self.host_path(&node.path());
        if node.depth > MAX_DEPTH {
            return Err(Error::TooDeep { path: path(), limit: MAX_DEPTH });
        }
        match fds.open(node) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::Changing(path())),
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
                self.unreadable(node.path(), errno).map(|()| None)
            }
            Err(errno) => Err(errno).at("read", path()),
        }
    }

    fn link(&self, fd: &OwnedFd, node: &DirNode<Dir>, name: EntryName, meta: &Meta) -> Result<()> {
        let host_path = || self.host_path(&node.path_of(name.as_bytes()));
        let target = match readlinkat(fd, name.as_bytes(), Vec::new()) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::INVAL) => return Err(Error::Changing(host_path())),
            Err(errno) => return Err(errno).at("read", host_path()),
        };
        let target = LinkTarget::parse(target.as_bytes())
            .map_err(|source| Error::Name { path: host_path(), source })?;
        let times = TimesEntry { mtime: meta.mtime, children: None };
        let entry = Entry::new(name, Node::Symlink { target });
        locked(&node.data.state).entries.push((entry, times));
        Ok(())
    }

    /// The content of a file the stat cache knows, if the store still has it; and whether the cache
    /// should be told so.
    fn known(&self, meta: &Meta, last: &mut LastShard) -> Result<Option<(FileId, bool)>> {
        match self.stats.get(meta, last) {
            Some(known) if known.stored => Ok(Some((known.file, false))),
            Some(known) if self.store.has_file(known.file, meta.size)? => {
                Ok(Some((known.file, true)))
            }
            _ => Ok(None),
        }
    }
}

impl Descent for Walk<'_> {
    type Dir = Dir;
    type Group = Vec<FileTask>;
    type Worker = Worker;

    fn enter(
        &self,
        worker: &mut Worker,
        node: &DirNode<Dir>,
        fds: &DirFds,
    ) -> Result<Found<Dir, Vec<FileTask>>> {
        progress::check(self.progress)?;
        let mut found = Found { dirs: Vec::new(), groups: Vec::new() };
        let Some(fd) = self.open(node, fds)? else { return Ok(found) };
        let path = node.path();
        let at_path = |name: &[u8]| self.host_path(&node.path_of(name));
        let meta = Meta::new(&fstat(&fd).at("read", self.host_path(&path))?);
        if (meta.dev, meta.ino) == (self.store_dir.dev, self.store_dir.ino) {
            let (path, store) = (self.host_path(&path), self.store.dir().to_owned());
            return Err(Error::SourceOverlapsStore { path, store });
        }
        let mut ignores = locked(&node.data.state).ignores.clone();
        if self.options.gitignore
            && let Some(lines) = git::read_below(&fd, &[b".gitignore"])
        {
            ignores = Ignores::parse(&path, &lines, ignores);
        }
        locked(&node.data.state).meta = Some(meta);
        let (mut entries, mut files, mut bytes) = (0, 0, 0);
        let mut tasks = Vec::new();
        let mut unchanged = Vec::new();
        let mut listing = RawDir::new(&fd, &mut worker.listing);
        while let Some(listed) = listing.next() {
            let listed = listed.at("list", self.host_path(&path))?;
            let name = listed.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let meta = match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Meta::new(&stat),
                Err(Errno::NOENT) => continue,
                Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
                    self.unreadable(node.path_of(name), errno)?;
                    continue;
                }
                Err(errno) => return Err(errno).at("read", at_path(name)),
            };
            let kind = meta.kind();
            if self.excluded(&path, name, kind == FileType::Directory, ignores.as_deref()) {
                continue;
            }
            let skip = |reason| self.tally.skip(node.path_of(name), reason);
            match kind {
                FileType::RegularFile => {
                    let parsed = EntryName::parse(name)
                        .map_err(|source| Error::Name { path: at_path(name), source })?;
                    match self.known(&meta, &mut worker.last_shard)? {
                        Some((file, remember)) => {
                            (files, bytes) = (files + 1, bytes + meta.size);
                            unchanged.push((parsed, meta, file, remember));
                        }
                        None => tasks.push(FileTask { name: parsed, meta }),
                    }
                }
                FileType::Directory => {
                    let below = Dir::default();
                    locked(&below.state).ignores = ignores.clone();
                    found.dirs.push((name.into(), below));
                }
                FileType::Symlink => {
                    entries += 1;
                    let name = EntryName::parse(name)
                        .map_err(|source| Error::Name { path: at_path(name), source })?;
                    self.link(&fd, node, name, &meta)?;
                }
                FileType::Socket => skip(SkipReason::Socket),
                FileType::Fifo => skip(SkipReason::Fifo),
                FileType::BlockDevice => skip(SkipReason::BlockDevice),
                FileType::CharacterDevice => skip(SkipReason::CharDevice),
                _ => skip(SkipReason::UnknownKind),
            }
            if name == b".git" && kind == FileType::RegularFile {
                git::warn_about_link(&fd, &path, self.source, self.tally);
            } else if name == b"alternates" && path.ends_with(b".git/objects/info") {
                git::warn_about_alternates(&path, self.tally);
            }
        }
        {
            let mut tally = locked(&self.tally.lists);
            tally.entries += entries + files;
            tally.files += files;
            tally.bytes += bytes;
            tally.unchanged += files;
        }
        self.progress.advance(entries + files, bytes);
        let mut state = locked(&node.data.state);
        for (name, meta, file, remember) in unchanged {
            state.add_file(name, &meta, meta.size, file);
            if remember {
                state.remember.push((meta, file));
            }
        }
        drop(state);
        found.dirs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.groups = groups(tasks);
        if found.groups.len() == 1
            && let Some(only) = found.groups.pop()
        {
            self.group(worker, node, fds, only)?;
        }
        Ok(found)
    }

    fn group(
        &self,
        worker: &mut Worker,
        node: &DirNode<Dir>,
        fds: &DirFds,
        group: Vec<FileTask>,
    ) -> Result<()> {
        let Some(fd) = self.open(node, fds)? else { return Ok(()) };
        let mut stored = Vec::with_capacity(group.len());
        let mut bytes = 0;
        for FileTask { name, meta } in group {
            let path = || node.path_of(name.as_bytes());
            let mut advanced = |bytes| {
                self.progress.advance(0, bytes);
                progress::check(self.progress)
            };
            let outcome = file::read(
                fd.as_fd(),
                name.as_bytes(),
                meta,
                self.options.allow_changing,
                &mut worker.cutter,
                &mut worker.sink,
                &mut advanced,
            )
            .map_err(|error| named(error, &self.host_path(&path())))?;
            match outcome {
                Outcome::Stored { meta, file, size, changing } => {
                    if changing {
                        locked(&self.tally.lists).changing.push(PathBytes(path()));
                    }
                    bytes += size;
                    stored.push((name, meta, size, file, changing));
                }
                Outcome::Vanished => {}
                Outcome::Unreadable(errno) => self.unreadable(path(), errno)?,
            }
        }
        let files = stored.len() as u64;
        {
            let mut tally = locked(&self.tally.lists);
            tally.entries += files;
            tally.files += files;
            tally.bytes += bytes;
        }
        self.progress.advance(files, 0);
        let mut state = locked(&node.data.state);
        for (name, meta, size, file, changing) in stored {
            state.add_file(name, &meta, size, file);
            if !changing && statcache::may_remember(&meta, self.trusted_before) {
                state.remember.push((meta, file));
            }
        }
        Ok(())
    }

    fn leave(&self, worker: &mut Worker, node: &DirNode<Dir>, _fds: &DirFds) -> Result<()> {
        let state = std::mem::take(&mut *locked(&node.data.state));
        let Some(meta) = state.meta else { return Ok(()) };
        self.stats.remember(&state.remember)?;
        let changing = || Error::Changing(self.host_path(&node.path()));
        let (tree, times) = split(state.entries).ok_or_else(changing)?;
        let tree = worker.sink.put_tree(&tree)?;
        let times = worker.sink.put_times(&times)?;
        let Some(parent) = node.parent() else {
            let root = RootNode { mode: meta.mode(), tree };
            *locked(&self.top) = Some(Top { root, times, mtime: meta.mtime });
            return Ok(());
        };
        let name = EntryName::parse(node.name())
            .map_err(|source| Error::Name { path: self.host_path(&node.path()), source })?;
        let entry = Entry::new(name, Node::Dir { mode: meta.mode(), tree });
        let times = TimesEntry { mtime: meta.mtime, children: Some(times) };
        locked(&parent.data.state).entries.push((entry, times));
        locked(&self.tally.lists).entries += 1;
        self.progress.advance(1, 0);
        Ok(())
    }
}
