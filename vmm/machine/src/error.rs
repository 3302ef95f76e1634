//! What can go wrong with one machine.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of this crate. `Display` says what failed; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No QEMU on the search path.
    #[error("qemu-system-x86_64 is not installed")]
    QemuMissing,
    /// QEMU is there and does not even tell its version.
    #[error("{} does not run", path.display())]
    QemuBroken {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The specification asks for a network, and QEMU has none to give.
    #[error("QEMU was built without user-mode networking")]
    NetworkUnsupported,
    /// No Firecracker where one is looked for.
    #[error("firecracker is not installed{}", .looked_at.as_ref().map(|path| format!(": {} is no absolute path of a program", path.display())).unwrap_or_default())]
    FirecrackerMissing {
        /// What `PYRO_FIRECRACKER` names.
        looked_at: Option<PathBuf>,
    },
    /// A Firecracker that this version of pyro does not know how to speak to.
    #[error("{} says that it is '{}', and pyro works with {}", path.display(), .says.escape_debug(), crate::FIRECRACKER_VERSIONS)]
    FirecrackerVersion {
        /// The program.
        path: PathBuf,
        /// The first line of `--version`.
        says: String,
    },
    /// Firecracker does not run as root but in its jailer, and there is none.
    #[error("as root {} runs only in its jailer, which is not installed", firecracker.display())]
    JailerMissing {
        /// The Firecracker.
        firecracker: PathBuf,
    },
    /// A jailer of another version than its Firecracker, or no jailer.
    #[error("{} says that it is '{}', and Firecracker {wanted} needs 'Jailer v{wanted}'", path.display(), .says.escape_debug())]
    JailerVersion {
        /// The program.
        path: PathBuf,
        /// The first line of `--version`.
        says: String,
        /// Firecracker's version.
        wanted: String,
    },
    /// The specification asks for a network, which Firecracker takes from a device of the host.
    #[error("a workspace with a network cannot run on Firecracker")]
    FirecrackerNetwork,
    /// Machines on this backend cannot be saved.
    #[error("a machine on {backend} can be neither saved nor restored")]
    NoSaving {
        /// Its name.
        backend: &'static str,
    },
    /// Firecracker refused a step of the boot.
    #[error("Firecracker refused '{step}' ({status}): {fault}")]
    FirecrackerRefused {
        /// The request.
        step: String,
        /// Its HTTP status.
        status: u16,
        /// What Firecracker says.
        fault: String,
    },
    /// Firecracker did not answer, or not as its API says.
    #[error("Firecracker gave no answer to '{step}': {reason}")]
    FirecrackerSilent {
        /// The request.
        step: String,
        /// What happened instead.
        reason: String,
    },
    /// No bubblewrap on the search path.
    #[error("bubblewrap (bwrap) is not installed")]
    SandboxMissing,
    /// The system lets bubblewrap make no namespaces.
    #[error("this system does not let bubblewrap make a sandbox: {reason}")]
    SandboxRefused {
        /// What bubblewrap said.
        reason: String,
    },
    /// A sandbox serves its workspace by FUSE.
    #[error("/dev/fuse cannot be used")]
    FuseRefused(#[source] io::Error),
    /// The specification asks for a network in a sandbox.
    #[error("a workspace without a VM (host-compat) cannot have a network")]
    SandboxNetwork,
    /// A number of the specification is out of range.
    #[error("{what} must be {range}, not {value}")]
    OutOfRange {
        /// The field.
        what: &'static str,
        /// The allowed values.
        range: &'static str,
        /// The value found.
        value: u64,
    },
    /// A shim owns this directory already.
    #[error("the machine in {} is already running", dir.display())]
    AlreadyRunning {
        /// The machine's directory.
        dir: PathBuf,
    },
    /// Nobody runs this machine.
    #[error("the machine in {} is not running", dir.display())]
    NotRunning {
        /// The machine's directory.
        dir: PathBuf,
    },
    /// Nobody listens on the guest's port, or the guest is not up yet.
    #[error("the guest does not answer on port {port}")]
    Refused {
        /// The guest's port.
        port: u32,
    },
    /// The machine ended before it was ready.
    #[error("the machine did not start: {reason}")]
    BootFailed {
        /// What the shim or the VMM said.
        reason: String,
    },
    /// The machine survived both signals.
    #[error("the machine in {} does not end", dir.display())]
    WontStop {
        /// The machine's directory.
        dir: PathBuf,
    },
    /// A record of the machine's directory is damaged.
    #[error("{} is damaged", path.display())]
    BadRecord {
        /// The record.
        path: PathBuf,
        /// What the decoder found.
        source: serde_json::Error,
    },
    /// A file, socket or process operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb, such as `open`.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: names the action and the path of a failed operation.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Io { action, path: path.as_ref().to_owned(), source: source.into() }
    }
}
