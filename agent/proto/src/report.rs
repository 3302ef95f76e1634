//! The change report: the upper layer of `/workspace` told as records, in preorder.
//!
//! ```text
//! Enter(top) File("a") Remove("b") Enter("d", Moved{from: "c"}) File("x") Leave Leave
//! ```
//!
//! Applied to the lower tree, the records give the tree that a full scan of `/workspace` would.

use pyro_format::{EntryName, FileId, LinkTarget, Mode, Mtime, TreePath};
use serde::{Deserialize, Serialize};

/// One record of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A directory; what follows is inside it, until its `Leave`. The first record is the top
    /// directory, whose name is absent.
    Enter {
        /// Name within the directory around it; absent for the top alone.
        name: Option<EntryName>,
        /// Permission bits.
        mode: Mode,
        /// Modification time.
        mtime: Mtime,
        /// What it shows of the lower tree.
        base: Base,
    },
    /// End of the innermost directory.
    Leave,
    /// The lower entry of this name is gone.
    Remove {
        /// Its name.
        name: EntryName,
    },
    /// A regular file, whole.
    File {
        /// Its name.
        name: EntryName,
        /// Permission bits.
        mode: Mode,
        /// Modification time.
        mtime: Mtime,
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the content.
        content: FileId,
    },
    /// A symbolic link.
    Symlink {
        /// Its name.
        name: EntryName,
        /// Modification time.
        mtime: Mtime,
        /// Where it points, verbatim.
        target: LinkTarget,
    },
    /// Something a workspace cannot carry. It hides a lower entry of its name.
    Skipped {
        /// Its name.
        name: EntryName,
        /// What it is.
        kind: Special,
    },
}

/// What a directory of the upper layer shows of the lower tree beneath its own entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// The lower directory of the same name, if there is one, in the directory around it.
    Same,
    /// Nothing.
    Empty,
    /// A lower directory that was renamed to here.
    Moved {
        /// Its path in the lower tree.
        from: TreePath,
    },
}

/// Kinds of files that no tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Special {
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character or block device.
    Device,
}

/// What a report cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportEnd {
    /// Records sent.
    pub records: u64,
    /// Entries of the upper layer (or of `/workspace`, for a full scan) looked at.
    pub visited: u64,
    /// Bytes of content read to hash them.
    pub hashed_bytes: u64,
    /// Files whose hash was still known.
    pub cached_files: u64,
}
