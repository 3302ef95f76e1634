//! Commands: started once, followed any number of times, kept until the host has their outcome.
//!
//! A command ends when its main process ends. What it left running goes on (a server started with
//! `&`), but its output no longer belongs to the command. Killing a command, by `Kill` or by its
//! timeout, kills everything that it started: see [`Groups`].

mod cgroup;
mod mark;
mod place;
mod reaper;
mod spool;
mod start;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyro_proto::{ExecId, ExecInfo, ExecRequest, ExecState, Exit, Stream};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

pub use cgroup::{Cgroups, Frozen, Group};
pub use mark::Marks;
pub use place::{Groups, Inside, Membership, Place};
pub use spool::Reader;
use spool::{PIECE, Spool};
pub use start::{Launched, NotStarted, Program, Stdio, launch};

use crate::error::{Doing, Error, Result};
use crate::identity::Identity;
use crate::sys;

/// Exit code after a timeout, as `timeout(1)` has it.
const TIMED_OUT: i32 = 124;

/// All commands the agent knows.
#[derive(Debug)]
pub struct Execs {
    commands: Mutex<BTreeMap<ExecId, Arc<Command>>>,
    place: Arc<Place>,
    /// Where the start of each output is kept.
    spool_dir: PathBuf,
}

/// One command.
#[derive(Debug)]
pub struct Command {
    id: ExecId,
    stdout: Arc<Spool>,
    stderr: Arc<Spool>,
    state: watch::Sender<ExecState>,
    fate: Mutex<Fate>,
}

/// Who ended a command before it could end by itself.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    timed_out: bool,
    killed: bool,
}

impl Execs {
    /// Commands run in `place`; the start of their output is kept in `spool_dir`, which is emptied
    /// now.
    pub fn new(place: Arc<Place>, spool_dir: PathBuf) -> Result<Self> {
        let _ = std::fs::remove_dir_all(&spool_dir);
        std::fs::create_dir_all(&spool_dir).doing(|| "create the spool".into())?;
        Ok(Self { commands: Mutex::default(), place, spool_dir })
    }

    /// Starts a command, run by a user of the environment, or by root.
    pub async fn start(
        self: &Arc<Self>,
        request: ExecRequest,
        user: Option<Identity>,
    ) -> Result<()> {
        let command = Arc::new(Command {
            id: request.id,
            stdout: Arc::new(self.spool(&request, "out")),
            stderr: Arc::new(self.spool(&request, "err")),
            state: watch::Sender::new(ExecState::Running),
            fate: Mutex::default(),
        });
        {
            let mut commands = self.commands.lock();
            if commands.contains_key(&request.id) {
                return Err(Error::Invalid(format!("command {} exists already", request.id)));
            }
            commands.insert(request.id, command.clone());
        }
        let begun = Instant::now();
        let timeout = request.timeout_ms.map(Duration::from_millis);
        let place = self.place.clone();
        let started =
            tokio::task::spawn_blocking(move || start::start(&request, user.as_ref(), &place));
        let started = started.await.unwrap_or_else(|_| {
            Err(NotStarted { code: 126, error: Error::Invalid("the start was given up".into()) })
        });
        match started {
            Ok(started) => {
                let execs = self.clone();
                tokio::spawn(async move { execs.follow(command, started, begun, timeout).await });
                Ok(())
            }
            Err(NotStarted { code, error }) => {
                command.finish(code, begun);
                self.place.sweep(Group::Exec(command.id));
                Err(error)
            }
        }
    }

    fn spool(&self, request: &ExecRequest, name: &str) -> Spool {
        let path = self.spool_dir.join(format!("{}.{name}", request.id));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        // Unlinked at once: it lasts as long as the command is known, and no longer.
        let _ = std::fs::remove_file(&path);
        Spool::new(file.ok(), request.keep_bytes)
    }

    /// Sees a command through to its end.
    async fn follow(
        &self,
        command: Arc<Command>,
        started: start::Started,
        begun: Instant,
        timeout: Option<Duration>,
    ) {
        let [stdout, stderr] = started.outputs;
        let (ended, end) = watch::channel(false);
        let pumps = [
            tokio::spawn(pump(stdout, command.stdout.clone(), end.clone())),
            tokio::spawn(pump(stderr, command.stderr.clone(), end)),
        ];
        let mut status = started.status;
        let waited = match timeout {
            None => (&mut status).await,
            Some(timeout) => match tokio::time::timeout(timeout, &mut status).await {
                Ok(status) => status,
                Err(_) => {
                    command.fate.lock().timed_out = true;
                    self.place.kill(Group::Exec(command.id)).await;
                    status.await
                }
            },
        };
        let duration = begun.elapsed();
        let code = if command.fate.lock().timed_out {
            TIMED_OUT
        } else {
            exit_code(waited.unwrap_or(126 << 8))
        };
        let _ = ended.send(true);
        for pump in pumps {
            let _ = pump.await;
        }
        command.finish_after(code, duration);
        self.place.sweep(Group::Exec(command.id));
    }

    /// The command `id`.
    pub fn get(&self, id: ExecId) -> Result<Arc<Command>> {
        let command = self.commands.lock().get(&id).cloned();
        command.ok_or_else(|| Error::NotFound(format!("no command {id}")))
    }

    /// Kills a command and everything it started; what it left running, too, when it has ended and
    /// was forgotten.
    pub async fn kill(&self, id: ExecId) -> Result<()> {
        match self.get(id) {
            Ok(command) if *command.state.borrow() == ExecState::Running => {
                command.fate.lock().killed = true;
            }
            Ok(_) => {}
            Err(_) if self.place.left_something(Group::Exec(id)) => {}
            Err(unknown) => return Err(unknown),
        }
        self.place.kill(Group::Exec(id)).await;
        Ok(())
    }

    /// All commands not yet forgotten.
    pub fn list(&self) -> Vec<ExecInfo> {
        let info =
            |command: &Arc<Command>| ExecInfo { id: command.id, state: *command.state.borrow() };
        self.commands.lock().values().map(info).collect()
    }

    /// Drops a command that has ended.
    pub fn forget(&self, id: ExecId) -> Result<()> {
        if *self.get(id)?.state.borrow() == ExecState::Running {
            return Err(Error::Invalid(format!("command {id} still runs")));
        }
        self.commands.lock().remove(&id);
        Ok(())
    }
}

impl Command {
    fn finish(&self, code: i32, begun: Instant) {
        self.stdout.close();
        self.stderr.close();
        self.finish_after(code, begun.elapsed());
    }

    fn finish_after(&self, code: i32, duration: Duration) {
        let fate = *self.fate.lock();
        self.state.send_replace(ExecState::Exited(Exit {
            code,
            timed_out: fate.timed_out,
            killed: fate.killed,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            stdout_bytes: self.stdout.total(),
            stderr_bytes: self.stderr.total(),
        }));
    }

    /// Reads one of its outputs from `from` on.
    pub fn reader(&self, stream: Stream, from: u64) -> Reader {
        match stream {
            Stream::Stdout => self.stdout.reader(from),
            Stream::Stderr => self.stderr.reader(from),
        }
    }

    /// How it ended, once it has.
    pub async fn exit(&self) -> Option<Exit> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, ExecState::Exited(_))).await.ok()?;
        match *ended {
            ExecState::Exited(exit) => Some(exit),
            ExecState::Running => None,
        }
    }
}

/// Exit code of a raw wait status: 128 + signal number for a signal.
pub fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Moves output into the spool until it ends, or until the command has ended and what was in the
/// pipe at that moment has been taken. Later output of processes left behind is read and dropped:
/// closing the pipe would kill them.
async fn pump(output: OwnedFd, spool: Arc<Spool>, mut ended: watch::Receiver<bool>) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(output) else { return spool.close() };
    let mut buffer = vec![0; PIECE.min(64 << 10)];
    let mut left: Option<usize> = None;
    while left != Some(0) {
        let limit = left.unwrap_or(buffer.len()).min(buffer.len());
        let read = tokio::select! {
            // The end first: processes left behind may never stop writing.
            biased;
            _ = ended.wait_for(|ended| *ended), if left.is_none() => {
                left = Some(sys::waiting_bytes(pipe.as_fd()).unwrap_or(0));
                continue;
            }
            read = pipe.read(&mut buffer[..limit]) => read.unwrap_or(0),
        };
        if read == 0 {
            return spool.close();
        }
        spool.append(&buffer[..read]).await;
        left = left.map(|left| left.saturating_sub(read));
    }
    spool.close();
    tokio::spawn(async move { while !matches!(pipe.read(&mut buffer).await, Ok(0) | Err(_)) {} });
}
