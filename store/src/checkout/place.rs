//! The place where a checkout is made and from where it is renamed to its target.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, fsync, openat, renameat, renameat_with, statat,
};
use rustix::io::Errno;

use super::remove;
use super::{CheckoutOptions, Unfinished};
use crate::baseline::PathBytes;
use crate::error::{Error, IoContext, Result};
use crate::store::Store;

/// What every temporary name holds; sixteen hex digits follow.
const MARK: &[u8] = b".pyro-";
/// Bytes of the target's own name that a temporary name repeats, so that it fits in 255.
const SHOWN: usize = 200;

/// A temporary name beside the target. Dropping it removes whatever has that name.
pub(super) struct Place {
    pub(super) dir: OwnedFd,
    pub(super) temp: Vec<u8>,
    /// The target as the caller gave it.
    pub(super) dest: PathBuf,
    name: Vec<u8>,
    force: bool,
    durable: bool,
    record: PathBuf,
}

/// Opens a directory for listing and syncing.
pub(super) fn open_dir(at: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a name is of the kind that [`Place::prepare`] makes up.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let digits = name.len().saturating_sub(16);
    name.starts_with(b".")
        && name[..digits].ends_with(MARK)
        && name[digits..].iter().all(u8::is_ascii_hexdigit)
}

impl Place {
    pub(super) fn prepare(store: &Store, dest: &Path, options: &CheckoutOptions) -> Result<Self> {
        let name = match dest.file_name() {
            Some(name) => name.as_bytes().to_vec(),
            None => return Err(Error::BadTarget(dest.to_owned())),
        };
        let parent = match dest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let dir = match open_dir(CWD, parent.as_os_str().as_bytes()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Error::NoParent(parent.to_owned())),
            dir => dir.at("open", parent)?,
        };
        let resolved = parent.canonicalize().at("resolve", parent)?;
        if resolved.starts_with(store.dir())
            || store.dir().starts_with(resolved.join(dest_name(&name)))
        {
            return Err(Error::BadTarget(dest.to_owned()));
        }
        let exists = match statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => false,
            stat => stat.map(|_| true).at("read", dest)?,
        };
        if exists && !options.force {
            return Err(Error::Exists(dest.to_owned()));
        }
        let number = RandomState::new().hash_one(std::process::id());
        let mut temp = b".".to_vec();
        temp.extend_from_slice(&name[..name.len().min(SHOWN)]);
        temp.extend_from_slice(MARK);
        temp.extend_from_slice(format!("{number:016x}").as_bytes());
        let record = store.dir().join("checkouts").join(format!("{number:016x}.json"));
        let unfinished = Unfinished {
            dir: PathBytes(resolved.as_os_str().as_bytes().to_vec()),
            name: PathBytes(temp.clone()),
        };
        let json = serde_json::to_vec(&unfinished).map_err(std::io::Error::from);
        pyro_durable::write(&record, &json.at("write", &record)?).at("write", &record)?;
        let (dest, force) = (dest.to_owned(), options.force);
        Ok(Self { dir, temp, dest, name, force, durable: options.durable, record })
    }

    /// Gives the finished thing the target's name.
    pub(super) fn appear(&mut self) -> Result<()> {
        match self.rename(RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if self.force => self.exchange()?,
            Err(Errno::EXIST) => return Err(Error::Exists(self.dest.clone())),
            // A file system without such renames: a moment for somebody else's file remains.
            Err(Errno::INVAL | Errno::NOSYS) => self.appear_plainly()?,
            renamed => renamed.at("create", &self.dest)?,
        }
        if self.durable {
            fsync(&self.dir).at("sync", &self.dest)?;
        }
        Ok(())
    }

    fn rename(&self, flags: RenameFlags) -> rustix::io::Result<()> {
        renameat_with(&self.dir, &*self.temp, &self.dir, &*self.name, flags)
    }

    /// Afterwards the temporary name has what was replaced, and dropping removes that.
    fn exchange(&self) -> Result<()> {
        match self.rename(RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => self.appear_plainly(),
            renamed => renamed.at("replace", &self.dest),
        }
    }

    fn appear_plainly(&self) -> Result<()> {
        let old = [&self.temp[..self.temp.len() - 1], b"~"].concat();
        let aside = match renameat(&self.dir, &*self.name, &self.dir, &*old) {
            Err(Errno::NOENT) => false,
            moved => moved.map(|()| true).at("replace", &self.dest)?,
        };
        if aside && !self.force {
            renameat(&self.dir, &*old, &self.dir, &*self.name).at("restore", &self.dest)?;
            return Err(Error::Exists(self.dest.clone()));
        }
        if let Err(errno) = renameat(&self.dir, &*self.temp, &self.dir, &*self.name) {
            if aside {
                renameat(&self.dir, &*old, &self.dir, &*self.name).at("restore", &self.dest)?;
            }
            return Err(errno).at("create", &self.dest);
        }
        if aside {
            renameat(&self.dir, &*old, &self.dir, &*self.temp).at("remove", &self.dest)?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now stays on record and is removed when the store is opened next.
        if remove::remove(&self.dir, &self.temp, &()).is_ok() {
            let _ = pyro_durable::remove(&self.record);
        }
    }
}

fn dest_name(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_made_up_names_are_temporary() {
        assert!(is_temporary(b".out.pyro-0123456789abcdef"));
        for other in [&b"out.pyro-0123456789abcdef"[..], b".out", b".out.pyro-x", b"", b".ssh"] {
            assert!(!is_temporary(other), "{other:?}");
        }
    }
}
