//! Builds a root image from Debian's packages, as root or as an ordinary user.
//!
//! ```text
//! mmdebstrap ──hooks──→ <build root>/root ──mkfs.erofs──→ root/.pyro/root.erofs ──copy, hash──→ <stage>/root.erofs
//!    │ apt checks signatures                                                                       
//!    └─ kernel package, same apt ──→ root/.pyro/kernel ──→ vmlinux, modules ──→ <stage>/kernel
//! ```
//!
//! The small kernel is built in a second, larger one of those that only lives for it: `small_kernel`.
//!
//! `mmdebstrap` runs in its unshare mode throughout: mounts stay in a mount namespace of its own, and an
//! ordinary user needs nothing but subordinate ids.

mod apt_output;
mod debian;
mod packages;
mod small_kernel;
pub(crate) mod tool;

pub(crate) use debian::{BuildRoot, Staged, build, fetch_kernel};
pub(crate) use small_kernel::build_kernel;
