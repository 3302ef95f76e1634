//! Writes what a push brings under the hidden stage, complete and synced.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::IntoIter;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::symlinkat;
use pyro_format::{Mtime, Node, TreePath, escape};
use pyro_proto::{MAX_DATA, PushId};

use super::plan::{ModeChange, Placement, Plan, What, parent_node};
use super::source::{Item, Tree, receive_bytes};
use super::stage_name;
use crate::beneath;
use crate::error::{Doing, Result};
use crate::identity::Owner;
use crate::lower::Answer;
use crate::workspace::Workspace;

/// Bytes asked for and not yet written.
const IN_FLIGHT: usize = 8 << 20;
/// Requests under way, each with an open file.
const REQUESTS: usize = 64;

/// A push that is ready to be committed. Dropping it clears the stage.
#[derive(Debug)]
pub struct Staged {
    /// The workspace it is staged in.
    pub workspace: Arc<Workspace>,
    /// Names the push.
    pub id: PushId,
    /// Placement `n` is staged under the name `n`.
    pub placements: Vec<Placement>,
    /// Changes of modes alone.
    pub modes: Vec<ModeChange>,
    /// Files, links and directories to be written.
    pub entries: u64,
    /// Bytes of content fetched.
    pub fetched_bytes: u64,
}

impl Staged {
    /// The push's directory in the stage.
    pub fn dir(&self) -> Result<OwnedFd> {
        let stage = self.workspace.stage()?;
        beneath::open_dir(stage, stage_name(self.id).as_bytes()).doing(|| "open the stage".into())
    }

    /// Removes what is staged.
    pub fn clear(&self) {
        if let Ok(stage) = self.workspace.stage() {
            // What stays behind is invisible, and removed at the next boot.
            let _ = beneath::remove_all(stage.as_fd(), stage_name(self.id).as_bytes());
        }
    }
}

/// Fetches and writes everything the plan places. Blocks.
pub fn stage(workspace: Arc<Workspace>, tree: &mut Tree, id: PushId, plan: Plan) -> Result<Staged> {
    let mut staged = Staged {
        workspace,
        id,
        placements: plan.placements,
        entries: plan.modes.len() as u64,
        modes: plan.modes,
        fetched_bytes: 0,
    };
    staged.clear();
    make_dir(&staged.workspace.stage()?, stage_name(id).as_bytes())?;
    let dir = staged.dir()?;
    let owner = staged.workspace.owner();
    let in_flight = VecDeque::new();
    let mut writer = Writer { tree, owner, in_flight, bytes: 0, entries: 0, fetched: 0 };
    for (number, placement) in staged.placements.iter().enumerate() {
        writer.placement(dir.as_fd(), number.to_string().as_bytes(), placement)?;
    }
    writer.finish()?;
    staged.entries += writer.entries;
    staged.fetched_bytes = writer.fetched;
    staged.workspace.sync()?;
    Ok(staged)
}

fn make_dir(dir: impl AsFd, name: &[u8]) -> Result<()> {
    mkdirat(dir, name, Mode::S_IRWXU).doing(|| format!("create '{}'", escape(name)))
}

/// A file of which parts are still to come.
struct Unfinished {
    file: File,
    path: TreePath,
    mode: pyro_format::Mode,
    mtime: Option<Mtime>,
}

struct Part {
    file: Rc<Unfinished>,
    offset: u64,
    len: usize,
    answer: Answer,
}

struct Writer<'a> {
    tree: &'a mut Tree,
    owner: &'a Owner,
    in_flight: VecDeque<Part>,
    bytes: usize,
    entries: u64,
    fetched: u64,
}

/// A staged directory on the way down.
struct Level {
    dir: OwnedFd,
    source: TreePath,
    items: IntoIter<Item>,
    mode: pyro_format::Mode,
    mtime: Option<Mtime>,
}

impl Writer<'_> {
    fn placement(&mut self, dir: BorrowedFd<'_>, name: &[u8], placement: &Placement) -> Result<()> {
        let mut at = beneath::reopen_dir(dir).doing(|| "open the stage".into())?;
        let mut name: Vec<u8> = name.to_vec();
        let mut parents = Vec::new();
        for inner in &placement.inside {
            self.entries += 1;
            make_dir(&at, &name)?;
            at = beneath::open_dir(&at, &name).doing(|| "open the stage".into())?;
            parents.push(beneath::reopen_dir(at.as_fd()).doing(|| "open the stage".into())?);
            name = inner.as_bytes().to_vec();
        }
        self.what(at.as_fd(), &name, &placement.what)?;
        if let Node::Dir { mode, .. } = parent_node() {
            for parent in parents {
                self.finish_dir(&parent, mode, None)?;
            }
        }
        Ok(())
    }

    /// Writes one thing with all it holds: one open directory a level.
    fn what(&mut self, dir: BorrowedFd<'_>, name: &[u8], what: &What) -> Result<()> {
        let mut levels = Vec::new();
        levels.extend(self.one(dir, name, what)?);
        while let Some(level) = levels.last_mut() {
            let Some(item) = level.items.next() else {
                self.finish_dir(&level.dir, level.mode, level.mtime)?;
                levels.pop();
                continue;
            };
            let what = What {
                source: level.source.join(&item.entry.name),
                node: item.entry.node,
                mtime: Some(item.mtime),
            };
            let inner = self.one(level.dir.as_fd(), item.entry.name.as_bytes(), &what)?;
            levels.extend(inner);
        }
        Ok(())
    }

    /// Writes one thing; what a directory holds is returned to be written.
    fn one(&mut self, dir: BorrowedFd<'_>, name: &[u8], what: &What) -> Result<Option<Level>> {
        self.entries += 1;
        match &what.node {
            Node::Dir { mode, .. } => {
                make_dir(dir, name)?;
                let opened = beneath::open_dir(dir, name).doing(|| "open the stage".into())?;
                let items = self.tree.entries(&what.source)?.into_iter();
                let (source, mode, mtime) = (what.source.clone(), *mode, what.mtime);
                return Ok(Some(Level { dir: opened, source, items, mode, mtime }));
            }
            Node::File { mode, size, .. } => self.file(dir, name, what, *mode, *size)?,
            Node::Symlink { target } => {
                symlinkat(target.as_bytes(), dir, name)
                    .and_then(|()| self.owner.own_entry(dir, name))
                    .doing(|| format!("create the link '{}'", escape(name)))?;
                if let Some(mtime) = what.mtime {
                    let time = timespec(mtime);
                    let flag = UtimensatFlags::NoFollowSymlink;
                    utimensat(dir, name, &time, &time, flag)
                        .doing(|| "set a link's time".into())?;
                }
            }
        }
        Ok(None)
    }

    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        what: &What,
        mode: pyro_format::Mode,
        size: u64,
    ) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let fd = openat(dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .doing(|| format!("create '{}'", escape(name)))?;
        let path = what.source.clone();
        let file = Rc::new(Unfinished { file: fd.into(), path, mode, mtime: what.mtime });
        let mut offset = 0;
        while offset < size {
            let len = (size - offset).min(MAX_DATA as u64) as usize;
            while self.bytes + len > IN_FLIGHT || self.in_flight.len() >= REQUESTS {
                self.write_oldest()?;
            }
            let answer = self.tree.ask(&file.path, offset, len as u32);
            self.in_flight.push_back(Part { file: file.clone(), offset, len, answer });
            self.bytes += len;
            offset += len as u64;
        }
        self.finish_file(file)
    }

    fn write_oldest(&mut self) -> Result<()> {
        let Some(Part { file, offset, len, answer }) = self.in_flight.pop_front() else {
            return Ok(());
        };
        self.bytes -= len;
        let bytes = receive_bytes(answer, &file.path, len)?;
        file.file.write_all_at(&bytes, offset).doing(|| format!("write '{}'", file.path))?;
        self.fetched += len as u64;
        self.finish_file(file)
    }

    fn finish(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.write_oldest()?;
        }
        Ok(())
    }

    /// Sets owner, mode and time when the last part has been written, which is when nobody else holds
    /// the file.
    fn finish_file(&self, file: Rc<Unfinished>) -> Result<()> {
        let Ok(file) = Rc::try_unwrap(file) else { return Ok(()) };
        let set = self.set(&file.file, file.mode, file.mtime);
        set.doing(|| format!("finish '{}'", file.path))
    }

    fn finish_dir(
        &self,
        dir: &OwnedFd,
        mode: pyro_format::Mode,
        mtime: Option<Mtime>,
    ) -> Result<()> {
        self.set(dir, mode, mtime).doing(|| "finish a directory".into())
    }

    fn set(&self, fd: impl AsFd, mode: pyro_format::Mode, mtime: Option<Mtime>) -> nix::Result<()> {
        self.owner.own(&fd)?;
        fchmod(&fd, Mode::from_bits_truncate(mode.bits().into()))?;
        match mtime.map(timespec) {
            Some(time) => futimens(&fd, &time, &time),
            None => Ok(()),
        }
    }
}

fn timespec(mtime: Mtime) -> TimeSpec {
    TimeSpec::new(mtime.secs, mtime.nanos.into())
}
