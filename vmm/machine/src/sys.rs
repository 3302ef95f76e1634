//! The few calls that the compiler cannot check.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, Resource, Rlimit, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes the child a session of its own that inherits nothing beyond standard input, output and
/// error.
pub(crate) fn detach(command: &mut Command) {
    let setup = || {
        rustix::process::setsid()?;
        SigSet::empty().thread_set_mask()?;
        // SAFETY: the system call takes integers only; marking descriptors close-on-exec
        // touches no memory of the process.
        let done = unsafe {
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes async-signal-safe system calls only and
    // allocates nothing.
    unsafe { command.pre_exec(setup) };
}

/// What a child is kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// Whom it becomes.
    pub(crate) identity: Option<Identity>,
    /// It shares the host's network.
    pub(crate) network: bool,
    /// Bytes of address space that it may use.
    pub(crate) address_space: u64,
    /// Bytes of the longest file that it may write.
    pub(crate) file_size: u64,
}

impl Confinement {
    /// Namespaces of the child's own (namespaces(7)), and in them no file system that can be written
    /// to. Only root makes them without one for users; where the kernel lets nobody make them there are
    /// none.
    fn separate(self) {
        let mut flags = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS;
        if !self.network {
            flags |= libc::CLONE_NEWNET;
        }
        for flags in [flags, flags | libc::CLONE_NEWUSER] {
            // SAFETY: the system call takes an integer; the child has one thread.
            if unsafe { libc::syscall(libc::SYS_unshare, flags) } == 0 {
                return read_only();
            }
        }
    }

    /// Bounds what it can use up (setrlimit(2)).
    fn limit(self) -> io::Result<()> {
        for (resource, most) in
            [(Resource::As, self.address_space), (Resource::Fsize, self.file_size)]
        {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            rustix::process::setrlimit(resource, limit)?;
        }
        Ok(())
    }
}

/// A file of the host that a child sees at another place.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The file.
    pub(crate) file: PathBuf,
    /// A file in whose place it is.
    pub(crate) at: PathBuf,
    /// Whether the child may write to it.
    pub(crate) writable: bool,
}

/// Gives the child namespaces of its own for mounts, IPC, host name and network, where only root can, and
/// shows it these files. Nobody else sees the mounts, and they end with the child.
pub(crate) fn show(command: &mut Command, files: &[Shown]) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes());
    let mut mounts = Vec::new();
    for Shown { file, at, writable } in files {
        mounts.push((text(file)?, text(at)?, *writable));
    }
    let setup = move || {
        let none: Option<&CStr> = None;
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWNET,
        )?;
        mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        for (file, at, writable) in &mounts {
            mount(Some(&**file), &**at, none, MsFlags::MS_BIND, none)?;
            let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID;
            flags.set(MsFlags::MS_RDONLY, !writable);
            mount(none, &**at, none, flags, none)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes async-signal-safe system calls only and
    // allocates nothing: its strings are ready.
    unsafe { command.pre_exec(setup) };
    Ok(())
}

/// Makes all mounts of a mount namespace private and read-only, as far as the kernel can
/// (mount_setattr(2), Linux 5.12): what is open stays as it is.
fn read_only() {
    let read_only = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is a constant, and the structure is read for the size that is given.
    unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            &read_only,
            size_of::<libc::mount_attr>(),
        )
    };
}

/// Runs `spawn`, whose child becomes the first process of a process namespace (pid_namespaces(7)): it
/// neither sees nor can signal any other. Only root can make one for a child and not for itself.
pub(crate) fn in_own_pids<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = File::open("/proc/thread-self/ns/pid_for_children")?;
    let separate = unshare(CloneFlags::CLONE_NEWPID).is_ok();
    let spawned = spawn();
    if separate {
        setns(own, CloneFlags::CLONE_NEWPID)?;
    }
    spawned
}

/// A user and a group to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Makes the child die with the calling *thread*, take no blocked signal along, keep the
/// descriptors `keep` open under their numbers, and be confined, unless it confines itself,
/// and join the cgroup whose `cgroup.procs` is given.
pub(crate) fn bind_child(
    command: &mut Command,
    keep: Vec<RawFd>,
    confinement: Option<Confinement>,
    cgroup: Option<OwnedFd>,
) {
    let parent = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    let setup = move || {
        if let Some(procs) = &cgroup {
            rustix::io::write(procs, b"0")?;
        }
        if let Some(confinement) = confinement {
            confinement.separate();
            confinement.limit()?;
        }
        // A dump would hold the guest's memory.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(Resource::Core, none)?;
        if let Some(Identity { uid, gid }) =
            confinement.and_then(|confinement| confinement.identity)
        {
            // SAFETY: plain system calls on integers; an empty group list needs no pointer.
            let done = unsafe {
                libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<libc::gid_t>()) == 0
                    && libc::syscall(libc::SYS_setgid, gid) == 0
                    && libc::syscall(libc::SYS_setuid, uid) == 0
            };
            if !done {
                return Err(io::Error::last_os_error());
            }
        }
        // After the change of identity, which would clear it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the line above sends no signal any more.
        let parent = parent.as_ref().map_err(|errno| *errno)?;
        let mut ended = [PollFd::new(parent, PollFlags::IN)];
        if rustix::event::poll(&mut ended, Some(&Timespec::default()))? != 0 {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        SigSet::empty().thread_set_mask()?;
        for fd in &keep {
            // SAFETY: the parent keeps these descriptors open until the child is spawned, and
            // the child has a copy of its table.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes async-signal-safe system calls only and
    // allocates nothing.
    unsafe { command.pre_exec(setup) };
}

/// Has the runtime say when a descriptor can be read from or written to.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and is the same descriptor, for as long as it exists.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Waits until a descriptor is readable.
pub(crate) async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the borrow keeps the descriptor open, and its number the same, for longer than the
    // registration lives.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)?.readable().await.map(drop)
}

/// The processor's time stamp counter.
#[cfg(target_arch = "x86_64")]
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: reading the counter has no side effect, and every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
