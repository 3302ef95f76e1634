//! A directory in the host directory in which what comes is made ready, and through which what goes
//! leaves: so that each path changes in one rename, and what came out of its place can be looked at.
//!
//! ```text
//! w-NAME   being written
//! NAME     complete and synced; after its exchange: what was at the path
//! ```

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use pyro_format::{EntryName, Mtime, TreePath};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens,
    mkdirat, openat, renameat, renameat_with, statat, symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::host::{Found, Host, copy};
use crate::pick::{NAMES, beside};
use crate::state::State;

const WRITING: &[u8] = b"w-";

/// What a file gets beside its content and mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dress {
    /// A modification time; otherwise now.
    pub mtime: Option<Mtime>,
    /// User and group, which only root can give; otherwise those of the whole directory.
    pub owner: Option<(u32, u32)>,
}

/// The directory.
pub struct Staging<'h> {
    host: &'h Host,
    path: TreePath,
    fd: OwnedFd,
}

impl<'h> Staging<'h> {
    /// Makes the directory, or takes the one that is there.
    pub fn open(host: &'h Host, name: &EntryName) -> Result<Self> {
        let path = TreePath::root().join(name);
        host.touch();
        match mkdirat(host.top(), name.as_bytes(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("write to", host.path())(errno)),
        }
        let flags = OFlags::RDONLY;
        let fd = host.dir(&path, flags).map_err(Error::io("open", host.absolute(&path)))?;
        Ok(Self { host, path, fd })
    }

    /// What was left complete.
    pub fn left(&self) -> Result<Vec<EntryName>> {
        let mut names = self.host.list(&self.path)?;
        for name in names.iter().filter(|name| name.as_bytes().starts_with(WRITING)) {
            self.unlink(name.as_bytes())?;
        }
        names.retain(|name| !name.as_bytes().starts_with(WRITING));
        Ok(names)
    }

    /// Makes a file or link ready under `name`. A content that is not `state`'s is an error.
    pub fn make(
        &self,
        name: &str,
        state: &State,
        content: Option<&mut dyn Read>,
        dress: &Dress,
    ) -> Result<()> {
        let temp = [WRITING, name.as_bytes()].concat();
        let failed = || Error::io("write", self.host.absolute(&self.path).join(name));
        self.host.touch();
        match state {
            State::File { mode, content: id, .. } => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let fd = openat(&self.fd, &*temp, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(|errno| failed()(errno.into()))?;
                let mut file = File::from(fd);
                if let Some(content) = content {
                    let (_, found) = copy(content, &mut file).map_err(failed())?;
                    if found != *id {
                        let expected = *id;
                        return Err(pyro_store::Error::FileMismatch { expected, found }.into());
                    }
                }
                self.host.own(&file, dress.owner).map_err(|errno| failed()(errno.into()))?;
                fchmod(&file, Mode::from_raw_mode(u32::from(mode.bits())))
                    .map_err(|errno| failed()(errno.into()))?;
                if let Some(mtime) = dress.mtime {
                    futimens(&file, &timestamps(mtime)).map_err(|errno| failed()(errno.into()))?;
                }
            }
            State::Link { target } => symlinkat(target.as_bytes(), &self.fd, &*temp)
                .map_err(|errno| failed()(errno.into()))?,
            State::Absent | State::Dir { .. } => {}
        }
        Ok(())
    }

    /// What was made is complete, whatever happens to the machine.
    pub fn sync<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<()> {
        let failed = || Error::io("sync", self.host.path());
        syncfs(&self.fd).map_err(failed())?;
        for name in names {
            self.host.touch();
            let temp = [WRITING, name.as_bytes()].concat();
            renameat(&self.fd, &*temp, &self.fd, name).map_err(failed())?;
        }
        Ok(())
    }

    /// Gives what was made ready the place of `was`.
    pub fn place(&self, name: &str, path: &TreePath, was: &State) -> Result<()> {
        let (dir, last) = self.host.parent(path)?;
        if *was == State::Absent {
            return self.appear(name, &dir, &last, path);
        }
        self.host.touch();
        let exchanged = renameat_with(&self.fd, name, &dir, last.as_bytes(), RenameFlags::EXCHANGE);
        match exchanged {
            Err(Errno::INVAL | Errno::NOSYS) => return self.replace_plainly(name, path, was),
            Err(Errno::NOENT) => return Err(Error::Changed(self.host.absolute(path))),
            exchanged => exchanged.map_err(Error::io("replace", self.host.absolute(path)))?,
        }
        if self.state(name.as_bytes()).is_some_and(|state| state.holds_same(was)) {
            return self.unlink(name.as_bytes());
        }
        self.host.touch();
        renameat_with(&self.fd, name, &dir, last.as_bytes(), RenameFlags::EXCHANGE)
            .map_err(Error::io("put back", self.host.absolute(path)))?;
        Err(Error::Changed(self.host.absolute(path)))
    }

    fn appear(&self, name: &str, dir: &OwnedFd, last: &EntryName, path: &TreePath) -> Result<()> {
        self.host.touch();
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&self.fd, name, dir, last.as_bytes(), flags) {
            Err(Errno::EXIST) => Err(Error::Changed(self.host.absolute(path))),
            Err(Errno::INVAL | Errno::NOSYS) => self.replace_plainly(name, path, &State::Absent),
            renamed => renamed.map_err(Error::io("create", self.host.absolute(path))),
        }
    }

    /// On a file system without such renames: a moment for somebody else's change remains.
    fn replace_plainly(&self, name: &str, path: &TreePath, was: &State) -> Result<()> {
        let holds = matches!(self.host.look(path)?, Found::State(state) if state.holds_same(was));
        if !holds {
            return Err(Error::Changed(self.host.absolute(path)));
        }
        let (dir, last) = self.host.parent(path)?;
        renameat(&self.fd, name, &dir, last.as_bytes())
            .map_err(Error::io("replace", self.host.absolute(path)))
    }

    /// Removes the file or link at a path, which holds `was`.
    pub fn take_away(&self, name: &str, path: &TreePath, was: &State) -> Result<()> {
        let (dir, last) = self.host.parent(path)?;
        self.host.touch();
        match renameat(&dir, last.as_bytes(), &self.fd, name) {
            Err(Errno::NOENT) => return Err(Error::Changed(self.host.absolute(path))),
            renamed => renamed.map_err(Error::io("remove", self.host.absolute(path)))?,
        }
        if self.state(name.as_bytes()).is_some_and(|state| state.holds_same(was)) {
            return self.unlink(name.as_bytes());
        }
        self.appear(name, &dir, &last, path)?;
        Err(Error::Changed(self.host.absolute(path)))
    }

    /// What is there under a name, if it is something that a tree can hold.
    pub fn state(&self, name: &[u8]) -> Option<State> {
        self.host.state_in(&self.fd, name).ok()
    }

    /// Removes a file or link.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        self.host.touch();
        let failed = Error::io("remove", self.host.absolute(&self.path));
        unlinkat(&self.fd, name, AtFlags::empty()).map_err(failed)
    }

    /// Gives something of somebody else's back: to its path if that is free, else beside it.
    pub fn give_back(&self, name: &str, path: &TreePath) -> Result<TreePath> {
        let names = std::iter::once(Some(path.clone()));
        let names = names.chain((0..NAMES).map(|number| beside(path, number)));
        for to in names.flatten() {
            let (dir, last) = self.host.parent(&to)?;
            let taken = statat(&dir, last.as_bytes(), AtFlags::SYMLINK_NOFOLLOW);
            if taken.is_err_and(|errno| errno == Errno::NOENT) {
                self.appear(name, &dir, &last, &to)?;
                return Ok(to);
            }
        }
        Err(Error::Changed(self.host.absolute(path)))
    }

    /// Removes the directory, which is empty.
    pub fn remove(self) -> Result<()> {
        self.host.touch();
        let failed = Error::io("remove", self.host.absolute(&self.path));
        unlinkat(self.host.top(), self.path.as_bytes(), AtFlags::REMOVEDIR).map_err(failed)
    }
}

fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) },
    }
}
