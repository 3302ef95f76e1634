//! The calls that the compiler cannot check.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::signal::SigSet;

/// Makes the child a session of its own that inherits nothing beyond its three standard streams:
/// whoever waits for the end of a pipe of ours must not wait for the child.
pub fn detach(command: &mut Command) {
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

/// Makes the C library give memory back that large buffers no longer need (mallopt(3)). By default it
/// keeps an arena for each thread, and raises its threshold for separate mappings to the largest
/// buffer ever freed: a daemon would keep the sum of its peaks.
pub fn return_memory() {
    #[cfg(target_env = "gnu")]
    {
        let settings = [
            (libc::M_ARENA_MAX, 2),
            (libc::M_MMAP_THRESHOLD, 256 * 1024),
            (libc::M_TRIM_THRESHOLD, 128 * 1024),
        ];
        for (what, value) in settings {
            // SAFETY: takes two integers and sets a number; called before any other thread runs.
            let _ = unsafe { libc::mallopt(what, value) };
        }
    }
}
