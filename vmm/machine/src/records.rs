//! The files of a machine's directory that say what it is and how it ended.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;
use crate::{Error, Result};

/// The machine's specification.
pub(crate) const SPEC: &str = "spec.json";
/// Who owns the machine now.
pub(crate) const SHIM: &str = "shim.json";
/// How the machine ended.
pub(crate) const EXIT: &str = "exit.json";
/// The cgroup of a sandbox that has one.
pub(crate) const CGROUP: &str = "cgroup.json";
/// What the guest's serial console printed, bounded.
pub(crate) const CONSOLE: &str = "console.log";
/// What the shim and the VMM complained about, bounded.
pub(crate) const SHIM_LOG: &str = "shim.log";

/// Content of `shim.json`: there while a shim owns the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimRecord {
    #[serde(flatten)]
    pub(crate) shim: ProcessId,
    pub(crate) boot_id: String,
    /// The VMM, once it runs.
    pub(crate) vmm: Option<ProcessId>,
}

/// Why a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// It was told to.
    Stopped,
    /// The guest powered off or rebooted.
    GuestShutdown,
    /// The guest's kernel panicked, by what it printed.
    GuestPanic,
    /// The VMM failed or was killed.
    BackendFailed,
}

/// Content of `exit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why it ended.
    pub reason: ExitReason,
    /// The VMM's exit code; `None` if a signal ended it.
    pub status: Option<i32>,
    /// The last lines the VMM wrote to its standard error.
    pub detail: String,
    /// Seconds since 1970.
    pub ended_at: u64,
}

/// Writes a record so that it is there whole, after a power loss too, or not at all.
pub(crate) fn write(dir: &Path, name: &str, record: &impl Serialize) -> Result<()> {
    let path = dir.join(name);
    let text = serde_json::to_vec_pretty(record)
        .map_err(|source| Error::BadRecord { path: path.clone(), source })?;
    pyro_durable::write(&path, &text).map_err(Error::io("write", &path))
}

/// Reads a record; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>> {
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| Error::BadRecord { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Removes a record if it is there.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<()> {
    match fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", dir.join(name))(error))
        }
        _ => Ok(()),
    }
}

/// Makes the caller the machine's one owner for as long as it holds the value.
pub(crate) fn lock(dir: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(Error::io("open", dir))?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::AlreadyRunning { dir: dir.to_owned() }),
        Err(error) => Err(Error::io("lock", dir)(error)),
    }
}
