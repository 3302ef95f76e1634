//! Where everything is kept.

use std::env;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why there is no home.
#[derive(Debug, Error)]
pub enum HomeError {
    /// Neither variable is set.
    #[error("neither PYRO_HOME nor XDG_DATA_HOME nor HOME is set")]
    Unset,
    /// A relative path would mean another home in every directory.
    #[error("PYRO_HOME is not an absolute path: {0}")]
    Relative(PathBuf),
    /// The directory cannot be made.
    #[error("cannot make {path}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// `PYRO_HOME`: the one directory that holds the store, environments, workspaces and the daemon's
/// socket. Default: `$XDG_DATA_HOME/pyro`, else `~/.local/share/pyro` (XDG Base Directory 0.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// Layers of images while they are fetched: `cache/blobs`.
    pub fn blobs(&self) -> PathBuf {
        self.cache().join("blobs")
    }

    /// From the environment; the directory need not exist.
    pub fn from_env() -> Result<Self, HomeError> {
        let var = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(home) = var("PYRO_HOME") {
            return if home.is_absolute() {
                Ok(Self(home))
            } else {
                Err(HomeError::Relative(home))
            };
        }
        // The XDG specification: a relative path in its variables is to be ignored.
        let data = var("XDG_DATA_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| var("HOME").map(|home| home.join(".local/share")));
        data.map(|data| Self(data.join("pyro"))).ok_or(HomeError::Unset)
    }

    /// At this absolute path.
    pub fn at(path: &Path) -> Result<Self, HomeError> {
        if path.is_absolute() {
            Ok(Self(path.into()))
        } else {
            Err(HomeError::Relative(path.into()))
        }
    }

    /// Makes the directory, for its owner alone.
    pub fn create(&self) -> Result<(), HomeError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| HomeError::Create { path: self.0.clone(), source })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Held by the daemon while it lives.
    pub fn lock(&self) -> PathBuf {
        self.0.join("daemon.lock")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("daemon.sock")
    }

    /// What the daemon has to say.
    pub fn log(&self) -> PathBuf {
        self.0.join("daemon.log")
    }

    /// The content-addressed store.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// One directory for each workspace.
    pub fn workspaces(&self) -> PathBuf {
        self.0.join("workspaces")
    }

    /// What was applied to directories of the host, and can be taken back.
    pub fn applied(&self) -> PathBuf {
        self.0.join("applied")
    }

    /// What can be made again: probe verdicts, initramfs images.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
}
