//! Opening and removing files below a directory, never through a link and however deep.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use pyro_format::{Mtime, TreePath};

/// Bytes of a path that are resolved in one call; the kernel takes less than 4,096.
const PIECE: usize = 2048;

/// Opens `path` below `top`. A link anywhere on the way is `ELOOP`.
pub fn open(top: BorrowedFd<'_>, path: &TreePath, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = |flags| OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let mut rest = if path.is_root() { &b"."[..] } else { path.as_bytes() };
    let mut at: Option<OwnedFd> = None;
    while rest.len() > PIECE {
        // A name has at most 255 bytes, so there is a separator to split at.
        let end = rest[..PIECE].iter().rposition(|b| *b == b'/').ok_or(Errno::ENAMETOOLONG)?;
        let from = at.as_ref().map_or(top, |fd| fd.as_fd());
        at = Some(openat2(from, &rest[..end], how(OFlag::O_PATH | OFlag::O_DIRECTORY))?);
        rest = &rest[end + 1..];
    }
    openat2(at.as_ref().map_or(top, |fd| fd.as_fd()), rest, how(flags))
}

/// Opens one entry of `dir`, which must be a directory itself and no link to one.
pub fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Opens a directory again, so that it can be listed from its start.
pub fn reopen_dir(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(dir, c".", flags, Mode::empty())
}

/// The entry itself, not what it points to.
pub fn stat(dir: impl AsFd, name: &[u8]) -> Result<FileStat, Errno> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The entry, or `None` when there is none.
pub fn stat_if_any(dir: impl AsFd, name: &[u8]) -> Result<Option<FileStat>, Errno> {
    match stat(dir, name) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What kind of file a stat describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character or block device with this number.
    Device(u64),
}

/// The kind that `stat` shows.
pub fn kind(stat: &FileStat) -> Kind {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Dir,
        libc::S_IFLNK => Kind::Symlink,
        libc::S_IFIFO => Kind::Fifo,
        libc::S_IFSOCK => Kind::Socket,
        _ => Kind::Device(stat.st_rdev),
    }
}

/// Permission bits of `stat`.
pub fn mode(stat: &FileStat) -> pyro_format::Mode {
    pyro_format::Mode::new((stat.st_mode & 0o777) as u16)
}

/// Modification time of `stat`.
pub fn mtime(stat: &FileStat) -> Mtime {
    Mtime { secs: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// Length of `stat` in bytes.
pub fn size(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Names in a directory, sorted by their bytes.
pub fn names(dir: OwnedFd) -> Result<Vec<Box<[u8]>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(dir)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.into()),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a directory holds nothing.
pub fn is_empty_dir(dir: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    Ok(names(open_dir(dir, name)?)?.is_empty())
}

/// Removes `name` from `dir` with all that is below it. What is not there is no error.
pub fn remove_all(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let gone = |result: Result<(), Errno>| match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    };
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM | Errno::ENOTEMPTY) => {}
        other => return gone(other),
    }
    // One open directory a level, not one stack frame.
    type Level = (OwnedFd, Box<[u8]>, Vec<Box<[u8]>>);
    let mut levels: Vec<Level> = Vec::new();
    let open = |parent: BorrowedFd<'_>, name: &[u8]| -> Result<_, Errno> {
        let fd = open_dir(parent, name)?;
        let names = names(reopen_dir(fd.as_fd())?)?;
        Ok((fd, Box::from(name), names))
    };
    levels.push(open(dir, name)?);
    while let Some((fd, _, names)) = levels.last_mut() {
        if let Some(name) = names.pop() {
            match unlinkat(&*fd, &*name, UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR | Errno::EPERM) => {
                    let level = open(fd.as_fd(), &name)?;
                    levels.push(level);
                }
                other => gone(other)?,
            }
        } else if let Some((fd, name, _)) = levels.pop() {
            drop(fd);
            let parent = levels.last().map_or(dir, |(fd, ..)| fd.as_fd());
            gone(unlinkat(parent, &*name, UnlinkatFlags::RemoveDir))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn top() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let fd = nix::fcntl::open(dir.path(), flags, Mode::empty()).unwrap();
        (dir, fd)
    }

    fn path(text: &[u8]) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn links_are_never_followed() {
        let (dir, fd) = top();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let open = |text: &[u8]| open(fd.as_fd(), &path(text), OFlag::O_RDONLY).map(drop);
        assert_eq!(open(b"real/file"), Ok(()));
        assert_eq!(open(b"link/file"), Err(Errno::ELOOP));
        assert_eq!(open(b"link"), Err(Errno::ELOOP));
        assert_eq!(open(b""), Ok(()));
    }

    #[test]
    fn paths_longer_than_the_kernel_takes_are_opened_and_removed() {
        let (_dir, fd) = top();
        let name = [b'n'; 200];
        let mut at = reopen_dir(fd.as_fd()).unwrap();
        for _ in 0..40 {
            nix::sys::stat::mkdirat(&at, &name[..], Mode::S_IRWXU).unwrap();
            at = open_dir(&at, &name).unwrap();
        }
        let deep = path(&[&name[..]; 40].join(&b'/'));
        assert!(deep.as_bytes().len() > 8000);
        assert!(open(fd.as_fd(), &deep, OFlag::O_PATH).is_ok());
        remove_all(fd.as_fd(), &name).unwrap();
        assert_eq!(stat_if_any(&fd, &name).map(|s| s.is_some()), Ok(false));
        remove_all(fd.as_fd(), &name).unwrap();
    }
}
