//! The kernel that every environment boots: Debian's own, unpacked from its package.

pub mod bzimage;
mod modules;
mod slim;
pub(crate) mod store;

use std::path::PathBuf;

/// An installed kernel: what a machine boots and what its initramfs carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Version of the Debian package, such as `6.1.140-1`; unique per build.
    pub version: String,
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The ELF kernel, with a PVH entry point.
    pub vmlinux: PathBuf,
    /// The modules a guest needs, each after those it depends on.
    pub modules: Vec<PathBuf>,
    /// Those that a guest with a network loads after them; `None` where the kernel was unpacked by a
    /// version of pyro that knew no network.
    pub network_modules: Option<Vec<PathBuf>>,
}
