//! The programs that can run a machine, behind one trait.

mod bwrap;
mod cgroup;
mod firecracker;
mod kernel_line;
mod probe;
mod program;
mod qemu;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;

use crate::vsock::MissingService;
use crate::{BackendKind, Error, MachineSpec, Result};

pub(crate) use cgroup::remove_left as remove_cgroup;
pub(crate) use firecracker::{remove_left as remove_firecracker, save as save_firecracker};

pub use bwrap::{SandboxFacts, sandbox_facts};
pub use cgroup::{CgroupFacts, cgroup_facts};
pub use firecracker::{FIRECRACKER_VERSIONS, FirecrackerFacts, firecracker_facts};
pub use probe::{Kvm, Verdict, probe_kvm};
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
    pub(crate) device: Box<dyn Send>,
}

/// The backend of a kind.
pub(crate) fn of(kind: BackendKind) -> Box<dyn Backend> {
    match kind {
        BackendKind::QemuKvm => Box::new(qemu::Qemu { accel: qemu::Accel::Kvm }),
        BackendKind::QemuTcg => Box::new(qemu::Qemu { accel: qemu::Accel::Tcg }),
        BackendKind::Firecracker => Box::new(firecracker::Firecracker),
        BackendKind::HostCompat => Box::new(bwrap::Bwrap),
    }
}

/// Refuses a machine whose backend is not installed, or cannot give it a network that it wants.
pub(crate) fn check(spec: &MachineSpec) -> Result<()> {
    match spec.backend {
        BackendKind::QemuKvm | BackendKind::QemuTcg => {
            qemu_facts()?;
            if spec.network && !has_user_networking()? {
                return Err(Error::NetworkUnsupported);
            }
        }
        BackendKind::Firecracker => firecracker::check(spec)?,
        BackendKind::HostCompat => {
            sandbox_facts()?;
        }
    }
    if spec.restore.is_some() {
        spec.backend.check_saving()?;
    }
    if spec.network { spec.backend.check_network() } else { Ok(()) }
}
