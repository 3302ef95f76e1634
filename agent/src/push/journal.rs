//! What a commit is about to do, on disk before it does anything.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use pyro_format::TreePath;
use pyro_proto::PushId;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};

const NAME: &[u8] = b"push.journal";
const UNFINISHED: &[u8] = b"push.journal.new";

/// A commit, written before its first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Names the push, and its directory in the stage.
    pub id: PushId,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Moves what is staged as `staged` to `target`.
    Place {
        /// Number in the stage.
        staged: usize,
        /// Where it goes.
        target: TreePath,
        /// Whether the two change places, rather than the target being absent.
        exchange: bool,
        /// Inode of what is staged: while it is still there, the step has not been done.
        inode: u64,
    },
    /// Sets permission bits.
    Chmod {
        /// File or directory.
        target: TreePath,
        /// Bits before.
        old: u16,
        /// Bits after.
        new: u16,
    },
}

/// Writes the journal so that it survives a crash from here on.
pub fn write(scratch: BorrowedFd<'_>, journal: &Journal) -> Result<()> {
    let bytes = postcard::to_stdvec(journal)
        .map_err(|error| Error::Invalid(format!("the journal cannot be written: {error}")))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let fd = openat(scratch, UNFINISHED, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let mut file = File::from(fd.doing(|| "create the journal".into())?);
    file.write_all(&bytes).and_then(|()| file.sync_all()).doing(|| "write the journal".into())?;
    renameat(scratch, UNFINISHED, scratch, NAME)
        .and_then(|()| fsync(scratch))
        .doing(|| "write the journal".into())
}

/// The journal of a commit that a crash interrupted.
pub fn read(scratch: BorrowedFd<'_>) -> Result<Option<Journal>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let fd = match openat(scratch, NAME, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other.doing(|| "open the journal".into())?,
    };
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).doing(|| "read the journal".into())?;
    let journal = postcard::from_bytes(&bytes)
        .map_err(|error| Error::Invalid(format!("the journal is damaged: {error}")))?;
    Ok(Some(journal))
}

/// The commit is over.
pub fn remove(scratch: BorrowedFd<'_>) -> Result<()> {
    unlinkat(scratch, NAME, UnlinkatFlags::NoRemoveDir)
        .and_then(|()| fsync(scratch))
        .doing(|| "remove the journal".into())
}
