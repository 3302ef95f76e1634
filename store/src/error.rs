//! Everything that can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use pyro_format::{BaselineId, DecodeError, FileId, NameError, PathError, TreePath};
use thiserror::Error;

use crate::object::ObjectKey;

/// Why a store operation failed. Paths are shown quoted and escaped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried, for example `read`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory holds something else than a store.
    #[error("{path:?} is not a store: {reason}")]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What was found there.
        reason: &'static str,
    },
    /// A newer program made this store.
    #[error("the store {path:?} has format {found:?}, this program knows up to {known}")]
    NewerFormat {
        /// The store's directory.
        path: PathBuf,
        /// What its version file says.
        found: String,
        /// The newest format known here.
        known: u32,
    },
    /// Another process, or another handle in this one, has the store open.
    #[error("the store {0:?} is in use by another process")]
    Locked(PathBuf),
    /// The index database failed while in use; it is only a cache and is rebuilt at the next open.
    #[error("the index database of the store failed")]
    Index(#[from] sled::Error),
    /// No pack holds the object.
    #[error("the store has no {0}")]
    Missing(ObjectKey),
    /// An object's bytes are not what its id says.
    #[error("damaged {key} in pack {pack}: {reason}")]
    Damaged {
        /// The object.
        key: ObjectKey,
        /// The pack that holds it.
        pack: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An object's bytes are intact but are not a node of this format.
    #[error("unreadable {key}")]
    Decode {
        /// The object.
        key: ObjectKey,
        /// What is wrong.
        source: DecodeError,
    },
    /// A pack that was just written did not read back as written.
    #[error("pack {path:?} did not read back as written: {reason}")]
    ReadBack {
        /// The temporary pack file.
        path: PathBuf,
        /// What differs.
        reason: &'static str,
    },
    /// A whole file's content does not have the hash it should have.
    #[error("content does not match file {expected}: its hash is {found}")]
    FileMismatch {
        /// The id that was promised.
        expected: FileId,
        /// The id of the bytes.
        found: FileId,
    },
    /// A file's content has another length than its entry says.
    #[error("file {file} has {found} bytes, not {expected}")]
    SizeMismatch {
        /// The file.
        file: FileId,
        /// The length that was asked for.
        expected: u64,
        /// The length of what is stored.
        found: u64,
    },
    /// No record of this baseline.
    #[error("the store has no baseline {0}")]
    NoBaseline(BaselineId),
    /// Something that a baseline needs is not there.
    #[error("baseline {baseline} is not whole: {missing} objects that it needs are missing")]
    Incomplete {
        /// Which baseline.
        baseline: BaselineId,
        /// How many objects cannot be had.
        missing: u64,
    },
    /// A baseline record that cannot be read.
    #[error("the baseline record {path:?} is damaged: {reason}")]
    BaselineRecord {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The source cannot be used at all.
    #[error("cannot ingest {path:?}: {reason}")]
    Source {
        /// The source as given.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The source is inside the store, or holds it.
    #[error("{path:?} and the store's own directory {store:?} contain one another")]
    SourceOverlapsStore {
        /// The source, or the directory in it that is the store.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// A file changed every time it was read.
    #[error("{0:?} changes while it is read")]
    Changing(PathBuf),
    /// A name in the source that no tree can hold.
    #[error("cannot store the name {path:?}")]
    Name {
        /// Where.
        path: PathBuf,
        /// Why.
        source: NameError,
    },
    /// Directories nested too deeply.
    #[error("directories are nested deeper than {limit} levels at {path:?}")]
    TooDeep {
        /// The first path beyond the limit.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// An exclude pattern that is no glob.
    #[error("'{pattern}' is not a valid pattern")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        source: ignore::Error,
    },
    /// One member of an archive is not acceptable.
    #[error("archive {archive:?}: member '{member}' {reason}")]
    Member {
        /// The archive.
        archive: PathBuf,
        /// The member's name, escaped.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive that ends too early, is corrupt or exceeds a limit.
    #[error("archive {archive:?}: {reason}")]
    Archive {
        /// The archive.
        archive: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing is stored at this path.
    #[error("the tree has no '{0}'")]
    NoEntry(TreePath),
    /// The path exists but is another kind of thing.
    #[error("'{path}' is not a {wanted}")]
    WrongKind {
        /// The path in the tree.
        path: TreePath,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Bytes that are no path inside a tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The directory into which a checkout should go is not there.
    #[error("the directory {0:?} does not exist")]
    NoParent(PathBuf),
    /// The target of a checkout is there already.
    #[error("{0:?} exists already")]
    Exists(PathBuf),
    /// A target that names no file of its own, like `/` or `..`.
    #[error("{0:?} cannot be the target of a checkout")]
    BadTarget(PathBuf),
    /// A bundle that is damaged, not whole, or none.
    #[error("cannot import {path:?}: {reason}")]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory on which nothing can be mounted.
    #[error("cannot mount on {path:?}: {reason}")]
    MountPoint {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The kernel, or the program that asks it, did not mount.
    #[error("cannot mount a FUSE file system on {path:?}")]
    Fuse {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// What every function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was tried, and where, to an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| Error::Io {
            action,
            path: path.as_ref().to_owned(),
            source: error.into(),
        })
    }
}
