//! The environment: a read-only image with a writable layer on the scratch disk, and the mount
//! namespace in which commands see it as their root.

use std::fs::{self, File};
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

use super::early::kernel_filesystem;
use super::{IMAGE, LOWER, MERGED, NEW_ROOT, SCRATCH};
use crate::error::{Doing, Error, Result};
use crate::exec::Inside;
use crate::workspace::mount_overlay;

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

/// Mounts points of the agent that the environment does not see.
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
    let root = Path::new(SCRATCH).join("root");
    let (upper, work) = (root.join("upper"), root.join("work"));
    for dir in [&upper, &work, Path::new(NEW_ROOT)] {
        fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
    }
    mount_overlay(Path::new(IMAGE), &upper, &work, Path::new(NEW_ROOT))
}

/// Makes the commands' mount namespace, with `/workspace` in place. Blocks.
///
/// Its root is the environment itself, moved over the initramfs: unlike in a `chroot`, programs that
/// make namespaces of their own (bubblewrap, ...) work.
pub fn enter() -> Result<Inside> {
    // A thread of its own: the change of root and namespace ends with it.
    let made = thread::Builder::new().name("namespace".into()).spawn(enter_new_namespace);
    let made = made.doing(|| "start a thread".into())?;
    made.join().unwrap_or(Err(Error::HungUp))
}

fn enter_new_namespace() -> Result<Inside> {
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "make a mount namespace".into())?;
    let namespace = File::open("/proc/thread-self/ns/mnt").doing(|| "open the namespace".into())?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .doing(|| "make the mounts private".into())?;
    for (kind, at) in INNER {
        match kernel_filesystem(kind, at) {
            // Not every kernel has message queues.
            Err(_) if kind == "mqueue" => {}
            result => result?,
        }
    }
    let terminals = File::open(Path::new(NEW_ROOT).join("dev/pts"));
    let terminals = terminals.doing(|| "open /dev/pts".into())?.into();
    let workspace = Path::new(NEW_ROOT).join("workspace");
    fs::create_dir_all(&workspace).doing(|| "create /workspace".into())?;
    mount(Some(&Path::new(MERGED).join("ws")), &workspace, none, MsFlags::MS_BIND, none)
        .doing(|| "mount /workspace".into())?;
    for hidden in HIDDEN {
        umount2(hidden, MntFlags::MNT_DETACH).doing(|| format!("hide {hidden}"))?;
    }
    chdir(NEW_ROOT).doing(|| "enter the environment".into())?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none)
        .doing(|| "make the environment the root".into())?;
    chroot(".").doing(|| "make the environment the root".into())?;
    Ok(Inside { namespace: Some(namespace.into()), terminals })
}
