//! The first things a kernel without an initialised userland needs.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

use crate::error::{Doing, Result};
use crate::sys::Interface;

/// The agent's own kernel filesystems, and the loopback interface.
pub fn mounts() -> Result<()> {
    kernel_filesystem("proc", "/proc")?;
    kernel_filesystem("sysfs", "/sys")?;
    kernel_filesystem("devtmpfs", "/dev")?;
    kernel_filesystem("cgroup2", "/sys/fs/cgroup")?;
    for (link, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        // Some kernels have made them already.
        let _ = symlink(format!("/proc/self/fd{target}"), Path::new("/dev").join(link));
    }
    Interface::named("lo")
        .and_then(|mut lo| lo.up())
        .doing(|| "bring up the loopback interface".into())
}

/// Mounts a filesystem that needs no device at `at`.
pub fn kernel_filesystem(kind: &str, at: &str) -> Result<()> {
    let _ = fs::create_dir_all(at);
    let options = match kind {
        "devpts" => Some("mode=620,gid=5,ptmxmode=666"),
        "tmpfs" if at.ends_with("/shm") => Some("mode=1777"),
        "tmpfs" => Some("mode=755"),
        "devtmpfs" => Some("mode=755"),
        _ => None,
    };
    let mut flags = MsFlags::MS_NOSUID;
    if !matches!(kind, "devtmpfs" | "devpts") {
        flags |= MsFlags::MS_NODEV;
    }
    mount(Some(kind), at, Some(kind), flags, options).doing(|| format!("mount {kind} at {at}"))
}

/// Loads the modules of the initramfs that `list` names, one a line, in that order.
pub fn load_modules(list: &str) -> Result<()> {
    let dir = Path::new("/modules");
    let order = fs::read_to_string(dir.join(list)).doing(|| "read the list of modules".into())?;
    for name in order.lines().filter(|line| !line.is_empty()) {
        let file = File::open(dir.join(name)).doing(|| format!("open module {name}"))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // Built in, or loaded already.
            Err(Errno::EEXIST) => {}
            result => result.doing(|| format!("load module {name}"))?,
        }
    }
    Ok(())
}
