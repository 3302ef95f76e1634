//! Carrying out a plan.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyro_format::{EntryName, Mtime, TreePath};
use pyro_store::{Progress, Store};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, fchmod, mkdirat, syncfs, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::host::{Found, Host, copy};
use crate::journal::{About, Journal, Phase, Recorded, Session, forget};
use crate::plan::{Plan, Step};
use crate::staging::{Dress, Staging};
use crate::state::State;

impl Session<'_> {
    /// Carries out a plan. After an error the directory is as it was, unless the error is
    /// [`Error::Stuck`].
    pub fn apply(
        &self,
        store: &Store,
        plan: &Plan,
        about: About,
        progress: &dyn Progress,
    ) -> Result<()> {
        if plan.is_empty() {
            return Ok(());
        }
        accessat(self.host.top(), c".", Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(Error::io("write to", self.host.path()))?;
        let name = format!(".pyro-apply-{:016x}", RandomState::new().hash_one(&about.at));
        let staging = EntryName::parse(name.as_bytes()).map_err(io::Error::other);
        let staging = staging.map_err(Error::io("create", &name))?;
        let entry = self.next()?;
        let mut journal = Journal::new(about, self.host.path(), staging);
        if let Err(error) = self.keep(&entry, plan, &mut journal) {
            forget(&entry)?;
            return Err(error);
        }
        match self.carry_out(store, &entry, &mut journal, progress) {
            Ok(()) => Ok(()),
            Err(failed) => match self.take_back(&entry, journal) {
                Ok(_) => Err(failed),
                Err(undo) => Err(Error::Stuck { failed: failed.into(), undo: undo.into() }),
            },
        }
    }

    /// Keeps what will be replaced or removed, and begins the journal.
    fn keep(&self, entry: &Path, plan: &Plan, journal: &mut Journal) -> Result<()> {
        for (number, step) in plan.steps.iter().enumerate() {
            let mut recorded = Recorded { step: step.clone(), mtime: None, owner: None };
            if let State::File { content, .. } = &step.was {
                let file = self.host.file(&step.path)?;
                let there = || self.host.absolute(&step.path);
                let meta = file.metadata().map_err(Error::io("read", there()))?;
                let secs = meta.mtime();
                recorded.mtime = Some(Mtime { secs, nanos: meta.mtime_nsec() as u32 });
                recorded.owner = Some((meta.uid(), meta.gid()));
                if !is_chmod(step) {
                    let kept = entry.join(number.to_string());
                    let mut to = File::create_new(&kept).map_err(Error::io("create", &kept))?;
                    let (_, found) = copy(file, &mut to).map_err(Error::io("copy", there()))?;
                    if found != *content {
                        return Err(Error::Changed(there()));
                    }
                }
            }
            journal.steps.push(recorded);
        }
        sync(entry)?;
        self.host.touch();
        journal.save(entry)
    }

    fn carry_out(
        &self,
        store: &Store,
        entry: &Path,
        journal: &mut Journal,
        progress: &dyn Progress,
    ) -> Result<()> {
        let staging = Staging::open(&self.host, &journal.staging)?;
        let mut names = Vec::new();
        for (number, recorded) in journal.steps.iter().enumerate() {
            if progress.cancelled() {
                return Err(pyro_store::Error::Cancelled.into());
            }
            if places(&recorded.step) {
                let name = number.to_string();
                self.stage(store, &staging, &name, recorded)?;
                progress.advance(1, recorded.step.now.size());
                names.push(name);
            }
        }
        staging.sync(names.iter().map(String::as_str))?;
        for (number, recorded) in journal.steps.iter().enumerate() {
            take(&self.host, &staging, &number.to_string(), &recorded.step)?;
        }
        syncfs(self.host.top()).map_err(Error::io("sync", self.host.path()))?;
        staging.remove()?;
        journal.phase = Phase::Done;
        self.host.touch();
        journal.save(entry)
    }

    fn stage(
        &self,
        store: &Store,
        staging: &Staging<'_>,
        name: &str,
        recorded: &Recorded,
    ) -> Result<()> {
        let step = &recorded.step;
        let dress = Dress { mtime: None, owner: recorded.owner };
        let mut content: Option<Box<dyn Read>> = match (&step.now, &step.merged) {
            (State::File { .. }, Some(sides)) => {
                let merged = sides.merge(store, &self.host, &step.path)?;
                let merged = merged.map_err(|_| Error::Changed(self.host.absolute(&step.path)))?;
                Some(Box::new(io::Cursor::new(merged)))
            }
            (State::File { size, content, .. }, None) => {
                Some(Box::new(store.open_file(*content, *size)?))
            }
            _ => None,
        };
        staging.make(name, &step.now, content.as_mut().map(|c| c as &mut dyn Read), &dress)
    }
}

/// Whether a step gives a path a file or link that has to be made first.
pub(crate) fn places(step: &Step) -> bool {
    step.now.is_leaf() && !is_chmod(step)
}

/// Whether only permissions change.
pub(crate) fn is_chmod(step: &Step) -> bool {
    step.was != State::Absent && step.was.holds_same(&step.now)
}

/// Changes one path from what it was to what it is to be.
pub(crate) fn take(host: &Host, staging: &Staging<'_>, name: &str, step: &Step) -> Result<()> {
    let Step { path, was, now, .. } = step;
    let changed = || Error::Changed(host.absolute(path));
    match (was, now) {
        (State::Dir { mode: from }, State::Dir { mode }) => match host.look(path)? {
            Found::State(State::Dir { mode: found }) if found == *from => chmod(host, path, *mode),
            _ => Err(changed()),
        },
        (State::Absent, State::Dir { mode }) => make_dir(host, path, *mode),
        (State::Dir { .. }, _) => {
            let (dir, last) = host.parent(path)?;
            host.touch();
            match unlinkat(&dir, last.as_bytes(), AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::NOENT) => {
                    Err(changed())
                }
                removed => removed.map_err(Error::io("remove", host.absolute(path))),
            }
        }
        _ if is_chmod(step) => match (host.look(path)?, now) {
            (Found::State(found), State::File { mode, .. }) if found == *was => {
                chmod(host, path, *mode)
            }
            _ => Err(changed()),
        },
        (_, State::Absent) => staging.take_away(name, path, was),
        _ => staging.place(name, path, was),
    }
}

/// Makes a directory with exactly these permissions.
pub(crate) fn make_dir(host: &Host, path: &TreePath, mode: pyro_format::Mode) -> Result<()> {
    let (dir, last) = host.parent(path)?;
    host.touch();
    match mkdirat(&dir, last.as_bytes(), Mode::RWXU) {
        Err(Errno::EXIST) => return Err(Error::Changed(host.absolute(path))),
        made => made.map_err(Error::io("create", host.absolute(path)))?,
    }
    let failed = || Error::io("set the mode of", host.absolute(path));
    let made = host.dir(path, OFlags::RDONLY).map_err(failed())?;
    host.own(&made, None).map_err(failed())?;
    fchmod(&made, Mode::from_raw_mode(u32::from(mode.bits()))).map_err(failed())
}

/// Sets the permissions of a file or directory.
pub(crate) fn chmod(host: &Host, path: &TreePath, mode: pyro_format::Mode) -> Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode.bits()));
    let fd = match host.dir(path, OFlags::RDONLY) {
        Ok(dir) => dir,
        Err(Errno::NOTDIR) => host.file(path)?.into(),
        Err(errno) => return Err(Error::io("open", host.absolute(path))(errno)),
    };
    host.touch();
    fchmod(fd, mode).map_err(Error::io("set the mode of", host.absolute(path)))
}

/// What was written to a directory lasts.
fn sync(dir: &Path) -> Result<()> {
    let opened = fs::File::open(dir).map_err(Error::io("open", dir))?;
    syncfs(opened).map_err(Error::io("sync", dir))
}
