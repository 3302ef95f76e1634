//! QEMU's microvm machine: no firmware to speak of, no PCI, devices on virtio-mmio.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;

use crate::network::{self, GATEWAY_IP, GUEST_IP, GUEST_MAC, GUEST_PREFIX, NAMESERVER_IP};
use crate::sys::{self, Confinement, Identity};
use crate::vsock::{MissingService, SocketDir, VsockDevice};
use crate::{Error, MachineSpec, Result, shim};

use super::cgroup::{Cgroup, Limits};
use super::kernel_line;
use super::program::find_qemu;
use super::{Backend, RunningVm};

/// Address space that QEMU uses beside the guest's memory: a GiB for translated code, a stack for
/// each of its threads, its libraries.
const OVERHEAD: u64 = 4 << 30;
/// The part of it that is in use at most: translated code, buffers, page tables.
const RESIDENT: u64 = 2 << 30;
/// Threads beside those of virtual CPUs: QEMU's pool for disks has 64.
const THREADS: u64 = 128;

/// How guest code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    Kvm,
    Tcg,
}

/// QEMU with one accelerator.
#[derive(Debug)]
pub(crate) struct Qemu {
    pub(crate) accel: Accel,
}

impl Backend for Qemu {
    fn boot(&self, spec: &MachineSpec, dir: &Path, missing: MissingService) -> Result<RunningVm> {
        let mut line = CommandLine::new(self.accel, spec.vcpu_count, spec.mem_mib)?;
        line.kernel(&spec.kernel, Some(&spec.initrd), &spec.cmdline_extra)?;
        line.disk("root", &spec.root_image, true)?;
        line.disk("scratch", &spec.scratch, false)?;
        let console = line.console().map_err(Error::io("make a console for", dir))?;

        if spec.network {
            let plug = network::start(shim::log).map_err(Error::io("filter frames of", dir))?;
            line.network(plug);
        }
        let sockets = SocketDir::open(dir).map_err(Error::io("open", dir))?;
        let (device, plug) =
            VsockDevice::start(sockets, missing).map_err(Error::io("serve vsock in", dir))?;
        line.vsock(plug.vmm_end);

        let cgroup = Cgroup::make(dir, line.limits)?;
        let procs = cgroup.as_ref().map(Cgroup::procs).transpose();
        let child = line.spawn(procs.map_err(Error::io("join the cgroup of", dir))?)?;
        Ok(RunningVm {
            child,
            console: Box::new(console),
            ready: plug.ready,
            device: Box::new((device, cgroup)),
        })
    }
}

/// A QEMU command line. Files go to QEMU as open descriptors: it needs no path of the host, and
/// no name, however odd or long, meets its option parser.
pub(crate) struct CommandLine {
    command: Command,
    program: PathBuf,
    accel: Accel,
    /// What QEMU is kept from.
    confinement: Confinement,
    /// What it may use, where a cgroup can bound that.
    limits: Limits,
    passed: Vec<OwnedFd>,
}

impl CommandLine {
    /// The machine itself, confined by QEMU's own system call filter.
    pub(crate) fn new(accel: Accel, vcpu_count: u32, mem_mib: u32) -> Result<CommandLine> {
        let program = find_qemu()?;
        let mut command = Command::new(&program);
        let (accel_name, cpu) = match accel {
            Accel::Kvm => ("kvm", "host"),
            // A guest that sees fast `rep movsb` copies with it, which translated code does
            // byte by byte: without it streams from the guest are three to five times as fast.
            Accel::Tcg => ("tcg", "max,-erms,-fsrm"),
        };
        command.env_clear().current_dir("/");
        command.args(["-M", "microvm,x-option-roms=off,rtc=on,memory-backend=mem"]);
        command.args(["-accel", accel_name, "-cpu", cpu]);
        command.args(["-smp", &vcpu_count.to_string(), "-m", &format!("{mem_mib}M")]);
        // Shared, because the vsock device reads and writes the guest's memory too.
        command.arg("-object");
        command.arg(format!("memory-backend-memfd,id=mem,size={mem_mib}M,share=on"));
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-object", "rng-builtin,id=rng", "-device", "virtio-rng-device,rng=rng"]);
        command.arg("-sandbox");
        command.arg("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        let confinement = Confinement {
            identity: unprivileged(accel),
            network: false,
            address_space: (u64::from(mem_mib) << 20) + OVERHEAD,
            // QEMU's `ftruncate` of the guest's memory counts as writing.
            file_size: u64::from(mem_mib) << 20,
        };
        let limits = Limits {
            memory: (u64::from(mem_mib) << 20) + RESIDENT,
            tasks: u64::from(vcpu_count) + THREADS,
            // One beside the guest's own, for what serves its devices.
            cpus: vcpu_count + 1,
        };
        Ok(CommandLine { command, program, accel, confinement, limits, passed: Vec::new() })
    }

    /// What is booted. Debian's kernel keeps its ACPI, by which it finds the virtio devices.
    pub(crate) fn kernel(
        &mut self,
        kernel: &Path,
        initrd: Option<&Path>,
        extra: &[String],
    ) -> Result<()> {
        let kernel = self.pass_boot_file(kernel)?;
        self.command.arg("-kernel").arg(format!("/proc/self/fd/{kernel}"));
        if let Some(initrd) = initrd {
            let initrd = self.pass_boot_file(initrd)?;
            self.command.arg("-initrd").arg(format!("/proc/self/fd/{initrd}"));
        }
        let mut words = kernel_line::words();
        words.push("reboot=t".to_owned());
        if self.accel == Accel::Tcg {
            // On a busy host the guest cannot calibrate its clock and hangs now and then.
            words.push(format!("tsc_early_khz={}", time_stamp_khz()));
            words.push("tsc=reliable".to_owned());
            // The attacks these guard against need the hardware that is being emulated.
            words.push("mitigations=off".to_owned());
            words.push("noreplace-smp".to_owned());
        }
        words.extend_from_slice(extra);
        self.command.arg("-append").arg(words.join(" "));
        Ok(())
    }

    fn disk(&mut self, name: &str, path: &Path, read_only: bool) -> Result<()> {
        let file = File::options().read(true).write(!read_only).open(path);
        let file = file.map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("open", path))?.len();
        self.confinement.file_size = self.confinement.file_size.max(size);
        let fd = self.pass(file.into());
        self.command.arg("-add-fd").arg(format!("fd={fd},set={fd},opaque={name}"));
        let more = if read_only { "" } else { r#","discard":"unmap","detect-zeroes":"unmap""# };
        self.command.arg("-blockdev").arg(format!(
            r#"{{"driver":"raw","node-name":"{name}","read-only":{read_only}{more},"file":{{"driver":"file","filename":"/dev/fdset/{fd}","read-only":{read_only},"discard":"unmap"}}}}"#
        ));
        self.command.arg("-device").arg(format!("virtio-blk-device,drive={name},serial={name}"));
        Ok(())
    }

    /// Connects the serial console; the returned end reads what the guest prints.
    pub(crate) fn console(&mut self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let fd = self.pass(theirs.into());
        self.command.arg("-chardev").arg(format!("socket,id=console,fd={fd}"));
        self.command.args(["-serial", "chardev:console"]);
        Ok(ours)
    }

    /// The guest's card at one end of the filter, slirp at the other: nothing in QEMU joins them. A
    /// hub is what connects a socket to slirp.
    fn network(&mut self, plug: network::Plug) {
        self.confinement.network = true;
        let net = Ipv4Addr::from_bits(GATEWAY_IP.to_bits() & (u32::MAX << (32 - GUEST_PREFIX)));
        let guest = self.pass(plug.guest);
        let slirp = self.pass(plug.slirp);
        self.command.arg("-netdev").arg(format!("socket,id=guest,fd={guest}"));
        self.command.arg("-device").arg(format!("virtio-net-device,netdev=guest,mac={GUEST_MAC}"));
        self.command.arg("-netdev").arg(format!("socket,id=filter,fd={slirp}"));
        self.command.arg("-netdev").arg(format!(
            "user,id=slirp,ipv6=off,net={net}/{GUEST_PREFIX},host={GATEWAY_IP},dns={NAMESERVER_IP},dhcpstart={GUEST_IP}"
        ));
        self.command.args(["-netdev", "hubport,id=filter-port,hubid=0,netdev=filter"]);
        self.command.args(["-netdev", "hubport,id=slirp-port,hubid=0,netdev=slirp"]);
    }

    /// The last device, because the VMM counts as ready once it is set up.
    fn vsock(&mut self, vmm_end: OwnedFd) {
        let fd = self.pass(vmm_end);
        self.command.arg("-chardev").arg(format!("socket,id=vsock,fd={fd}"));
        self.command.args(["-device", "vhost-user-vsock-device,chardev=vsock"]);
    }

    /// Starts QEMU, in the cgroup whose `cgroup.procs` is given. It dies with the calling thread; its
    /// standard error is piped.
    pub(crate) fn spawn(mut self, cgroup: Option<OwnedFd>) -> Result<std::process::Child> {
        let keep = self.passed.iter().map(AsRawFd::as_raw_fd).collect();
        sys::bind_child(&mut self.command, keep, Some(self.confinement), cgroup);
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let spawned = sys::in_own_pids(|| self.command.spawn());
        spawned.map_err(Error::io("run", &self.program))
    }

    /// The kernel and the initramfs, which QEMU opens again by their descriptors: as somebody
    /// else, who may not read every file, from a copy.
    fn pass_boot_file(&mut self, path: &Path) -> Result<i32> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let meta = file.metadata().map_err(Error::io("open", path))?;
        if self.confinement.identity.is_some() && meta.permissions().mode() & 0o004 == 0 {
            let copy = rustix::fs::memfd_create("boot", MemfdFlags::CLOEXEC);
            let mut copy = File::from(copy.map_err(Error::io("copy", path))?);
            io::copy(&mut file, &mut copy).map_err(Error::io("copy", path))?;
            return Ok(self.pass(copy.into()));
        }
        Ok(self.pass(file.into()))
    }

    fn pass(&mut self, fd: OwnedFd) -> i32 {
        self.passed.push(fd);
        self.passed.last().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// Whom QEMU becomes when its owner is root: nobody, in the group that may use KVM if it needs
/// it. A `/dev/kvm` that is root's alone leaves root, within the system call filter.
fn unprivileged(accel: Accel) -> Option<Identity> {
    const NOBODY: u32 = 65534;
    // Root of a user namespace is nobody special outside, and may have no other user to become.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let real = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if !real || !rustix::process::geteuid().is_root() {
        return None;
    }
    let nobody = |gid| Some(Identity { uid: NOBODY, gid });
    if accel == Accel::Tcg {
        return nobody(NOBODY);
    }
    let kvm = Path::new("/dev/kvm").metadata().ok()?;
    let mode = kvm.permissions().mode();
    if mode & 0o006 == 0o006 {
        nobody(NOBODY)
    } else if mode & 0o060 == 0o060 && kvm.gid() != 0 {
        nobody(kvm.gid())
    } else {
        None
    }
}

/// The rate of the host's time stamp counter, in kHz, measured over 5 ms: to some 20 ppm, as both
/// ends are known to a tenth of a microsecond.
fn time_stamp_khz() -> u64 {
    let (start, from) = both_clocks();
    std::thread::sleep(Duration::from_millis(5));
    let (end, to) = both_clocks();
    let nanos = end.duration_since(start).as_nanos().max(1) as u64;
    to.wrapping_sub(from).saturating_mul(1_000_000) / nanos
}

/// One moment by the system's clock and by the counter: of some tries that in which the least came
/// between.
fn both_clocks() -> (Instant, u64) {
    let once = || {
        let before = sys::time_stamp();
        let now = Instant::now();
        let took = sys::time_stamp().wrapping_sub(before);
        (took, now, before.wrapping_add(took / 2))
    };
    let (_, now, ticks) = (0..8).map(|_| once()).min().unwrap_or_else(once);
    (now, ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_runs_at_a_plausible_rate() {
        let khz = time_stamp_khz();
        assert!((100_000..20_000_000).contains(&khz), "{khz}");
    }
}
