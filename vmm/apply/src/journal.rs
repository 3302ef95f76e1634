//! What was applied to which directory, and what was there before: one directory for each host
//! directory, in it one for each plan that was carried out.
//!
//! ```text
//! KEY/000001/journal   steps, and how far they are       KEY: hash of the host directory's path
//! KEY/000001/7         what the seventh step replaced
//! ```

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyro_format::{Delta, EntryName, Mtime, RootNode};
use pyro_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::{self, Options, Plan, Step};

/// Plans of one directory that can be taken back.
const KEPT: usize = 5;
const VERSION: u8 = 1;
const FILE: &str = "journal";

/// Whose changes were applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Id of the workspace.
    pub workspace: String,
    /// Its name.
    pub name: Option<String>,
    /// Id of the tree.
    pub tree: String,
    /// When, as RFC 3339 has it.
    pub at: String,
}

/// How far a journal's steps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Some may be taken: whoever finds it so takes them back.
    Moving,
    /// All are taken, or all are taken back but what somebody else changed.
    Done,
}

/// One step, and what is needed to take it back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub step: Step,
    /// When the file that was there was modified last.
    pub mtime: Option<Mtime>,
    /// Its user and group.
    pub owner: Option<(u32, u32)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u8,
    pub about: About,
    pub host: Vec<u8>,
    pub staging: EntryName,
    pub phase: Phase,
    pub steps: Vec<Recorded>,
}

impl Journal {
    pub fn new(about: About, host: &Path, staging: EntryName) -> Self {
        let host = host.as_os_str().as_bytes().to_vec();
        Self { version: VERSION, about, host, staging, phase: Phase::Moving, steps: Vec::new() }
    }

    /// The host directory.
    pub fn host(&self) -> PathBuf {
        PathBuf::from(std::ffi::OsString::from_vec(self.host.clone()))
    }

    /// The journal in this directory; none if it was not begun.
    pub fn load(entry: &Path) -> Result<Option<Self>> {
        let path = entry.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(Error::io("read", &path))?,
        };
        match postcard::from_bytes(&bytes) {
            Ok(journal) if bytes[0] == VERSION => Ok(Some(journal)),
            _ => Err(Error::BadJournal(path)),
        }
    }

    pub fn save(&self, entry: &Path) -> Result<()> {
        let path = entry.join(FILE);
        let bytes = postcard::to_stdvec(self).map_err(|_| Error::BadJournal(path.clone()))?;
        pyro_durable::write(&path, &bytes).map_err(Error::io("write", path))
    }
}

/// All journals. One operation at a time.
#[derive(Debug)]
pub struct Journals {
    dir: PathBuf,
    alone: Mutex<()>,
}

/// A host directory, for one operation.
pub struct Session<'a> {
    pub(crate) host: Host,
    /// Where its journals are.
    pub(crate) dir: PathBuf,
    _alone: MutexGuard<'a, ()>,
}

impl Journals {
    /// Those in `dir`, which is made when it is needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, alone: Mutex::default() }
    }

    /// Opens a host directory. What was interrupted in it is taken back first.
    pub fn open(&self, host: Host) -> Result<Session<'_>> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let key = blake3::hash(host.path().as_os_str().as_bytes()).to_hex();
        let session = Session { host, dir: self.dir.join(&key[..32]), _alone };
        session.recover()?;
        Ok(session)
    }

    /// Takes back what was interrupted, in every host directory: in which, and whether that went
    /// well. What fails is tried again when the directory is opened next.
    pub fn recover(&self) -> Vec<(PathBuf, Result<()>)> {
        let mut outcomes = Vec::new();
        for dir in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let numbers = numbers(&dir.path()).unwrap_or_default();
            let begun = numbers.last().map(|number| entry(&dir.path(), *number));
            let Some(Ok(Some(journal))) = begun.map(|entry| Journal::load(&entry)) else {
                continue;
            };
            if journal.phase == Phase::Moving {
                let path = journal.host();
                let opened = Host::open(&path).and_then(|host| self.open(host));
                outcomes.push((path, opened.map(drop)));
            }
        }
        outcomes
    }
}

impl Session<'_> {
    /// The host directory, links resolved.
    pub fn path(&self) -> &Path {
        self.host.path()
    }

    /// Plans how `changes`, which make `theirs` of its base, come into the directory. Reads each
    /// changed path there, and nothing else; changes nothing.
    pub fn plan(
        &self,
        store: &Store,
        changes: &[Delta],
        theirs: &RootNode,
        options: Options,
    ) -> Result<Plan> {
        plan::plan(store, changes, theirs, &self.host, options)
    }

    /// Whose changes would be taken back.
    ///
    /// # Errors
    /// [`Error::NothingToUndo`].
    pub fn last(&self) -> Result<About> {
        self.newest().map(|(_, journal)| journal.about)
    }

    fn recover(&self) -> Result<()> {
        let Some(last) = numbers(&self.dir)?.pop() else { return Ok(()) };
        let entry = entry(&self.dir, last);
        match Journal::load(&entry)? {
            None => forget(&entry),
            Some(journal) if journal.phase == Phase::Moving => {
                self.take_back(&entry, journal).map(drop)
            }
            Some(_) => Ok(()),
        }
    }

    /// A directory for the next journal. The oldest ones make room.
    pub(crate) fn next(&self) -> Result<PathBuf> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let numbers = numbers(&self.dir)?;
        for old in &numbers[..numbers.len().saturating_sub(KEPT - 1)] {
            forget(&entry(&self.dir, *old))?;
        }
        let next = entry(&self.dir, numbers.last().map_or(1, |last| last + 1));
        fs::create_dir(&next).map_err(Error::io("create", &next))?;
        Ok(next)
    }

    /// The newest journal, and where it is.
    pub(crate) fn newest(&self) -> Result<(PathBuf, Journal)> {
        let none = || Error::NothingToUndo(self.host.path().to_owned());
        let entry = entry(&self.dir, numbers(&self.dir)?.pop().ok_or_else(none)?);
        let journal = Journal::load(&entry)?.ok_or_else(none)?;
        Ok((entry, journal))
    }
}

fn entry(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}"))
}

/// Numbers of the journals in a directory, oldest first.
fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", dir))?,
    };
    let mut numbers: Vec<u64> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a journal, its record last: one without is an unfinished one.
pub(crate) fn forget(entry: &Path) -> Result<()> {
    fs::remove_dir_all(entry).map_err(Error::io("remove", entry))
}
