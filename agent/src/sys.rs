//! System calls that no safe wrapper covers.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;

use crate::confine::Confinement;
use crate::identity::Identity;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Value of an extended attribute of at most 64 KiB; `None` when there is no such attribute.
pub fn xattr(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0u8; 256];
    loop {
        // SAFETY: the pointers are valid for the given lengths during the call.
        let len = unsafe {
            libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        if let Ok(len) = usize::try_from(len) {
            value.truncate(len);
            return Ok(Some(value));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP) => return Ok(None),
            Some(libc::ERANGE) if value.len() < 65_536 => value.resize(65_536, 0),
            _ => return Err(error),
        }
    }
}

/// Bytes that wait in a pipe.
pub fn waiting_bytes(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD writes one int to the given place.
    check(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Has the runtime say when a descriptor can be read from or written to.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and is the same descriptor, for as long as it exists.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Takes over a descriptor that the process was started with; no program that it starts has it.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: duplicating and closing take integers. The copy belongs to nobody else.
    unsafe {
        let own = check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3))?;
        libc::close(fd);
        Ok(OwnedFd::from_raw_fd(own))
    }
}

/// Waits until any child ends and reaps it: its pid and raw wait status.
pub fn reap_any() -> io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: waitpid writes one int to the given place.
    let pid = check(unsafe { libc::waitpid(-1, &mut status, libc::__WALL) })?;
    Ok((pid, status))
}

/// A network interface, by its name.
#[derive(Debug)]
pub struct Interface {
    socket: OwnedFd,
    request: libc::ifreq,
}

impl Interface {
    /// The interface `name`, whether it exists or not.
    pub fn named(name: &str) -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor it returns belongs to nobody else.
        let socket = unsafe {
            let fd = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: ifreq is plain data for which all zeros is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
        for (to, from) in places.zip(name.bytes()) {
            *to = from as c_char;
        }
        Ok(Self { socket, request })
    }

    /// Brings it up.
    pub fn up(&mut self) -> io::Result<()> {
        self.request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        self.set(libc::SIOCSIFFLAGS)
    }

    /// Gives it an address in the network that the first `prefix` bits name.
    pub fn set_address(&mut self, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        self.request.ifr_ifru.ifru_addr = socket_address(address);
        self.set(libc::SIOCSIFADDR)?;
        self.request.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::from_bits(mask));
        self.set(libc::SIOCSIFNETMASK)
    }

    fn set(&self, what: libc::c_ulong) -> io::Result<()> {
        // SAFETY: these requests read one ifreq from the given place.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), what as _, &self.request) }).map(drop)
    }

    /// Sends by `gateway` whatever no other route takes.
    pub fn set_gateway(&self, gateway: Ipv4Addr) -> io::Result<()> {
        // SAFETY: rtentry is plain data for which all zeros is a value.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = socket_address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        // SAFETY: SIOCADDRT reads one rtentry from the given place; it names no device.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCADDRT as _, &route) })
            .map(drop)
    }
}

/// The address as these requests take it.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of the same size; the family says which one it is.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) }
}

/// Kills every process but this one.
pub fn kill_everyone() {
    // SAFETY: plain system call; the kernel spares the caller and, in a PID namespace, its init.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// A timer that never fires and is cancelled by the kernel whenever the clock is set.
#[derive(Debug)]
pub struct ClockWatch(OwnedFd);

impl ClockWatch {
    /// Starts watching the real-time clock.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor it returns belongs to nobody else.
        let fd = unsafe {
            let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
            OwnedFd::from_raw_fd(check(libc::timerfd_create(libc::CLOCK_REALTIME, flags))?)
        };
        let watch = Self(fd);
        watch.arm()?;
        Ok(watch)
    }

    fn arm(&self) -> io::Result<()> {
        // The year 2255: shortly before the kernel's own clock ends.
        let never = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: 9_000_000_000, tv_nsec: 0 },
        };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: timerfd_settime reads one itimerspec; the old value is not asked for.
        check(unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), flags, &never, std::ptr::null_mut())
        })?;
        Ok(())
    }

    /// Whether the clock was set since the last call (or since the start). Fails safe: an answer
    /// that cannot be had counts as yes.
    pub fn was_set(&self) -> bool {
        let mut ticks = [0u8; 8];
        // SAFETY: the buffer is valid for its length during the call.
        let read = unsafe { libc::read(self.0.as_raw_fd(), ticks.as_mut_ptr().cast(), 8) };
        let quiet = read < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
        if !quiet {
            // Without a timer every read fails in another way, and so counts as set.
            let _ = self.arm();
        }
        !quiet
    }
}

/// Everything a child needs between `fork` and `execve`, where nothing may be allocated.
#[derive(Debug)]
pub struct Child<'a> {
    /// Program paths to try in order, as `execvp` would.
    pub candidates: Vec<CString>,
    /// Arguments, the program's name first.
    pub argv: Vec<CString>,
    /// Environment, `NAME=value`.
    pub envp: Vec<CString>,
    /// Working directory inside the namespace.
    pub cwd: CString,
    /// Mount namespace to join.
    pub namespace: Option<RawFd>,
    /// `cgroup.procs` of the cgroup to join, open for writing.
    pub cgroup: Option<RawFd>,
    /// Cgroup namespace to join.
    pub mark: Option<RawFd>,
    /// Who it runs as; the agent's own user when absent.
    pub user: Option<&'a Identity>,
    /// What it may not do.
    pub confinement: Option<&'a Confinement>,
    /// Standard input, output and error; all above 2.
    pub stdio: [RawFd; 3],
    /// Standard input is a terminal that becomes its controlling one.
    pub terminal: bool,
    /// Where a failure is reported; closed by `execve`.
    pub report: RawFd,
}

/// Where a child failed before its program ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Joining the namespace or cgroup.
    Setup,
    /// Changing to the working directory.
    Cwd,
    /// Executing the program.
    Exec,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Setup, Self::Cwd, Self::Exec];

    /// Reads what a failed child wrote to its report pipe: the stage and the error number. An empty
    /// message means that the program runs.
    pub fn parse(message: &[u8]) -> Option<(Self, i32)> {
        let message: [u8; 8] = message.try_into().ok()?;
        let (stage, errno) = message.split_at(4);
        let stage = *Self::ALL.get(u32::from_ne_bytes(stage.try_into().ok()?) as usize)?;
        Some((stage, i32::from_ne_bytes(errno.try_into().ok()?)))
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Starts `child` and returns its pid. Whoever reaps children gets its status.
pub fn spawn(child: &Child<'_>) -> io::Result<i32> {
    let (argv, envp) = (pointers(&child.argv), pointers(&child.envp));
    let shell = c"/bin/sh";
    // What execvp does with a file that is no binary and has no `#!`.
    let mut script = vec![shell.as_ptr(), shell.as_ptr()];
    script.extend(argv.iter().skip(1));
    // SAFETY: the child calls only async-signal-safe functions and never returns: it executes a
    // program or exits. All pointers were prepared above and stay valid in its copy of memory.
    unsafe {
        let pid = check(libc::fork())?;
        if pid > 0 {
            return Ok(pid);
        }
        let (stage, errno) = become_program(child, &argv, &envp, &mut script);
        let mut message = [0; 8];
        message[..4].copy_from_slice(&(stage as u32).to_ne_bytes());
        message[4..].copy_from_slice(&errno.to_ne_bytes());
        libc::write(child.report, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Runs in the child only. Returns where and why it failed.
///
/// # Safety
/// `argv`, `envp` and `script` are null-terminated arrays of valid strings; the caller is a freshly
/// forked child.
unsafe fn become_program(
    child: &Child<'_>,
    argv: &[*const c_char],
    envp: &[*const c_char],
    script: &mut [*const c_char],
) -> (Stage, i32) {
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: async-signal-safe calls on valid descriptors and strings.
    unsafe {
        if let Some(cgroup) = child.cgroup
            && libc::write(cgroup, c"0".as_ptr().cast(), 1) != 1
        {
            return (Stage::Setup, errno());
        }
        libc::setsid();
        libc::umask(0o022);
        for (to, from) in (0..).zip(child.stdio) {
            if libc::dup2(from, to) < 0 {
                return (Stage::Setup, errno());
            }
        }
        if child.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
            return (Stage::Setup, errno());
        }
        if let Some(namespace) = child.namespace
            && libc::setns(namespace, libc::CLONE_NEWNS) < 0
        {
            return (Stage::Setup, errno());
        }
        if let Some(mark) = child.mark
            && libc::setns(mark, libc::CLONE_NEWCGROUP) < 0
        {
            return (Stage::Setup, errno());
        }
        reset_signals();
        set_limits();
        if let Some(user) = child.user
            && !become_user(user)
        {
            return (Stage::Setup, errno());
        }
        // As the user, who may not be let in.
        if libc::chdir(child.cwd.as_ptr()) < 0 {
            return (Stage::Cwd, errno());
        }
        let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_uint;
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, flags);
        if let Some(confinement) = child.confinement
            && !confine(confinement)
        {
            return (Stage::Setup, errno());
        }

        let mut failure = libc::ENOENT;
        for candidate in &child.candidates {
            libc::execve(candidate.as_ptr(), argv.as_ptr(), envp.as_ptr());
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::ENOEXEC => {
                    script[1] = candidate.as_ptr();
                    libc::execve(script[0], script.as_ptr(), envp.as_ptr());
                    return (Stage::Exec, libc::ENOEXEC);
                }
                // As execvp: an unusable file is remembered while a later directory may do.
                libc::EACCES => failure = libc::EACCES,
                other => return (Stage::Exec, other),
            }
        }
        (Stage::Exec, failure)
    }
}

/// Becomes a user for good. The outputs become the user's, who may open them again by their names in
/// `/dev` and `/proc`.
///
/// # Safety
/// As for [`become_program`].
unsafe fn become_user(user: &Identity) -> bool {
    let (groups, count) = (user.groups.as_ptr(), user.groups.len());
    // SAFETY: async-signal-safe calls; the kernel reads `count` numbers. Made directly: the C library
    // would ask all threads to follow, which a forked child does not have.
    unsafe {
        libc::fchown(1, user.uid, user.gid) == 0
            && libc::fchown(2, user.uid, user.gid) == 0
            && libc::syscall(libc::SYS_setgroups, count, groups) == 0
            && libc::syscall(libc::SYS_setgid, user.gid) == 0
            && libc::syscall(libc::SYS_setuid, user.uid) == 0
    }
}

/// Processes and threads in a sandbox, where its user is not the host's root, for whom that limit does
/// not hold (setrlimit(2)). Since Linux 5.14 each user namespace counts for itself.
const MOST_TASKS: libc::rlim_t = 4096;

/// Gives up all rights but those that are left, for good, and refuses system calls from here on.
///
/// # Safety
/// As for [`become_program`].
unsafe fn confine(confinement: &Confinement) -> bool {
    /// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits, in two halves.
    const VERSION: u32 = 0x2008_0522;
    let rights = confinement.rights;
    let (low, high) = (rights as u32, (rights >> 32) as u32);
    let header = [VERSION, 0];
    // Effective, permitted and inheritable.
    let sets = [low, low, 0, high, high, 0];
    let program = libc::sock_fprog {
        len: confinement.filter.len() as libc::c_ushort,
        filter: confinement.filter.as_ptr().cast_mut(),
    };
    let tasks = libc::rlimit { rlim_cur: MOST_TASKS, rlim_max: MOST_TASKS };
    // SAFETY: async-signal-safe calls; the kernel reads the limit, the header, the sets and the
    // program, which are valid during the calls.
    unsafe {
        libc::setrlimit(libc::RLIMIT_NPROC, &tasks);
        for bit in (0..64).filter(|bit| rights & (1 << bit) == 0) {
            // Bits that the kernel does not know are refused.
            if libc::prctl(libc::PR_CAPBSET_DROP, bit) < 0 && errno_is_not(libc::EINVAL) {
                return false;
            }
        }
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

fn errno_is_not(errno: c_int) -> bool {
    io::Error::last_os_error().raw_os_error() != Some(errno)
}

/// # Safety
/// As for [`become_program`].
unsafe fn reset_signals() {
    // SAFETY: async-signal-safe calls; failures (SIGKILL, SIGSTOP) leave the default in place.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// The limits systemd gives: programs that use `select` are safe, others may raise the soft limit.
///
/// # Safety
/// As for [`become_program`].
unsafe fn set_limits() {
    // SAFETY: async-signal-safe calls that read one rlimit each.
    unsafe {
        let files = libc::rlimit { rlim_cur: 1024, rlim_max: 524_288 };
        libc::setrlimit(libc::RLIMIT_NOFILE, &files);
        let core = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
        libc::setrlimit(libc::RLIMIT_CORE, &core);
    }
}

/// Lets the agent itself hold many descriptors: one a level of a deep directory walk.
pub fn raise_own_limits() {
    let files = libc::rlimit { rlim_cur: 524_288, rlim_max: 524_288 };
    // SAFETY: setrlimit reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &files) };
}

/// Sets the real-time clock to `nanos` since 1970.
pub fn set_clock(nanos: u64) -> io::Result<()> {
    let time = libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    // SAFETY: clock_settime reads one timespec.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) })?;
    Ok(())
}

/// `struct rand_pool_info` of `include/uapi/linux/random.h`, with its bytes.
#[repr(C)]
struct RandomPool {
    entropy_count: c_int,
    buf_size: c_int,
    bytes: [u8; 32],
}

/// Mixes random bytes into the kernel's generator, and has all that it gives from now on depend on them
/// (random(4): `RNDADDENTROPY`, `RNDRESEEDCRNG`).
pub fn stir(entropy: &[u8; 32]) -> io::Result<()> {
    let random = std::fs::File::options().write(true).open("/dev/urandom")?;
    let pool = RandomPool { entropy_count: 8 * 32, buf_size: 32, bytes: *entropy };
    let add = nix::request_code_write!(b'R', 0x03, 2 * size_of::<c_int>());
    let reseed = nix::request_code_none!(b'R', 0x07);
    // SAFETY: the first reads one `rand_pool_info` and as many bytes as it says; the second reads nothing.
    unsafe {
        check(libc::ioctl(random.as_raw_fd(), add, &pool))?;
        check(libc::ioctl(random.as_raw_fd(), reseed))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_tells_where_it_failed() {
        let mut message = (Stage::Cwd as u32).to_ne_bytes().to_vec();
        message.extend(libc::ENOENT.to_ne_bytes());
        assert_eq!(Stage::parse(&message), Some((Stage::Cwd, libc::ENOENT)));
        assert_eq!(Stage::parse(b""), None);
        assert_eq!(Stage::parse(&[9; 8]), None);
    }

    #[test]
    fn randomness_is_stirred_by_whoever_may() {
        let refused = stir(&[7; 32]).err().map(|error| error.kind());
        assert!(refused.is_none_or(|kind| kind == io::ErrorKind::PermissionDenied), "{refused:?}");
    }

    #[test]
    fn an_untouched_clock_is_quiet() {
        let watch = ClockWatch::new().unwrap();
        assert!(!watch.was_set());
    }
}
