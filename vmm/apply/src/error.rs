//! Why something could not be applied or taken back.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What went wrong. Paths are shown quoted and escaped.
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
    /// The store cannot give the content.
    #[error(transparent)]
    Store(#[from] pyro_store::Error),
    /// Something in the host directory is no longer what the plan saw.
    #[error("{0:?} changed while the plan was carried out")]
    Changed(PathBuf),
    /// Nothing of this directory can be taken back.
    #[error("nothing that was applied to {0:?} can be taken back")]
    NothingToUndo(PathBuf),
    /// A journal is not what was written.
    #[error("the journal {0:?} is damaged")]
    BadJournal(PathBuf),
    /// A step failed, and what was done before could not be taken back.
    #[error("{failed}; what was done before that could not be taken back yet: {undo}{}", cause(.undo))]
    Stuck {
        /// The step's error.
        failed: Box<Error>,
        /// The error of taking back.
        undo: Box<Error>,
    },
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default()
}

/// The result of such an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: source.into() }
    }
}
