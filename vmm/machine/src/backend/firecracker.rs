//! Firecracker: microVMs on KVM, configured by requests to a Unix socket.
//!
//! ```text
//! spawn ─▶ API socket ─▶ logger, metrics, machine, kernel, drives, vsock, entropy ─▶ InstanceStart
//! host client ── DIR/vsock (link) ─▶ DIR/firecracker.vsock, Firecracker's own
//! guest ─▶ DIR/firecracker.vsock_PORT ── relay, here ─▶ DIR/vsock_PORT, a missing daemon started before
//! ```
//!
//! All names are relative to the machine's directory, where Firecracker is started: a socket's name has
//! 108 bytes at most, and a home directory may be longer. Its system call filters are its own and on.

mod api;
mod client;
mod relay;
mod version;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use client::Client;

use super::{Backend, RunningVm};
use crate::vsock::{MissingService, SOCKET, SocketDir};
use crate::{Error, MachineSpec, Result, records, sys};

pub use version::{FIRECRACKER_VERSIONS, FirecrackerFacts, firecracker_facts};

/// What it takes requests on.
const API: &str = "firecracker.api";
/// Its end of the vsock device.
const VSOCK: &str = "firecracker.vsock";
/// What it logs, and what it counts.
const LOG: &str = "firecracker.log";
const METRICS: &str = "firecracker.metrics";
/// Most virtual processors that it gives a machine; more than one must be even.
const MAX_VCPUS: u32 = 32;

/// Firecracker, which must be installed.
#[derive(Debug)]
pub(crate) struct Firecracker;

impl Backend for Firecracker {
    fn boot(&self, spec: &MachineSpec, dir: &Path, missing: MissingService) -> Result<RunningVm> {
        boot(&firecracker_facts()?.path, spec, dir, missing)
    }
}

/// Refuses what Firecracker cannot run here.
pub(super) fn check(spec: &MachineSpec) -> Result<()> {
    firecracker_facts()?;
    if rustix::process::geteuid().is_root() {
        return Err(Error::FirecrackerRoot);
    }
    if spec.network {
        return Err(Error::FirecrackerNetwork);
    }
    let vcpus = spec.vcpu_count;
    if vcpus > MAX_VCPUS || (vcpus > 1 && vcpus % 2 == 1) {
        let (what, range) = ("the number of vCPUs on Firecracker", "1, or even and at most 32");
        return Err(Error::OutOfRange { what, range, value: vcpus.into() });
    }
    Ok(())
}

/// Removes the sockets of a Firecracker that was killed with its shim.
pub(crate) fn remove_left(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("read", dir))?,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| *name == API || name.starts_with(VSOCK)) {
            records::remove(dir, name)?;
        }
    }
    Ok(())
}

/// Boots with the program at `path`. Nothing is left running, and no socket, after a failure.
fn boot(path: &Path, spec: &MachineSpec, dir: &Path, missing: MissingService) -> Result<RunningVm> {
    remove_left(dir)?;
    for name in [LOG, METRICS] {
        let path = dir.join(name);
        fs::write(&path, b"").map_err(Error::io("create", &path))?;
    }
    let sockets = SocketDir::open(dir).map_err(Error::io("open", dir))?;
    let mut command = Command::new(path);
    command.args(["--api-sock", API, "--id", "pyro"]).env_clear().current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    sys::bind_child(&mut command, Vec::new(), None, None);
    let child = command.spawn().map_err(Error::io("run", path))?;
    let mut started = Started { child: Some(child), dir };

    let relay = relay::start(dir, VSOCK, &spec.host_ports, missing);
    let relay = relay.map_err(Error::io("serve sockets in", dir))?;
    let mut client = Client::connect(&sockets, API, started.child())?;
    for request in api::boot(spec) {
        client.send(&request)?;
    }
    let link = dir.join(SOCKET);
    records::remove(dir, SOCKET)?;
    symlink(VSOCK, &link).map_err(Error::io("create", &link))?;

    // It is set up: who waits for that sees the end at once.
    let (ready, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Error::io("watch the VMM of", dir)(std::io::Error::from(errno)))?;
    let console: Box<dyn std::io::Read + Send> = match started.child().stdout.take() {
        Some(console) => Box::new(console),
        None => Box::new(std::io::empty()),
    };
    let child = started.keep();
    Ok(RunningVm { child, console, ready, device: Box::new(relay) })
}

/// A Firecracker whose boot may still fail.
struct Started<'a> {
    child: Option<Child>,
    dir: &'a Path,
}

impl Started<'_> {
    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("taken only by `keep`, which ends it")
    }

    fn keep(mut self) -> Child {
        self.child.take().expect("taken once")
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = remove_left(self.dir);
            let _ = records::remove(self.dir, SOCKET);
        }
    }
}

#[cfg(test)]
mod description;
#[cfg(test)]
mod tests;
