//! Walking a directory tree into records: one open directory a level, no recursion, no path strings.

use std::os::fd::{AsFd, OwnedFd};
use std::vec::IntoIter;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use pyro_format::{EntryName, LinkTarget, MAX_DEPTH, TreePath, escape};
use pyro_proto::{Base, Change, Special};

use super::base::{mark, resolve};
use super::hash::{Hashed, Hashes, Scan, hash_file};
use crate::beneath::{self, Kind};
use crate::error::{Doing, Error, Result};
use crate::workspace::{Marking, Workspace};

/// Bytes read at a time to hash a file.
const BUFFER: usize = 256 << 10;
/// Device number of a whiteout.
const WHITEOUT: u64 = 0;

/// What a walk cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Entries looked at.
    pub visited: u64,
    /// Bytes hashed.
    pub hashed_bytes: u64,
    /// Hashes that were known.
    pub cached_files: u64,
}

/// One directory on the way down.
struct Level {
    dir: OwnedFd,
    names: IntoIter<Box<[u8]>>,
    /// The lower directory that shows through, in a walk of the upper layer.
    lower: Option<TreePath>,
}

impl Level {
    fn new(dir: OwnedFd, lower: Option<TreePath>) -> Result<Self, Errno> {
        let names = beneath::names(beneath::reopen_dir(dir.as_fd())?)?.into_iter();
        Ok(Self { dir, names, lower })
    }
}

/// What differs between the two walks.
enum View<'a> {
    Upper { hashes: &'a mut Hashes, scan: &'a Scan, marking: Marking },
    Merged,
}

struct Walk<'a> {
    view: View<'a>,
    emit: &'a mut dyn FnMut(Change) -> Result<()>,
    counts: Counts,
    buffer: Vec<u8>,
}

/// The upper layer's changes.
pub fn upper(
    workspace: &Workspace,
    hashes: &mut Hashes,
    scan: &Scan,
    emit: &mut dyn FnMut(Change) -> Result<()>,
) -> Result<Counts> {
    let view = View::Upper { hashes, scan, marking: workspace.marking() };
    let mut walk = Walk { view, emit, counts: Counts::default(), buffer: vec![0; BUFFER] };
    match workspace.upper_top()? {
        Some(top) => walk.run(top, Some(TreePath::root()), Base::Same)?,
        None => {
            let stat = fstat(workspace.top()?).doing(|| "look at /workspace".into())?;
            walk.enter(None, &stat, Base::Same)?;
            (walk.emit)(Change::Leave)?;
        }
    }
    Ok(walk.counts)
}

/// Everything in `/workspace`, hashed anew.
pub fn full(workspace: &Workspace, emit: &mut dyn FnMut(Change) -> Result<()>) -> Result<Counts> {
    let view = View::Merged;
    let mut walk = Walk { view, emit, counts: Counts::default(), buffer: vec![0; BUFFER] };
    walk.run(workspace.top()?, None, Base::Empty)?;
    Ok(walk.counts)
}

/// `None` for what vanished since it was listed: the walk sees it gone.
fn unless_gone<T>(result: Result<T, Errno>, name: &[u8], verb: &str) -> Result<Option<T>> {
    match result {
        // A directory that became something else in between is as good as gone.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        other => other.map(Some).doing(|| format!("{verb} '{}'", escape(name))),
    }
}

impl Walk<'_> {
    fn run(&mut self, top: OwnedFd, lower: Option<TreePath>, base: Base) -> Result<()> {
        let stat = fstat(&top).doing(|| "look at /workspace".into())?;
        self.enter(None, &stat, base)?;
        let first = Level::new(top, lower).doing(|| "list /workspace".into())?;
        let mut levels = vec![first];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                (self.emit)(Change::Leave)?;
                continue;
            };
            if let Some(inner) = self.entry(level, &name)? {
                if levels.len() > MAX_DEPTH {
                    let message = format!("/workspace is nested deeper than {MAX_DEPTH} levels");
                    return Err(Error::Invalid(message));
                }
                levels.push(inner);
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: Option<EntryName>, stat: &FileStat, base: Base) -> Result<()> {
        self.counts.visited += 1;
        let (mode, mtime) = (beneath::mode(stat), beneath::mtime(stat));
        (self.emit)(Change::Enter { name, mode, mtime, base })
    }

    /// Records one entry; a directory is returned to be walked.
    fn entry(&mut self, level: &Level, bytes: &[u8]) -> Result<Option<Level>> {
        let stat = unless_gone(beneath::stat(&level.dir, bytes), bytes, "look at")?;
        let (Some(stat), Ok(name)) = (stat, EntryName::parse(bytes)) else { return Ok(None) };
        let kind = beneath::kind(&stat);
        if kind == Kind::Dir {
            return self.directory(level, name);
        }
        self.counts.visited += 1;
        let special = match kind {
            Kind::File => return self.file(level, name, &stat).map(|()| None),
            Kind::Symlink => return self.symlink(level, name, &stat).map(|()| None),
            Kind::Device(WHITEOUT) if matches!(self.view, View::Upper { .. }) => {
                // Inside a directory that shows nothing, a whiteout hides nothing.
                if level.lower.is_some() {
                    (self.emit)(Change::Remove { name })?;
                }
                return Ok(None);
            }
            Kind::Fifo => Special::Fifo,
            Kind::Socket => Special::Socket,
            Kind::Device(_) | Kind::Dir => Special::Device,
        };
        (self.emit)(Change::Skipped { name, kind: special }).map(|()| None)
    }

    fn directory(&mut self, level: &Level, name: EntryName) -> Result<Option<Level>> {
        let bytes = name.as_bytes();
        let opened = beneath::open_dir(&level.dir, bytes);
        let Some(dir) = unless_gone(opened, bytes, "open")? else { return Ok(None) };
        let (base, lower) = match self.view {
            View::Upper { marking, .. } => {
                resolve(mark(dir.as_fd(), marking)?, level.lower.as_ref(), &name)
            }
            View::Merged => (Base::Empty, None),
        };
        let stat = fstat(&dir).doing(|| format!("look at '{name}'"))?;
        // Listed before it is announced: a directory that is gone is not entered.
        let listed = Level::new(dir, lower);
        let Some(inner) = unless_gone(listed, bytes, "list")? else { return Ok(None) };
        self.enter(Some(name), &stat, base)?;
        Ok(Some(inner))
    }

    fn file(&mut self, level: &Level, name: EntryName, stat: &FileStat) -> Result<()> {
        let bytes = name.as_bytes();
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let open = || openat(&level.dir, bytes, flags, Mode::empty());
        let buffer = &mut self.buffer[..];
        let hashed = match &mut self.view {
            View::Upper { hashes, scan, .. } => hashes.hash(scan, stat, open, buffer),
            View::Merged => open().and_then(|fd| hash_file(fd, buffer)),
        };
        let Some(hashed) = unless_gone(hashed, bytes, "read")? else { return Ok(()) };
        let Hashed { stat, size, content, read } = hashed;
        self.counts.hashed_bytes += read.unwrap_or(0);
        self.counts.cached_files += u64::from(read.is_none());
        let (mode, mtime) = (beneath::mode(&stat), beneath::mtime(&stat));
        (self.emit)(Change::File { name, mode, mtime, size, content })
    }

    fn symlink(&mut self, level: &Level, name: EntryName, stat: &FileStat) -> Result<()> {
        let bytes = name.as_bytes();
        let target = match readlinkat(&level.dir, bytes) {
            // No longer a link.
            Err(Errno::EINVAL) => return Ok(()),
            other => unless_gone(other, bytes, "read the link")?,
        };
        let Some(target) = target else { return Ok(()) };
        let target = LinkTarget::parse(target.as_encoded_bytes()).map_err(|error| {
            Error::Invalid(format!("the link '{name}' points nowhere: {error}"))
        })?;
        (self.emit)(Change::Symlink { name, mtime: beneath::mtime(stat), target })
    }
}
