//! Environments: what a workspace's machine boots and what its commands see.
//!
//! An environment is a read-only erofs image of a Debian root, built from Debian's own packages, plus
//! a kernel that all environments share. [`Catalog`] owns `<home>/environments`:
//!
//! ```text
//! environments/
//!   pull.lock                       held by the one pull or prune that may write here
//!   tmp/<random>/                   half-built things; whatever is found here under the lock is garbage
//!   debian%3A12/current             digest of the installed image
//!   debian%3A12/<digest>/           root.erofs, environment.json; rootfs/, the same as a directory
//!   kernels/<version>/              vmlinux, modules/*.ko, kernel.json
//!   scratch/ext4-….img              formatted sparse disk that every workspace's scratch is cloned from
//! ```
//!
//! A pull goes: `build` runs `mmdebstrap` and `mkfs.erofs` in a build root outside the home, `kernel`
//! turns Debian's kernel package into an ELF `vmlinux` and modules in load order, `catalog` moves the
//! finished directories into place. [`write_initramfs`] packs the guest agent with the modules.
//!
//! This crate knows no machine, no workspace and no store.

mod build;
mod catalog;
mod digest;
mod durable;
mod error;
mod initramfs;
mod kernel;
mod progress;
mod recipe;
mod scratch;

pub use build::tool::{Tool, find_tool, required_tools};
pub use catalog::{
    Catalog, Environment, EnvironmentDetail, EnvironmentInfo, EnvironmentState, KernelInfo, Origin,
    Package, PruneReport, Pruned, PrunedKind, Startup,
};
pub use digest::ImageDigest;
pub use error::{Error, Result};
pub use initramfs::write_initramfs;
pub use kernel::Kernel;
pub use kernel::bzimage::extract_vmlinux;
pub use progress::{Progress, Silent};
pub use recipe::is_built_here;
pub use scratch::{SCRATCH_MIB, clone_scratch};
