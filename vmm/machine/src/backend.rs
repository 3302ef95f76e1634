//! The programs that can run a machine, behind one trait.

mod probe;
mod program;
mod qemu;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;

use crate::vsock::{MissingService, VsockDevice};
use crate::{BackendKind, MachineSpec, Result};

pub use probe::{Verdict, probe_kvm};
pub use program::{QemuFacts, has_user_networking, qemu_facts};

/// Something that boots a machine in its directory.
pub(crate) trait Backend {
    /// Starts the VMM as a child of the calling thread, with which it dies. `missing` is called
    /// when the guest wants a host port that nobody listens on.
    fn boot(&self, spec: &MachineSpec, dir: &Path, missing: MissingService) -> Result<RunningVm>;
}

/// A VMM process and everything that serves it.
pub(crate) struct RunningVm {
    /// The VMM; its standard error is piped.
    pub(crate) child: Child,
    /// What the guest prints.
    pub(crate) console: Box<dyn Read + Send>,
    /// Reads as end-of-file once the VMM has set itself up.
    pub(crate) ready: OwnedFd,
    /// Serves `vsock` until dropped.
    pub(crate) device: VsockDevice,
}

/// The backend of a kind.
pub(crate) fn of(kind: BackendKind) -> Box<dyn Backend> {
    match kind {
        BackendKind::QemuKvm => Box::new(qemu::Qemu { accel: qemu::Accel::Kvm }),
        BackendKind::QemuTcg => Box::new(qemu::Qemu { accel: qemu::Accel::Tcg }),
    }
}
