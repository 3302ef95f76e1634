//! A sandbox in place of a machine: namespaces of the host's kernel, made by the program that started
//! the agent. What it gives is mounted already: the environment, the scratch directory, `/proc` and
//! `/dev`.

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::early::kernel_filesystem;
use super::environment::{self, Layout};
use super::{IMAGE, LOWER, MERGED, NEW_ROOT, SCRATCH};
use crate::error::{Doing, Result};
use crate::exec::{Cgroups, Groups, Marks};
use crate::workspace::Marking;

/// The agent's mount points that the environment does not see.
const HIDDEN: [&str; 6] = [MERGED, LOWER, SCRATCH, IMAGE, "/dev", "/proc"];

/// The first argument, before the number of the socket by which the host is reached.
const WORD: &str = "sandbox";

/// The socket's number, if this is a sandbox.
pub fn socket() -> Option<RawFd> {
    let mut words = std::env::args().skip(1);
    words.next().filter(|word| word == WORD)?;
    words.next()?.parse().ok()
}

/// A cgroup of the host, where the sandbox was given one; the agent is in it.
const CGROUP: &str = "/cgroup";

fn has_cgroup() -> bool {
    Path::new(CGROUP).join("cgroup.procs").exists()
}

/// What knows all that a command has started.
pub fn groups() -> Result<Groups> {
    if !has_cgroup() {
        return Ok(Groups::Marks(Marks::default()));
    }
    let cgroups = Cgroups::new(Path::new(CGROUP).join("commands"));
    cgroups.map(Groups::Cgroups).doing(|| "make a cgroup".into())
}

/// Mounts the environment's root. Blocks.
pub fn mount_environment() -> Result<()> {
    environment::mount_root(Marking::User)
}

/// How the commands' namespace is made.
pub const LAYOUT: Layout = Layout { fill, hidden: &HIDDEN };

/// The sandbox's own `/proc` and `/dev`, as far as it gives them, and what else a program expects. Of
/// the kernel's tree of devices there is nothing.
fn fill() -> Result<()> {
    let none: Option<&str> = None;
    for from in ["/proc", "/dev"] {
        let at = Path::new(NEW_ROOT).join(&from[1..]);
        fs::create_dir_all(&at).doing(|| format!("create {}", at.display()))?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), &at, none, flags, none).doing(|| format!("mount {from}"))?;
    }
    if has_cgroup() {
        umount2(CGROUP, MntFlags::MNT_DETACH).doing(|| "hide the cgroup".into())?;
    }
    nix::mount::umount("/newroot/dev/fuse").doing(|| "hide /dev/fuse".into())?;
    kernel_filesystem("tmpfs", "/newroot/run")
}
