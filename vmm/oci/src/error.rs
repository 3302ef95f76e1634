//! What can go wrong with OCI images.

use std::io;
use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given is no reference to an image.
    #[error("'{}' is no image reference: {reason}", pyro_format::escape(.reference.as_bytes()))]
    Reference {
        /// What was given.
        reference: String,
        /// Why not.
        reason: String,
    },
    /// The registry cannot be reached, refuses, or answers nonsense.
    #[error("registry {registry}: {reason}")]
    Registry {
        /// Its host, and its port.
        registry: String,
        /// What it did.
        reason: String,
    },
    /// The registry wants credentials, or does not take those that the user has.
    #[error("registry {registry} does not let {} pull '{repository}'", if *.anonymous { "an anonymous user" } else { "this user" })]
    Unauthorized {
        /// Its host, and its port.
        registry: String,
        /// Of which repository.
        repository: String,
        /// No credentials were found.
        anonymous: bool,
    },
    /// The user's own docker credentials cannot be read.
    #[error("the docker credentials for {registry} cannot be read: {reason}")]
    Credentials {
        /// For which registry.
        registry: String,
        /// Why not.
        reason: String,
    },
    /// There is no such image.
    #[error("there is no image '{0}'")]
    NotFound(String),
    /// The image is for other machines.
    #[error("the image is for {found}, and guests are {}", crate::PLATFORM)]
    Platform {
        /// What it is for.
        found: String,
    },
    /// What arrived is not what was promised.
    #[error("{what} has the digest {found} and not {expected}")]
    Digest {
        /// What.
        what: String,
        /// What was promised.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// An image file cannot be understood.
    #[error("{} is no image that pyro can read: {reason}", pyro_format::escape(.path.as_os_str().as_encoded_bytes()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The image cannot be used.
    #[error("the image cannot be used: {0}")]
    Image(String),
    /// The store failed, or found something wrong with a layer.
    #[error(transparent)]
    Store(#[from] pyro_store::Error),
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", pyro_format::escape(.path.as_os_str().as_encoded_bytes()))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was tried on which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_owned(), source }
    }
}
