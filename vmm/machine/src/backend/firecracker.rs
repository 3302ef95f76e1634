//! Firecracker: microVMs on KVM, configured by requests to a Unix socket.
//!
//! ```text
//! spawn ─▶ API socket ─▶ logger, metrics, machine, kernel, drives, vsock, entropy ─▶ InstanceStart
//! host client ── DIR/vsock ── relay, here ─▶ INSIDE/firecracker.vsock, Firecracker's own
//! guest ─▶ INSIDE/firecracker.vsock_PORT ── relay ─▶ DIR/vsock_PORT, a missing daemon started before
//! ```
//!
//! A machine that has been saved (`saved.rs`) is restored in place of the requests from the machine on.
//!
//! INSIDE is where Firecracker works, and all names that it gets are relative to: the machine's directory,
//! or its jail when the owner is root. A socket's name has 108 bytes at most, and a home directory may be
//! longer. Its system call filters are its own and on.

mod api;
mod client;
mod jail;
mod logs;
mod relay;
mod saved;
mod version;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use client::Client;
use jail::{JAIL, Jail};
use logs::Log;
use rustix::process::Signal;

use super::cgroup::{Cgroup, Limits};
use super::{Backend, RunningVm};
use crate::process::ProcessId;
use crate::vsock::{MissingService, SOCKET, SocketDir};
use crate::{Error, MachineSpec, Result, records, sys};

pub(crate) use saved::save;
pub use version::{FIRECRACKER_VERSIONS, FirecrackerFacts, firecracker_facts};

/// What it takes requests on.
const API: &str = "firecracker.api";
/// Its end of the vsock device.
const VSOCK: &str = "firecracker.vsock";
/// What it logs, and what it counts; and where it writes them to.
const LOG: &str = "firecracker.log";
const METRICS: &str = "firecracker.metrics";
const LOG_PIPE: &str = "firecracker.log-pipe";
const METRICS_PIPE: &str = "firecracker.metrics-pipe";
/// Which process is in the jail, while one is.
const JAILED: &str = "jailed.json";
/// Memory that Firecracker has beside the guest's, page cache of its disks among it.
const RESIDENT: u64 = 256 << 20;
/// Its threads: one for each virtual CPU, and a few.
const TASKS: u64 = 64;
/// Most virtual processors that it gives a machine; more than one must be even.
const MAX_VCPUS: u32 = 32;

/// Firecracker, which must be installed.
#[derive(Debug)]
pub(crate) struct Firecracker;

impl Backend for Firecracker {
    fn boot(&self, spec: &MachineSpec, dir: &Path, missing: MissingService) -> Result<RunningVm> {
        boot(&firecracker_facts()?, spec, dir, missing)
    }
}

/// Refuses what Firecracker cannot run here.
pub(super) fn check(spec: &MachineSpec) -> Result<()> {
    firecracker_facts()?;
    let vcpus = spec.vcpu_count;
    if vcpus > MAX_VCPUS || (vcpus > 1 && vcpus % 2 == 1) {
        let (what, range) = ("the number of vCPUs on Firecracker", "1, or even and at most 32");
        return Err(Error::OutOfRange { what, range, value: vcpus.into() });
    }
    Ok(())
}

/// Ends a Firecracker whose shim was killed, and removes its sockets and its jail.
pub(crate) fn remove_left(dir: &Path) -> Result<()> {
    // One in a jail does not die with its shim: who changes the user loses that bond (prctl(2)).
    if let Some(vmm) = records::read::<ProcessId>(dir, JAILED)? {
        if let Some(process) = vmm.open() {
            // One that has just ended is no error.
            let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
        }
        records::remove(dir, JAILED)?;
    }
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("read", dir))?,
    };
    saved::tidy(dir)?;
    let ours = [API, LOG_PIPE, METRICS_PIPE];
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = |name: &&str| ours.contains(name) || name.starts_with(VSOCK);
        if let Some(name) = name.to_str().filter(ours) {
            records::remove(dir, name)?;
        }
    }
    match fs::remove_dir_all(dir.join(JAIL)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", dir.join(JAIL))(error))
        }
        _ => Ok(()),
    }
}

/// Boots with the programs of `facts`. Nothing is left running, and no socket, after a failure.
fn boot(
    facts: &FirecrackerFacts,
    spec: &MachineSpec,
    dir: &Path,
    missing: MissingService,
) -> Result<RunningVm> {
    remove_left(dir)?;
    let mut started = Started { child: None, kept: false, dir };
    let memory = (u64::from(spec.mem_mib) << 20) + RESIDENT;
    let limits = Limits { memory, tasks: TASKS, cpus: spec.vcpu_count + 1 };
    let (jail, spec) = match &facts.jailer {
        Some(jailer) => {
            let (jail, inside) = Jail::make(dir, jailer, &facts.path, spec)?;
            (Some(jail), inside)
        }
        None => (None, saved::lay_out(spec, dir)?),
    };
    let inside = jail.as_ref().map_or(dir, |jail| &jail.root);
    let mut logs = Vec::new();
    for (pipe, file) in [(LOG_PIPE, LOG), (METRICS_PIPE, METRICS)] {
        let log = Log::make(inside.join(pipe), &dir.join(file));
        let log = log.map_err(Error::io("create", inside.join(pipe)))?;
        jail.as_ref().map_or(Ok(()), |jail| jail.give(log.pipe()))?;
        logs.push(log);
    }
    let relay = relay::start((dir, inside), jail.as_ref(), &spec.host_ports, missing, logs);
    let relay = relay.map_err(Error::io("serve sockets in", dir))?;

    let mut command = match &jail {
        Some(jail) => jail.command()?,
        None => {
            let mut command = Command::new(&facts.path);
            command.args(["--api-sock", API, "--id", "pyro"]).current_dir(dir);
            command
        }
    };
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let cgroup = Cgroup::make(dir, limits)?;
    let procs = cgroup.as_ref().map(Cgroup::procs).transpose();
    let procs = procs.map_err(Error::io("join the cgroup of", dir))?;
    sys::bind_child(&mut command, Vec::new(), None, procs);
    let spawned = match &jail {
        Some(_) => sys::in_own_pids(|| command.spawn()),
        None => command.spawn(),
    };
    let child = started.child.insert(spawned.map_err(Error::io("run", command.get_program()))?);
    if jail.is_some() {
        match ProcessId::of(child.id() as i32) {
            Ok(vmm) => records::write(dir, JAILED, &vmm)?,
            // It has ended already: its socket will be missed, and its last words told.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("identify the VMM of", dir)(error)),
        }
    }

    let sockets = SocketDir::open(inside).map_err(Error::io("open", inside))?;
    let mut client = Client::connect(&sockets, API, child)?;
    let requests = if spec.restore.is_some() { api::restore() } else { api::boot(&spec) };
    for request in requests {
        client.send(&request)?;
    }
    saved::tidy(dir)?;

    // It is set up: who waits for that sees the end at once.
    let (ready, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Error::io("watch the VMM of", dir)(std::io::Error::from(errno)))?;
    let console: Box<dyn std::io::Read + Send> = match child.stdout.take() {
        Some(console) => Box::new(console),
        None => Box::new(std::io::empty()),
    };
    let child = started.keep();
    Ok(RunningVm { child, console, ready, device: Box::new((relay, cgroup)) })
}

/// A Firecracker whose boot may still fail.
struct Started<'a> {
    child: Option<Child>,
    kept: bool,
    dir: &'a Path,
}

impl Started<'_> {
    fn keep(mut self) -> Child {
        self.kept = true;
        self.child.take().expect("it was started")
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !self.kept {
            let _ = remove_left(self.dir);
            let _ = records::remove(self.dir, SOCKET);
        }
    }
}

#[cfg(test)]
mod description;
#[cfg(test)]
mod jail_tests;
#[cfg(test)]
mod tests;
