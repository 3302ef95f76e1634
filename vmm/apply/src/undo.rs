//! Taking back what was applied: on request, after a failure, or after a crash.
//!
//! Each step is looked at for itself, the last one first: one that was taken is turned around, one that
//! was not is left, and what holds something else by now stays as it is. So it does not matter how far
//! it was, nor how far an earlier attempt to take it back came.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pyro_format::TreePath;
use rustix::fs::{AtFlags, syncfs, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::host::Found;
use crate::journal::{Journal, Phase, Recorded, Session, forget};
use crate::perform::{chmod, is_chmod, make_dir};
use crate::plan::Step;
use crate::staging::{Dress, Staging};
use crate::state::State;

/// A path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Where.
    pub path: TreePath,
    /// Why; for people.
    pub reason: String,
    /// The file that keeps what was there.
    pub kept: Option<PathBuf>,
}

/// What was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Paths that are as they were again.
    pub restored: Vec<TreePath>,
    /// Paths that somebody changed since, and that stay so.
    pub left: Vec<Left>,
}

impl Session<'_> {
    /// Takes back what was applied last. What could not be stays on record for another attempt.
    pub fn undo(&self) -> Result<Undone> {
        let (entry, mut journal) = self.newest()?;
        journal.phase = Phase::Moving;
        self.host.touch();
        journal.save(&entry)?;
        self.take_back(&entry, journal)
    }

    /// Takes back what was done of a journal. It is forgotten unless something stays different.
    pub(crate) fn take_back(&self, entry: &Path, mut journal: Journal) -> Result<Undone> {
        let staging = Staging::open(&self.host, &journal.staging)?;
        let mut undone = Undone::default();
        self.clear(&staging, &journal, &mut undone)?;
        let mut names = Vec::new();
        for (number, recorded) in journal.steps.iter().enumerate().rev() {
            let step = &recorded.step;
            let there = self.here(&step.path)?.is_some_and(|here| here.holds_same(&step.was));
            if !there && step.was.is_leaf() && !is_chmod(step) {
                let name = number.to_string();
                let mut kept = match step.was {
                    State::File { .. } => {
                        let kept = entry.join(&name);
                        Some(File::open(&kept).map_err(Error::io("open", kept))?)
                    }
                    _ => None,
                };
                let dress = Dress { mtime: recorded.mtime, owner: recorded.owner };
                let content = kept.as_mut().map(|file| file as &mut dyn Read);
                staging.make(&name, &step.was, content, &dress)?;
                names.push(name);
            }
        }
        staging.sync(names.iter().map(String::as_str))?;
        let ready: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        for (number, recorded) in journal.steps.iter().enumerate().rev() {
            let (name, step) = (number.to_string(), &recorded.step);
            let outcome = self.turn_around(&staging, &name, recorded, ready.contains(&*name));
            let why = match outcome {
                Ok(true) => {
                    undone.restored.push(step.path.clone());
                    continue;
                }
                Ok(false) => continue,
                Err(Error::Changed(_)) if self.is_before(&journal.steps[..number], step)? => {
                    continue;
                }
                Err(Error::Changed(_)) => "it was changed since".to_owned(),
                Err(error) => return Err(error),
            };
            if staging.state(name.as_bytes()) != Some(State::Absent) {
                staging.unlink(name.as_bytes())?;
            }
            let kept = Some(entry.join(&name)).filter(|kept| kept.exists());
            undone.left.push(Left { path: step.path.clone(), reason: why, kept });
        }
        syncfs(self.host.top()).map_err(Error::io("sync", self.host.path()))?;
        staging.remove()?;
        self.host.touch();
        undone.restored.sort();
        undone.restored.dedup();
        if undone.left.is_empty() {
            forget(entry)?;
        } else {
            journal.phase = Phase::Done;
            journal.save(entry)?;
        }
        Ok(undone)
    }

    /// Removes what an interruption left half way. What is neither the old nor the new came out of
    /// its place a moment before, and goes back.
    fn clear(&self, staging: &Staging<'_>, journal: &Journal, undone: &mut Undone) -> Result<()> {
        for name in staging.left()? {
            let text = String::from_utf8_lossy(name.as_bytes()).into_owned();
            let recorded = text.parse::<usize>().ok().and_then(|at| journal.steps.get(at));
            let Some(Recorded { step, .. }) = recorded else { continue };
            let state = staging.state(name.as_bytes());
            let known = |state: State| state.holds_same(&step.was) || state.holds_same(&step.now);
            if state.is_some_and(known) {
                staging.unlink(name.as_bytes())?;
            } else {
                let path = match staging.give_back(&text, &step.path) {
                    // Its directory is gone.
                    Err(Error::Changed(_)) => {
                        staging.give_back(&text, &TreePath::root().join(&name))?
                    }
                    path => path?,
                };
                let reason = format!("what '{}' held meanwhile", step.path);
                undone.left.push(Left { path, reason, kept: None });
            }
        }
        Ok(())
    }

    /// Whether the path of a step is as one of the `earlier` steps found it: then neither was taken.
    fn is_before(&self, earlier: &[Recorded], step: &Step) -> Result<bool> {
        let mut found = earlier.iter().filter(|other| other.step.path == step.path).peekable();
        if found.peek().is_none() {
            return Ok(false);
        }
        let here = self.here(&step.path)?;
        Ok(here.is_some_and(|here| found.any(|other| here.holds_same(&other.step.was))))
    }

    /// What is at a path; none if it is something that no tree can hold. Below what is no directory
    /// there is nothing.
    fn here(&self, path: &TreePath) -> Result<Option<State>> {
        Ok(match self.host.look(path)? {
            Found::State(here) => Some(here),
            Found::Blocked { at, .. } if at != *path => Some(State::Absent),
            Found::Blocked { .. } => None,
        })
    }

    /// Turns one step around; whether there was something to do.
    fn turn_around(
        &self,
        staging: &Staging<'_>,
        name: &str,
        recorded: &Recorded,
        ready: bool,
    ) -> Result<bool> {
        let step = &recorded.step;
        let changed = || Error::Changed(self.host.absolute(&step.path));
        let here = self.here(&step.path)?.ok_or_else(changed)?;
        let (was, now) = (&step.was, &step.now);
        match (was, now) {
            _ if is_chmod(step) => match (&here, was) {
                (here, State::File { mode, .. } | State::Dir { mode }) if here == now => {
                    chmod(&self.host, &step.path, *mode).map(|()| true)
                }
                (State::File { .. }, _) if !here.holds_same(was) => Err(changed()),
                _ => Ok(false),
            },
            (State::Absent, State::Dir { .. }) => match here {
                State::Dir { .. } => self.remove_dir(&step.path).map(|()| true),
                State::Absent => Ok(false),
                _ => Err(changed()),
            },
            (State::Dir { mode }, _) => match here {
                State::Absent => make_dir(&self.host, &step.path, *mode).map(|()| true),
                State::Dir { .. } => Ok(false),
                _ => Err(changed()),
            },
            _ if here.holds_same(was) && !ready => Ok(false),
            _ if !here.holds_same(now) => Err(changed()),
            (State::Absent, _) => staging.take_away(name, &step.path, now).map(|()| true),
            _ if ready => staging.place(name, &step.path, now).map(|()| true),
            _ => Err(changed()),
        }
    }

    fn remove_dir(&self, path: &TreePath) -> Result<()> {
        let (dir, last) = self.host.parent(path)?;
        self.host.touch();
        match unlinkat(&dir, last.as_bytes(), AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Error::Changed(self.host.absolute(path))),
            // Two names that are one here: it went with the other.
            Err(Errno::NOENT) => Ok(()),
            removed => removed.map_err(Error::io("remove", self.host.absolute(path))),
        }
    }
}
