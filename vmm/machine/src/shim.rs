//! The per-VM process: owns the VMM and the vsock device, outlives the daemon, ends with its VM.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::backend::{self, RunningVm};
use crate::process::{ProcessId, boot_id};
use crate::records::{self, Exit, ExitReason, ShimRecord};
use crate::vsock::MissingService;
use crate::{Error, MachineSpec, Result, console, sys};

/// How long a VMM has to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);
/// Descriptors wanted: one for every stream of the device, and some.
const DESCRIPTORS: u64 = 8192;

/// What a shim says on its standard output, once, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The VMM runs and the vsock device serves.
    Ready,
    /// It does not, and this is why.
    Failed(String),
}

/// The body of the shim process for the machine in `dir`: boots what `spec.json` says, serves it
/// until it ends or SIGTERM arrives, writes `exit.json`, and leaves no process or socket behind.
///
/// Call it first thing in a process of its own, before any thread is started: it blocks signals
/// for all of them, and the VMM dies with the calling thread.
pub fn run_shim(dir: &Path) -> ExitCode {
    match Shim::boot(dir).and_then(Shim::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut reason = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                reason.push_str(": ");
                reason.push_str(&cause.to_string());
                source = cause.source();
            }
            log(&reason);
            report(&Report::Failed(reason));
            ExitCode::FAILURE
        }
    }
}

/// One line on standard error, which is the shim's log. A log that is gone is no reason to stop.
pub(crate) fn log(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whoever launched the shim may be gone; it goes on all the same.
fn report(report: &Report) {
    let Ok(mut line) = serde_json::to_vec(report) else { return };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
    // Closes the pipe to the launcher.
    let _ = rustix::stdio::dup2_stdout(io::stderr());
}

struct Shim<'a> {
    dir: &'a Path,
    record: Record<'a>,
    signals: SignalFd,
    vm: RunningVm,
    vmm: OwnedFd,
    console: JoinHandle<bool>,
    complaints: JoinHandle<String>,
    /// Held for as long as the shim lives: one machine has one owner.
    _lock: OwnedFd,
}

/// What ended the wait.
enum Woken {
    Signal,
    VmmEnded,
    Ready,
    Timeout,
}

impl<'a> Shim<'a> {
    fn boot(dir: &'a Path) -> Result<Shim<'a>> {
        // Already leads a session when it was launched properly.
        let _ = rustix::process::setsid();
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
            mask.add(signal);
        }
        let signals = mask
            .thread_block()
            .and_then(|()| {
                let mut ends = mask;
                ends.remove(Signal::SIGPIPE);
                SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            })
            .map_err(|errno| Error::io("watch signals for", dir)(io::Error::from(errno)))?;
        raise_descriptor_limit();

        let lock = records::lock(dir)?;
        let spec: MachineSpec = records::read(dir, records::SPEC)?
            .ok_or(io::ErrorKind::NotFound.into())
            .map_err(Error::io::<io::Error>("read", dir.join(records::SPEC)))?;
        spec.validate()?;
        records::remove(dir, records::EXIT)?;
        let mut record = Record::write(dir)?;

        let missing = start_daemon(spec.daemon_argv.clone());
        let mut vm = backend::of(spec.backend).boot(&spec, dir, missing)?;
        let vmm = rustix::process::pidfd_open(Pid::from_child(&vm.child), PidfdFlags::empty())
            .map_err(Error::io("watch the VMM of", dir))?;
        let id = ProcessId::of(vm.child.id() as i32).ok();
        record.name_vmm(id)?;

        let path = dir.join(records::CONSOLE);
        let from = std::mem::replace(&mut vm.console, Box::new(io::empty()));
        let console = thread::spawn(move || console::record(from, &path));
        let from = vm.child.stderr.take();
        let complaints = thread::spawn(move || match from {
            Some(from) => console::complaints(from, io::stderr()),
            None => String::new(),
        });
        Ok(Shim { dir, record, signals, vm, vmm, console, complaints, _lock: lock })
    }

    fn run(mut self) -> Result<()> {
        let mut ready = false;
        let stopped = loop {
            match self.wait(!ready, None) {
                Woken::Ready => {
                    ready = true;
                    report(&Report::Ready);
                }
                Woken::Signal => break true,
                Woken::VmmEnded => break false,
                Woken::Timeout => {}
            }
        };
        if stopped {
            self.end_vmm();
        }
        let status = self.vm.child.wait().map_err(Error::io("reap the VMM of", self.dir))?;
        // Both end with the VMM, which held the other ends of their pipes.
        let panicked = self.console.join().unwrap_or(false);
        let detail = self.complaints.join().unwrap_or_default();
        drop(self.vm.device);

        let reason = match (stopped, panicked, status.success()) {
            (true, _, _) => ExitReason::Stopped,
            (false, true, true) => ExitReason::GuestPanic,
            (false, false, true) => ExitReason::GuestShutdown,
            (false, _, false) => ExitReason::BackendFailed,
        };
        let ended_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let exit = Exit {
            reason,
            status: status.code(),
            // Of an end that was asked for, QEMU says only that it was asked.
            detail: if stopped { String::new() } else { detail.clone() },
            ended_at: ended_at.unwrap_or_default().as_secs(),
        };
        records::write(self.dir, records::EXIT, &exit)?;
        self.record.remove();
        if !ready && !stopped {
            let reason = if detail.is_empty() { status.to_string() } else { detail };
            report(&Report::Failed(reason));
        }
        Ok(())
    }

    /// Asks the VMM to end, so that it finishes what its disks are writing; then insists.
    fn end_vmm(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.vmm, rustix::process::Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.wait(false, Some(deadline)) {
                Woken::VmmEnded => return,
                Woken::Timeout => break,
                Woken::Signal | Woken::Ready => {}
            }
        }
        let _ = rustix::process::pidfd_send_signal(&self.vmm, rustix::process::Signal::KILL);
    }

    fn wait(&self, for_ready: bool, deadline: Option<Instant>) -> Woken {
        loop {
            let mut fds = vec![
                PollFd::new(&self.vmm, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            if for_ready {
                fds.push(PollFd::new(&self.vm.ready, PollFlags::IN));
            }
            let timeout = deadline.map(|at| {
                let left = at.saturating_duration_since(Instant::now());
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
            });
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Woken::Timeout,
                Ok(_) => {}
                Err(_) => continue,
            }
            let woken: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            match woken[..] {
                [true, ..] => return Woken::VmmEnded,
                [_, true, ..] => {
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                    return Woken::Signal;
                }
                [_, _, true] => return Woken::Ready,
                _ => {}
            }
        }
    }
}

/// `shim.json`, which is there for as long as this value.
struct Record<'a> {
    dir: &'a Path,
    content: ShimRecord,
}

impl<'a> Record<'a> {
    fn write(dir: &'a Path) -> Result<Record<'a>> {
        let shim = ProcessId::of(std::process::id() as i32).map_err(Error::io("read", "/proc"))?;
        let boot_id = boot_id().map_err(Error::io("read", "/proc/sys/kernel/random/boot_id"))?;
        let content = ShimRecord { shim, boot_id, vmm: None };
        records::write(dir, records::SHIM, &content)?;
        Ok(Record { dir, content })
    }

    fn name_vmm(&mut self, vmm: Option<ProcessId>) -> Result<()> {
        self.content.vmm = vmm;
        records::write(self.dir, records::SHIM, &self.content)
    }

    fn remove(self) {}
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // A directory that was deleted meanwhile has no record either.
        let _ = records::remove(self.dir, records::SHIM);
    }
}

fn raise_descriptor_limit() {
    let old = rustix::process::getrlimit(Resource::Nofile);
    let wanted = old.maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
    if old.current.is_some_and(|now| now < wanted) {
        // With fewer descriptors fewer streams are served at a time.
        let new = Rlimit { current: Some(wanted), maximum: old.maximum };
        let _ = rustix::process::setrlimit(Resource::Nofile, new);
    }
}

/// The hook that starts a missing daemon. The daemon is nobody's child for long: it is detached,
/// and a thread collects it should it end first.
fn start_daemon(argv: Vec<OsString>) -> MissingService {
    let mut complained = false;
    Box::new(move || {
        let Some((program, arguments)) = argv.split_first() else { return };
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::detach(&mut command);
        match command.spawn() {
            Ok(child) => collect(child),
            Err(error) if !complained => {
                complained = true;
                log(&format!("cannot start the daemon {}: {error}", program.display()));
            }
            Err(_) => {}
        }
    })
}

fn collect(mut child: Child) {
    thread::spawn(move || child.wait());
}
