//! What can go wrong with environments.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No recipe has this name.
    #[error("there is no environment `{}`{}; known: {}", .name.escape_debug(), did_you_mean(.closest), .known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// All known names.
        known: Vec<String>,
        /// The known name that looks most like it, if any does.
        closest: Option<String>,
    },
    /// The environment was never pulled.
    #[error("environment {name} is not installed; `pyro env pull {name}` builds it")]
    NotInstalled {
        /// The environment's name.
        name: String,
    },
    /// The image was thrown away; it can be made again from the tree that the store has.
    #[error("the image of environment {name} was thrown away")]
    Evicted {
        /// The environment's name.
        name: String,
        /// Its image.
        digest: crate::ImageDigest,
        /// What it is made from.
        origin: Box<crate::Origin>,
    },
    /// No kernel is installed, and this kind of environment brings none.
    #[error("there is no kernel yet to boot {name} with")]
    NoKernel {
        /// The environment's name.
        name: String,
    },
    /// What was pulled is damaged; the next pull replaces it.
    #[error("environment {name} is broken: {problem}; `pyro env pull {name}` repairs it")]
    Broken {
        /// The environment's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What was pulled has no drivers for a network; the next pull replaces it.
    #[error(
        "environment {name} was installed by an earlier version of pyro, without drivers for a \
         network; `pyro env pull {name}` adds them"
    )]
    NoNetworkModules {
        /// The environment's name.
        name: String,
    },
    /// A program that is needed is not on this host.
    #[error("`{tool}` is missing on this host; install the package {package}")]
    ToolMissing {
        /// The program.
        tool: String,
        /// The Debian package that has it.
        package: String,
    },
    /// This user cannot build a root file system without being root.
    #[error(
        "{user} has no range of subordinate ids, so mmdebstrap cannot build an environment without \
         root; `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` adds one"
    )]
    NoSubordinateIds {
        /// The user's name or number.
        user: String,
    },
    /// A program that was run failed.
    #[error("{tool} failed ({status}):\n{}", .tail.join("\n"))]
    ToolFailed {
        /// The program.
        tool: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The kernel package holds something other than expected.
    #[error("the kernel cannot be used: {0}")]
    Kernel(String),
    /// A kernel module is missing or cannot be read.
    #[error("the kernel module {name} cannot be used: {problem}")]
    Module {
        /// The module's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The build produced something other than expected.
    #[error("the build of {name} is incomplete: {problem}")]
    Incomplete {
        /// The environment's name.
        name: String,
        /// What is missing.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Output could not be written to the caller's writer.
    #[error("cannot write the initramfs")]
    Initramfs(#[source] std::io::Error),
}

impl Error {
    /// For `map_err`: an [`Error::Io`] about `path`.
    pub(crate) fn io<E: Into<std::io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source: source.into() }
    }
}

fn did_you_mean(closest: &Option<String>) -> String {
    closest.as_ref().map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}
