//! The environment: a read-only image with a writable layer on the scratch disk, and the mount
//! namespace in which commands see it as their root.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

use super::early::kernel_filesystem;
use super::{IMAGE, LOWER, MERGED, NEW_ROOT, SCRATCH};
use crate::error::{Doing, Error, Result};
use crate::workspace::{Marking, mount_overlay};

const IMAGE_DISK: &str = "/dev/vda";
const SCRATCH_DISK: &str = "/dev/vdb";

/// Kernel filesystems of the environment.
const INNER: [(&str, &str); 8] = [
    ("proc", "/newroot/proc"),
    ("sysfs", "/newroot/sys"),
    ("cgroup2", "/newroot/sys/fs/cgroup"),
    ("devtmpfs", "/newroot/dev"),
    ("devpts", "/newroot/dev/pts"),
    ("tmpfs", "/newroot/dev/shm"),
    ("mqueue", "/newroot/dev/mqueue"),
    ("tmpfs", "/newroot/run"),
];

/// Mount points of the agent that the environment does not see.
const HIDDEN: [&str; 8] =
    [MERGED, LOWER, SCRATCH, IMAGE, "/sys/fs/cgroup", "/sys", "/dev", "/proc"];

/// Mounts both disks and the environment's root. Blocks.
pub fn mount_environment() -> Result<()> {
    let disk = |disk: &str, at: &str, kind: &str, flags, options: Option<&str>| {
        fs::create_dir_all(at).doing(|| format!("create {at}"))?;
        mount(Some(disk), at, Some(kind), flags, options)
            .doing(|| format!("mount {disk} ({kind}) at {at}"))
    };
    disk(IMAGE_DISK, IMAGE, "erofs", MsFlags::MS_RDONLY | MsFlags::MS_NOATIME, None)?;
    // Inode tables the host left out are zeros already, for the disk is sparse: writing them would
    // only fill it. What is deleted is given back to the host.
    disk(SCRATCH_DISK, SCRATCH, "ext4", MsFlags::MS_NOATIME, Some("noinit_itable,discard"))?;
    mount_root(Marking::Trusted)
}

/// Mounts the environment's root, once image and scratch are mounted. Blocks.
pub fn mount_root(marking: Marking) -> Result<()> {
    let root = Path::new(SCRATCH).join("root");
    let (upper, work) = (root.join("upper"), root.join("work"));
    for dir in [&upper, &work, Path::new(NEW_ROOT)] {
        fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
    }
    mount_overlay(Path::new(IMAGE), &upper, &work, Path::new(NEW_ROOT), marking)
}

/// How the commands' mount namespace is made.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Mounts what belongs into the environment's root.
    pub fill: fn() -> Result<()>,
    /// Mount points of the agent that the environment does not see.
    pub hidden: &'static [&'static str],
}

/// That of a machine.
pub const LAYOUT: Layout = Layout { fill, hidden: &HIDDEN };

fn fill() -> Result<()> {
    for (kind, at) in INNER {
        match kernel_filesystem(kind, at) {
            // Not every kernel has message queues.
            Err(_) if kind == "mqueue" => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes the commands' mount namespace, with `/workspace` in place, and gives its descriptor and that
/// of its `/dev/pts`. Blocks.
///
/// Its root is the environment itself, moved over the initramfs: unlike in a `chroot`, programs that
/// make namespaces of their own (bubblewrap, ...) work.
pub fn enter(layout: Layout) -> Result<(OwnedFd, OwnedFd)> {
    // A thread of its own: the change of root and namespace ends with it.
    let made =
        thread::Builder::new().name("namespace".into()).spawn(move || enter_new_namespace(layout));
    let made = made.doing(|| "start a thread".into())?;
    made.join().unwrap_or(Err(Error::HungUp))
}

fn enter_new_namespace(layout: Layout) -> Result<(OwnedFd, OwnedFd)> {
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "make a mount namespace".into())?;
    let namespace = File::open("/proc/thread-self/ns/mnt").doing(|| "open the namespace".into())?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .doing(|| "make the mounts private".into())?;
    (layout.fill)()?;
    let terminals = File::open(Path::new(NEW_ROOT).join("dev/pts"));
    let terminals = terminals.doing(|| "open /dev/pts".into())?.into();
    let workspace = Path::new(NEW_ROOT).join("workspace");
    fs::create_dir_all(&workspace).doing(|| "create /workspace".into())?;
    mount(Some(&Path::new(MERGED).join("ws")), &workspace, none, MsFlags::MS_BIND, none)
        .doing(|| "mount /workspace".into())?;
    for hidden in layout.hidden {
        umount2(*hidden, MntFlags::MNT_DETACH).doing(|| format!("hide {hidden}"))?;
    }
    chdir(NEW_ROOT).doing(|| "enter the environment".into())?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none)
        .doing(|| "make the environment the root".into())?;
    chroot(".").doing(|| "make the environment the root".into())?;
    Ok((namespace.into(), terminals))
}
