//! No machine at all: the agent in Linux namespaces, made by bubblewrap (`bwrap`).
//!
//! The guest shares the host's kernel, so this is for code that errs, not for code that attacks. It
//! sees the environment's directory, read-only, a scratch directory, and a `/proc` and `/dev` of its
//! own; no file, process, network or socket of the host, but the one that it was started with.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::handover::Handover;
use crate::vsock::{MissingService, SocketDir};
use crate::{Error, MachineSpec, Result, sys};

use super::cgroup::{Cgroup, Limits};
use super::program::find;
use super::{Backend, RunningVm};

const PROGRAM: &str = "bwrap";
const FUSE: &str = "/dev/fuse";
/// Processes and threads of a sandbox.
const TASKS: u64 = 4096;

/// Every namespace that bubblewrap makes but that of cgroups, which the agent makes for each command.
/// The first process is root in the user namespace and nobody special outside.
const NAMESPACES: [&str; 11] = [
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--uid",
    "0",
    "--gid",
    "0",
    "--die-with-parent",
    "--as-pid-1",
];

/// What the agent needs in its user namespace to mount, to enter namespaces and to see whose
/// processes are whose; and what commands get of it (`confine.rs` of the agent).
const RIGHTS: [&str; 13] = [
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_SETFCAP",
];

/// Files of `/proc` by which root changes the kernel. Their owner is the host's root; where that is
/// who runs pyro, no right is needed to write to them.
const READ_ONLY: [&str; 2] = ["/proc/sys", "/proc/sysrq-trigger"];

/// What is known of the installed bubblewrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxFacts {
    /// The program.
    pub path: PathBuf,
    /// What it says of its version.
    pub version: String,
}

/// Whether this system lets pyro make sandboxes, tried for real once for each process that asks and
/// gets a good answer.
///
/// # Errors
/// [`Error::SandboxMissing`], [`Error::SandboxRefused`], [`Error::FuseRefused`].
pub fn sandbox_facts() -> Result<SandboxFacts> {
    static KNOWN: OnceLock<SandboxFacts> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let path = find(PROGRAM).ok_or(Error::SandboxMissing)?;
    let run = |args: &[&str]| {
        let output = Command::new(&path).args(args).env_clear().current_dir("/").output();
        output.map_err(Error::io("run", &path))
    };
    let version = run(&["--version"])?.stdout;
    let mut trial = NAMESPACES.to_vec();
    trial.extend(["--cap-add", "CAP_SYS_ADMIN", "--ro-bind", "/", "/", "--proc", "/proc"]);
    trial.extend(["--dev", "/dev", "--", "/bin/true"]);
    let tried = run(&trial)?;
    if !tried.status.success() {
        let reason = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
        return Err(Error::SandboxRefused { reason });
    }
    File::options().read(true).write(true).open(FUSE).map_err(Error::FuseRefused)?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    Ok(KNOWN.get_or_init(|| SandboxFacts { path, version }).clone())
}

/// Bubblewrap.
#[derive(Debug)]
pub(crate) struct Bwrap;

impl Backend for Bwrap {
    fn boot(&self, spec: &MachineSpec, dir: &Path, missing: MissingService) -> Result<RunningVm> {
        let program = find(PROGRAM).ok_or(Error::SandboxMissing)?;
        let sockets = SocketDir::open(dir).map_err(Error::io("open", dir))?;
        let (device, plug) =
            Handover::start(sockets, missing).map_err(Error::io("serve sockets in", dir))?;
        let mut command = Command::new(&program);
        command.env_clear().current_dir("/").args(NAMESPACES).args(["--cap-drop", "ALL"]);
        for right in RIGHTS {
            command.args(["--cap-add", right]);
        }
        let mut mount = |how: &str, from: &OsStr, at: &str| {
            command.arg(how).arg(from).arg(at);
        };
        mount("--ro-bind", spec.initrd.as_os_str(), "/init");
        mount("--ro-bind", spec.root_image.as_os_str(), "/image");
        mount("--bind", spec.scratch.as_os_str(), "/scratch");
        command.args(["--proc", "/proc", "--dev", "/dev", "--dev-bind", FUSE, FUSE]);
        for path in READ_ONLY {
            command.args(["--ro-bind-try", path, path]);
        }
        let memory = u64::from(spec.mem_mib) << 20;
        let limits = Limits { memory, tasks: TASKS, cpus: spec.vcpu_count };
        let cgroup = Cgroup::make(dir, limits)?;
        if let Some(cgroup) = &cgroup {
            command.arg("--bind").arg(cgroup.path()).arg("/cgroup");
        }
        let procs = cgroup.as_ref().map(Cgroup::procs).transpose();
        let procs = procs.map_err(Error::io("join the cgroup of", dir))?;
        let socket = plug.agent_end.as_raw_fd();
        command.args(["--", "/init", "sandbox", &socket.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        sys::bind_child(&mut command, vec![socket], None, procs);
        let child = command.spawn().map_err(Error::io("run", &program))?;
        // What the agent prints is its standard error, like bubblewrap's own complaints.
        let console = Box::new(io::empty());
        Ok(RunningVm { child, console, ready: plug.ready, device: Box::new((device, cgroup)) })
    }
}
