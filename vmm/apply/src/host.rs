//! The host directory, looked at: through descriptors, below its top, never through a link and never
//! into another file system.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_format::{EntryName, FileId, LinkTarget, Mode, TreePath};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode as Flags, OFlags, ResolveFlags, Stat, fchown, fstat, openat,
    openat2, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

use crate::error::{Error, Result};
use crate::state::State;

/// Bytes of a path that are resolved in one call; the kernel takes less than 4,096.
const PIECE: usize = 2048;
/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;

/// A directory of the host that changes are applied to.
pub struct Host {
    path: PathBuf,
    top: OwnedFd,
    stat: Stat,
    /// Called before each change of the directory.
    #[cfg(test)]
    pub(crate) before: Box<dyn Fn()>,
    /// Taken for one that folds case.
    #[cfg(test)]
    pub(crate) folds: bool,
}

/// What a look at a path found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// This.
    State(State),
    /// Something on the way, or at the path itself, that nothing can be done with.
    Blocked {
        /// Where it is.
        at: TreePath,
        /// What it is, for people.
        what: String,
    },
}

impl Host {
    /// Opens the directory. `path` may lead through links; it is resolved once, here.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path.canonicalize().map_err(Error::io("open", path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, &path, flags, Flags::empty()).map_err(Error::io("open", &path))?;
        let stat = fstat(&top).map_err(Error::io("read", &path))?;
        Ok(Self {
            path,
            top,
            stat,
            #[cfg(test)]
            before: Box::new(|| {}),
            #[cfg(test)]
            folds: false,
        })
    }

    /// Where it is, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host's path of a path in it.
    pub(crate) fn absolute(&self, path: &TreePath) -> PathBuf {
        self.path.join(OsStr::from_bytes(path.as_bytes()))
    }

    /// To be called before each change.
    pub(crate) fn touch(&self) {
        #[cfg(test)]
        (self.before)();
    }

    /// Gives what was made to `owner`, else to whom the directory belongs; which only root can.
    pub(crate) fn own(&self, made: impl AsFd, owner: Option<(u32, u32)>) -> rustix::io::Result<()> {
        let (uid, gid) = owner.unwrap_or((self.stat.st_uid, self.stat.st_gid));
        let stat = fstat(&made)?;
        if !geteuid().is_root() || (stat.st_uid, stat.st_gid) == (uid, gid) {
            return Ok(());
        }
        fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// A descriptor of the whole directory, good for a sync.
    pub(crate) fn top(&self) -> &OwnedFd {
        &self.top
    }

    /// Opens a directory below the top. A link on the way is `ELOOP`, a mount `EXDEV`.
    pub(crate) fn dir(&self, path: &TreePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut rest = if path.is_root() { &b"."[..] } else { path.as_bytes() };
        let mut at: Option<OwnedFd> = None;
        while rest.len() > PIECE {
            // A name has at most 255 bytes, so there is a separator to split at.
            let end = rest[..PIECE].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
            let from = at.as_ref().map_or(self.top.as_fd(), |fd| fd.as_fd());
            let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            at = Some(openat2(from, &rest[..end], way, Flags::empty(), resolve)?);
            rest = &rest[end + 1..];
        }
        let from = at.as_ref().map_or(self.top.as_fd(), |fd| fd.as_fd());
        openat2(from, rest, flags, Flags::empty(), resolve)
    }

    /// The directory that holds `path`, and its name there.
    pub(crate) fn parent(&self, path: &TreePath) -> Result<(OwnedFd, EntryName)> {
        let (parent, name) = path.split_last().ok_or_else(|| Error::Changed(self.path.clone()))?;
        let dir = self.dir(&parent, OFlags::PATH).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => {
                Error::Changed(self.absolute(&parent))
            }
            errno => Error::io("open", self.absolute(&parent))(errno),
        })?;
        Ok((dir, name))
    }

    /// Looks at a path. A file is read to its end.
    pub(crate) fn look(&self, path: &TreePath) -> Result<Found> {
        let Some((parent, name)) = path.split_last() else {
            let stat = fstat(&self.top).map_err(Error::io("read", &self.path))?;
            return Ok(Found::State(State::Dir { mode: mode(&stat) }));
        };
        let dir = match self.dir(&parent, OFlags::PATH) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(Found::State(State::Absent)),
            Err(errno) => return Ok(self.blocked(&parent, errno)),
        };
        Ok(match self.state_in(&dir, name.as_bytes()) {
            Ok(state) => Found::State(state),
            Err(error) => Found::Blocked { at: path.clone(), what: error.to_string() },
        })
    }

    /// The outermost directory on the way to `path` that is none, and what is there instead.
    fn blocked(&self, path: &TreePath, errno: Errno) -> Found {
        let mut way: Vec<TreePath> = path.ancestors().collect();
        way.reverse();
        for at in way.into_iter().chain([path.clone()]) {
            match self.dir(&at, OFlags::PATH) {
                Ok(_) => {}
                Err(Errno::NOENT) => break,
                Err(errno) => return Found::Blocked { what: self.instead(&at, errno), at },
            }
        }
        Found::Blocked { at: path.clone(), what: io::Error::from(errno).to_string() }
    }

    fn instead(&self, at: &TreePath, errno: Errno) -> String {
        let state = self.parent(at).map(|(dir, name)| self.state_in(&dir, name.as_bytes()));
        match state {
            _ if errno == Errno::XDEV => "it is on another file system".to_owned(),
            Ok(Ok(state)) if !state.is_dir() => format!("{} is there", state.kind()),
            Ok(Err(error)) => error.to_string(),
            _ => io::Error::from(errno).to_string(),
        }
    }

    /// What a directory has under a name; an error says what is there that no tree can hold.
    pub(crate) fn state_in(&self, dir: &OwnedFd, name: &[u8]) -> io::Result<State> {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(State::Absent),
            stat => stat?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if stat.st_dev != self.stat.st_dev => {
                Err(io::Error::other("it is on another file system"))
            }
            FileType::Directory => Ok(State::Dir { mode: mode(&stat) }),
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())?;
                let target = LinkTarget::parse(target.as_bytes()).map_err(io::Error::other)?;
                Ok(State::Link { target })
            }
            FileType::RegularFile => {
                let file = open_file(dir, name)?;
                let stat = fstat(&file)?;
                let (size, content) = copy(file, &mut io::sink())?;
                Ok(State::File { mode: mode(&stat), size, content })
            }
            _ => Err(io::Error::other("it is no file, directory or link")),
        }
    }

    /// Opens the regular file at a path.
    pub(crate) fn file(&self, path: &TreePath) -> Result<File> {
        let (dir, name) = self.parent(path)?;
        open_file(&dir, name.as_bytes()).map_err(Error::io("open", self.absolute(path)))
    }

    /// The names in a directory.
    pub(crate) fn list(&self, path: &TreePath) -> Result<Vec<EntryName>> {
        let failed = |errno: Errno| Error::io("read", self.absolute(path))(errno);
        let mut names = Vec::new();
        let dir = self.dir(path, OFlags::RDONLY).map_err(failed)?;
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // `.` and `..` are no names.
            names.extend(EntryName::parse(entry.file_name().to_bytes()));
        }
        Ok(names)
    }

    /// Whether two names that differ only in case are one here; told by a name that is there.
    pub(crate) fn folds_case(&self) -> Result<bool> {
        #[cfg(test)]
        if self.folds {
            return Ok(true);
        }
        let names = self.list(&TreePath::root())?;
        let swapped = |name: &EntryName| -> Vec<u8> {
            let swap = |b: &u8| if b.is_ascii_alphabetic() { b ^ 0x20 } else { *b };
            name.as_bytes().iter().map(swap).collect()
        };
        for name in &names {
            let other = swapped(name);
            if other != name.as_bytes() && !names.iter().any(|name| name.as_bytes() == other) {
                return Ok(statat(&self.top, &*other, AtFlags::SYMLINK_NOFOLLOW).is_ok());
            }
        }
        Ok(false)
    }
}

fn mode(stat: &Stat) -> Mode {
    Mode::new((stat.st_mode & 0o777) as u16)
}

/// Opens a regular file to read. What is none is refused, and never waited for.
pub(crate) fn open_file(dir: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(dir, name, flags, Flags::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// Copies all of `from`: its length and hash.
pub(crate) fn copy(mut from: impl Read, to: &mut dyn Write) -> io::Result<(u64, FileId)> {
    let (mut block, mut hasher, mut size) = (vec![0; BLOCK], blake3::Hasher::new(), 0);
    loop {
        let len = match from.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            len => len?,
        };
        if len == 0 {
            return Ok((size, FileId::from_bytes(*hasher.finalize().as_bytes())));
        }
        hasher.update(&block[..len]);
        to.write_all(&block[..len])?;
        size += len as u64;
    }
}
