//! The daemon's handle to a machine: a directory, and whoever runs in it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::process::{ProcessId, boot_id};
use crate::records::{self, Exit, ShimRecord};
use crate::shim::Report;
use crate::vsock::{SOCKET, SocketDir};
use crate::{Error, MachineSpec, Result, backend, sys};

/// How long the VMM may take to set itself up; a busy host takes its time.
const LAUNCH: Duration = Duration::from_secs(60);
/// How long a shim may take to end its VMM.
const STOP: Duration = Duration::from_secs(10);
/// How long a killed process may take to disappear.
const KILL: Duration = Duration::from_secs(10);
/// The device gives up a handshake after ten seconds; this is for a device that hangs.
const CONNECT: Duration = Duration::from_secs(15);
/// Pause before a socket with a full backlog is tried again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// Whether a machine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineState {
    /// A shim owns it.
    Running {
        /// The shim's process id.
        shim_pid: i32,
    },
    /// Nobody does.
    Stopped {
        /// How it ended; `None` if it never ran, or its shim was killed, or the host went down.
        exit: Option<Exit>,
    },
}

/// A machine in a directory of its own. The value is a handle: it may be dropped, and opened
/// again by another process, while the machine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    dir: PathBuf,
}

impl Machine {
    /// Boots a machine in `dir`, an existing directory that only its owner may enter. Returns
    /// once the VMM runs and host clients can connect; the guest is then about to boot.
    /// `shim_argv` is a program and arguments that call [`crate::run_shim`] with the directory
    /// that is added as the last argument.
    ///
    /// # Errors
    /// A specification that makes no sense, a missing file or program, a network that the backend cannot
    /// give, a machine that runs already,
    /// or [`Error::BootFailed`] with what the shim said. Nothing is left running then. Dropping the
    /// future half-way may leave a machine that runs: `stop` ends it.
    pub async fn launch(dir: &Path, spec: &MachineSpec, shim_argv: &[OsString]) -> Result<Machine> {
        spec.validate()?;
        backend::check(spec)?;
        let spec = spec.absolute()?;
        let dir = std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
        let machine = Machine::open(&dir);
        if let MachineState::Running { .. } = machine.state()? {
            return Err(Error::AlreadyRunning { dir });
        }
        {
            let _owner = records::lock(&dir)?;
            machine.remove_leftovers()?;
            records::remove(&dir, records::EXIT)?;
            records::write(&dir, records::SPEC, &spec)?;
        }

        let Some((program, arguments)) = shim_argv.split_first() else {
            return Err(Error::BootFailed { reason: "no shim program is given".to_owned() });
        };
        let log = dir.join(records::SHIM_LOG);
        let log = File::create(&log).map_err(Error::io("create", &log))?;
        let mut command = Command::new(program);
        command.args(arguments).arg(&dir).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        sys::detach(&mut command);
        // Tokio collects the shim when it ends, even long after this handle is dropped.
        let mut shim = tokio::process::Command::from(command)
            .spawn()
            .map_err(Error::io("run", Path::new(program)))?;

        let mut line = Vec::new();
        let heard = match shim.stdout.take() {
            Some(mut out) => timeout(LAUNCH, out.read_to_end(&mut line)).await.is_ok(),
            None => false,
        };
        let reason = match serde_json::from_slice(&line) {
            Ok(Report::Ready) => return Ok(machine),
            Ok(Report::Failed(reason)) => reason,
            Err(_) if heard => machine.last_words(),
            Err(_) => "the VMM did not get ready in time".to_owned(),
        };
        // The VMM dies with its shim.
        let _ = shim.start_kill();
        let _ = shim.wait().await;
        machine.clean_up()?;
        Err(Error::BootFailed { reason })
    }

    /// A handle to the machine in `dir`, whether it runs or not.
    pub fn open(dir: &Path) -> Machine {
        Machine { dir: dir.to_owned() }
    }

    /// The machine's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the machine runs. A process counts only if it is the recorded one, of this boot.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn state(&self) -> Result<MachineState> {
        if let Some(record) = self.record()?
            && record.shim.is_alive()
        {
            return Ok(MachineState::Running { shim_pid: record.shim.pid });
        }
        Ok(MachineState::Stopped { exit: records::read(&self.dir, records::EXIT)? })
    }

    /// Connects to a port of the guest. The stream carries what the guest's service says and
    /// nothing else. There is no retry: ask when the guest is known to listen.
    ///
    /// # Errors
    /// [`Error::NotRunning`], or [`Error::Refused`] if nobody listens there.
    pub async fn connect(&self, port: u32) -> Result<UnixStream> {
        let attempt = timeout(CONNECT, self.handshake(port)).await;
        attempt.unwrap_or(Err(Error::Refused { port }))
    }

    async fn handshake(&self, port: u32) -> Result<UnixStream> {
        let path = self.dir.join(SOCKET);
        let dir = SocketDir::open(&self.dir).map_err(Error::io("open", &self.dir))?;
        let mut stream = loop {
            match dir.connect(SOCKET) {
                Ok(socket) => {
                    let stream = std::os::unix::net::UnixStream::from(socket);
                    break UnixStream::from_std(stream).map_err(Error::io("connect to", &path))?;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => tokio::time::sleep(BACKLOG_PAUSE).await,
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        return Err(Error::NotRunning { dir: self.dir.clone() });
                    }
                    _ => return Err(Error::io("connect to", &path)(error)),
                },
            }
        };
        let refused = |_| Error::Refused { port };
        stream.write_all(format!("CONNECT {port}\n").as_bytes()).await.map_err(refused)?;
        // Byte by byte: what follows the line belongs to the caller.
        let mut line = Vec::new();
        while line.len() < 32 && line.last() != Some(&b'\n') {
            line.push(stream.read_u8().await.map_err(refused)?);
        }
        if line.starts_with(b"OK ") && line.ends_with(b"\n") {
            Ok(stream)
        } else {
            Err(Error::Refused { port })
        }
    }

    /// Listens on a host port for streams that the guest opens. A stale socket, or that of an
    /// earlier listener, is replaced.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn listen(&self, port: u32) -> Result<UnixListener> {
        let name = format!("{SOCKET}_{port}");
        let path = self.dir.join(&name);
        let listen = || {
            let listener = SocketDir::open(&self.dir)?.listen(&name)?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        listen().map_err(Error::io("listen on", path))
    }

    /// Saves the machine, at a moment when its guest has nothing open, in the directory `into`, and leaves
    /// it paused for good: its scratch disk stays as it was then. Blocks while its memory is written.
    ///
    /// # Errors
    /// [`Error::NoSaving`] on another backend than Firecracker, [`Error::NotRunning`], what Firecracker
    /// says, or if a file cannot be written.
    pub fn save(&self, into: &Path) -> Result<()> {
        let spec: Option<MachineSpec> = records::read(&self.dir, records::SPEC)?;
        let stopped = || Error::NotRunning { dir: self.dir.clone() };
        spec.ok_or_else(stopped)?.backend.check_saving()?;
        match self.state()? {
            MachineState::Running { .. } => backend::save_firecracker(&self.dir, into),
            MachineState::Stopped { .. } => Err(stopped()),
        }
    }

    /// Ends the machine, like pulling its plug; a guest that has something to save is asked
    /// before. A machine that does not run is no error.
    ///
    /// # Errors
    /// [`Error::WontStop`] if even SIGKILL does not end it.
    pub async fn stop(&self) -> Result<()> {
        let Some(record) = self.record()? else { return self.clean_up() };
        if let Some(shim) = record.shim.open() {
            signal(&shim, Signal::TERM);
            if !ended_within(&shim, STOP).await? {
                signal(&shim, Signal::KILL);
                if !ended_within(&shim, KILL).await? {
                    return Err(Error::WontStop { dir: self.dir.clone() });
                }
            }
        }
        self.end_orphan(record.vmm).await?;
        self.clean_up()
    }

    /// The kernel kills the VMM of a shim that was killed; this waits until it has.
    async fn end_orphan(&self, vmm: Option<ProcessId>) -> Result<()> {
        let Some(vmm) = vmm.and_then(|id| id.open()) else { return Ok(()) };
        signal(&vmm, Signal::KILL);
        if ended_within(&vmm, KILL).await? {
            Ok(())
        } else {
            Err(Error::WontStop { dir: self.dir.clone() })
        }
    }

    /// Waits until the machine has ended, and tells how; at once if it does not run.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub async fn wait_exit(&self) -> Result<Option<Exit>> {
        if let Some(shim) = self.record()?.and_then(|record| record.shim.open()) {
            ended(&shim).await?;
        }
        records::read(&self.dir, records::EXIT)
    }

    /// The record of this boot. One of an earlier boot names processes that are long gone.
    fn record(&self) -> Result<Option<ShimRecord>> {
        let Some(record) = records::read::<ShimRecord>(&self.dir, records::SHIM)? else {
            return Ok(None);
        };
        let now = boot_id().map_err(Error::io("read", "/proc/sys/kernel/random/boot_id"))?;
        Ok((record.boot_id == now).then_some(record))
    }

    /// Removes what a shim left, unless another one has taken the machine over meanwhile.
    fn clean_up(&self) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        match records::lock(&self.dir) {
            Ok(_owner) => self.remove_leftovers(),
            Err(Error::AlreadyRunning { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// For the owner only.
    fn remove_leftovers(&self) -> Result<()> {
        for name in [records::SHIM, SOCKET] {
            records::remove(&self.dir, name)?;
        }
        backend::remove_firecracker(&self.dir)?;
        backend::remove_cgroup(&self.dir)
    }

    /// What a shim wrote to its log before it went without a report.
    fn last_words(&self) -> String {
        let log = fs::read(self.dir.join(records::SHIM_LOG)).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(2048)..];
        let text = String::from_utf8_lossy(tail).trim().to_owned();
        if text.is_empty() { "the shim ended without a word".to_owned() } else { text }
    }
}

/// A process that ended meanwhile needs no signal.
fn signal(process: &OwnedFd, signal: Signal) {
    let _ = rustix::process::pidfd_send_signal(process, signal);
}

/// Whether a process ended before the limit.
async fn ended_within(process: &OwnedFd, limit: Duration) -> Result<bool> {
    match timeout(limit, ended(process)).await {
        Ok(outcome) => outcome.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Waits until a process has ended.
async fn ended(process: &OwnedFd) -> Result<()> {
    sys::readable(process.as_fd()).await.map_err(Error::io("watch", "a process"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExitReason;

    fn record(shim: ProcessId, boot_id: String) -> ShimRecord {
        ShimRecord { shim, boot_id, vmm: None }
    }

    #[test]
    fn only_the_recorded_process_of_this_boot_counts_as_running() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::open(dir.path());
        let stopped = MachineState::Stopped { exit: None };
        assert_eq!(machine.state().unwrap(), stopped);

        let me = ProcessId::of(std::process::id() as i32).unwrap();
        let boot = boot_id().unwrap();
        records::write(dir.path(), records::SHIM, &record(me, boot.clone())).unwrap();
        assert_eq!(machine.state().unwrap(), MachineState::Running { shim_pid: me.pid });

        let reused = ProcessId { start_time: me.start_time + 1, ..me };
        records::write(dir.path(), records::SHIM, &record(reused, boot)).unwrap();
        assert_eq!(machine.state().unwrap(), stopped);

        records::write(dir.path(), records::SHIM, &record(me, "another".into())).unwrap();
        assert_eq!(machine.state().unwrap(), stopped);
    }

    #[test]
    fn the_end_of_a_machine_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let exit = Exit {
            reason: ExitReason::GuestPanic,
            status: Some(0),
            detail: String::new(),
            ended_at: 1,
        };
        records::write(dir.path(), records::EXIT, &exit).unwrap();
        let state = Machine::open(dir.path()).state().unwrap();
        assert_eq!(state, MachineState::Stopped { exit: Some(exit) });
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(records::SHIM), "{").unwrap();
        let error = Machine::open(dir.path()).state().unwrap_err();
        assert!(error.to_string().contains("shim.json"));
    }

    #[tokio::test]
    async fn a_machine_that_does_not_run_is_stopped_without_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::open(dir.path());
        let gone = ProcessId { pid: 1, start_time: u64::MAX };
        records::write(dir.path(), records::SHIM, &record(gone, boot_id().unwrap())).unwrap();
        machine.stop().await.unwrap();
        machine.stop().await.unwrap();
        assert!(!dir.path().join(records::SHIM).exists());
        assert_eq!(machine.wait_exit().await.unwrap(), None);
        assert!(matches!(machine.connect(1024).await, Err(Error::NotRunning { .. })));
        drop(dir);
        machine.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_replaces_a_stale_socket_in_a_directory_with_a_long_name() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("x".repeat(250));
        fs::create_dir(&dir).unwrap();
        let machine = Machine::open(&dir);
        drop(machine.listen(1025).unwrap());
        let listener = machine.listen(1025).unwrap();
        let _client = SocketDir::open(&dir).unwrap().connect("vsock_1025").unwrap();
        listener.accept().await.unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    /// Plays the device's side of the handshake.
    async fn connect_to(answer: &'static [u8]) -> Result<UnixStream> {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let device = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut line = [0; 13];
            client.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"CONNECT 1024\n");
            client.write_all(answer).await.unwrap();
        });
        let stream = Machine::open(dir.path()).connect(1024).await;
        device.await.unwrap();
        stream
    }

    #[tokio::test]
    async fn a_stream_begins_right_after_the_handshake() {
        let mut stream = connect_to(b"OK 1073741824\nfirst bytes").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "first bytes");
        for answer in [&b""[..], b"OK", b"NO\n", b"OK 00000000000000000000000000000000000\n"] {
            assert!(matches!(connect_to(answer).await, Err(Error::Refused { port: 1024 })));
        }
    }
}
