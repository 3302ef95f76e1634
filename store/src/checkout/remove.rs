//! Removing a tree, however deep, without following links.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, chmodat, fchmod, fstat, openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::descend::{Descent, DirFds, Found, Node, descend};
use crate::error::{IoContext, Result};
use crate::progress::Progress;

struct Removal<'a> {
    progress: &'a dyn Progress,
    /// Shown in errors.
    name: &'a [u8],
}

/// Removes `name` in `dir` and everything below it. Nothing there is no error.
pub(super) fn remove(dir: &OwnedFd, name: &[u8], progress: &dyn Progress) -> Result<()> {
    let shown = pyro_format::escape(name);
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno).at("remove", shown),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(dir, name, Mode::RWXU, AtFlags::empty()).at("open", &shown)?;
            openat(dir, name, flags, Mode::empty())
        }
        opened => opened,
    };
    let top = top.at("open", &shown)?;
    descend(&Removal { progress, name }, top, (), &mut [listing_buffer(), listing_buffer()])?;
    unlinkat(dir, name, AtFlags::REMOVEDIR).at("remove", shown)
}

fn listing_buffer() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); 32 * 1024]
}

impl Removal<'_> {
    fn open(&self, node: &Node<()>, fds: &DirFds) -> rustix::io::Result<Arc<OwnedFd>> {
        match (fds.open(node), node.parent()) {
            // A directory closed to its owner. It is on its way out, so opening it harms nothing.
            (Err(Errno::ACCESS), Some(parent)) => {
                chmodat(&*fds.open(parent)?, node.name(), Mode::RWXU, AtFlags::empty())?;
                fds.open(node)
            }
            (opened, _) => opened,
        }
    }

    fn shown(&self, path: &[u8]) -> String {
        pyro_format::escape(&[self.name, path].join(&b'/'))
    }
}

impl Descent for Removal<'_> {
    type Dir = ();
    type Group = ();
    type Worker = Vec<MaybeUninit<u8>>;

    fn enter(
        &self,
        listing: &mut Self::Worker,
        node: &Node<()>,
        fds: &DirFds,
    ) -> Result<Found<(), ()>> {
        let shown = || self.shown(&node.path());
        let fd = self.open(node, fds).at("open", shown())?;
        let mode = Mode::from_raw_mode(fstat(&fd).at("open", shown())?.st_mode);
        if !mode.contains(Mode::RWXU) {
            fchmod(&fd, Mode::RWXU).at("open", shown())?;
        }
        let mut dirs = Vec::new();
        let mut entries = RawDir::new(&fd, listing);
        while let Some(entry) = entries.next() {
            let entry = entry.at("list", shown())?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.at("read", shown())?.st_mode)
                }
                kind => kind,
            };
            if kind == FileType::Directory {
                dirs.push((name.into(), ()));
            } else {
                unlinkat(&fd, name, AtFlags::empty()).at("remove", shown())?;
                self.progress.advance(1, 0);
            }
        }
        Ok(Found { dirs, groups: Vec::new() })
    }

    fn group(&self, _: &mut Self::Worker, _: &Node<()>, _: &DirFds, (): ()) -> Result<()> {
        Ok(())
    }

    fn leave(&self, _: &mut Self::Worker, node: &Node<()>, fds: &DirFds) -> Result<()> {
        let Some(parent) = node.parent() else { return Ok(()) };
        let fd = self.open(parent, fds).at("open", self.shown(&parent.path()))?;
        let removed = unlinkat(&*fd, node.name(), AtFlags::REMOVEDIR);
        removed.at("remove", self.shown(&node.path()))
    }
}
