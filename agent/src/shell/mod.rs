//! Shells: interactive programs, each on a terminal and in a cgroup of its own.
//!
//! ```text
//! write ─▶ terminal ─▶ program ─▶ terminal ─▶ output (the last 1 MiB) ─▶ read, follow
//! ```
//!
//! Nobody needs to read: old output makes room. A shell whose program has ended can be read until
//! it is closed.

pub mod calls;
mod output;
mod ring;
mod terminal;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;
use pyro_proto::{ByteString, ShellExit, ShellId, ShellInfo, ShellRequest, TerminalSize};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::error::{Doing, Error, Result};
use crate::exec::{Group, Launched, NotStarted, Place, Program, Stdio, exit_code, launch};
use crate::identity::Identity;
use output::Output;
use terminal::Terminal;

/// Shells that are open at once; each may keep its output.
pub const MOST_SHELLS: usize = 32;
/// The first of these that exists is the shell.
const PROGRAMS: [&[u8]; 2] = [b"/bin/bash", b"/bin/sh"];
/// The terminal that programs are told they have.
const TERM: &[u8] = b"xterm-256color";
/// Bytes typed at once; the terminal's own buffer is as large.
const TYPED: usize = 4096;
/// Longest wait for a program that reads nothing of what is typed.
const STUCK: Duration = Duration::from_secs(5);
/// Callers that may wait to type into one shell.
const TYPISTS: usize = 8;
/// Longest wait for a shell's first prompt: before it, signals that it will handle would kill it.
const FIRST_PROMPT: Duration = Duration::from_secs(3);
/// What a program printed before it ended arrives within this time.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// Pause before reading again from a terminal that no program has open.
const READ_AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for a killed program.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// All shells that were not closed.
#[derive(Debug)]
pub struct Shells {
    /// None while one is being opened.
    open: Mutex<BTreeMap<ShellId, Option<Arc<Shell>>>>,
    place: Arc<Place>,
}

/// One shell.
#[derive(Debug)]
pub struct Shell {
    id: ShellId,
    /// Process id of its program, and of its session and first process group.
    pid: i32,
    cwd: ByteString,
    started_ns: u64,
    size: Mutex<TerminalSize>,
    /// None once its program has ended.
    terminal: Mutex<Option<Arc<Terminal>>>,
    output: Output,
    ended: watch::Sender<Option<ShellExit>>,
    /// Whose turn it is to type: what one caller types stays together.
    turn: tokio::sync::Mutex<()>,
    typists: Semaphore,
}

impl Shells {
    /// Shells run in `place`.
    pub fn new(place: Arc<Place>) -> Self {
        Self { open: Mutex::default(), place }
    }

    /// Opens a shell, of a user of the environment or of root; returns when it has printed its first
    /// prompt, or takes long to do so.
    pub async fn open(
        self: &Arc<Self>,
        request: ShellRequest,
        user: Option<Identity>,
    ) -> Result<Arc<Shell>> {
        let id = request.id;
        {
            let mut open = self.open.lock();
            let enough = open.len() >= MOST_SHELLS;
            match open.entry(id) {
                Entry::Occupied(_) => {
                    return Err(Error::Invalid(format!("shell {id} exists already")));
                }
                Entry::Vacant(_) if enough => {
                    return Err(Error::TooMany(format!("{MOST_SHELLS} shells are open already")));
                }
                Entry::Vacant(free) => free.insert(None),
            };
        }
        let started = self.start(request, user).await;
        match &started {
            Ok(shell) => self.open.lock().insert(id, Some(shell.clone())),
            Err(_) => self.open.lock().remove(&id),
        };
        if let Ok(shell) = &started {
            let _ = timeout(FIRST_PROMPT, shell.output.next(0, 1)).await;
        }
        started
    }

    async fn start(&self, request: ShellRequest, user: Option<Identity>) -> Result<Arc<Shell>> {
        let inside = self.place.inside().ok_or(Error::HungUp)?;
        let (terminal, program_end) = Terminal::open(inside.terminals.as_fd(), request.size)?;
        let ShellRequest { id, cwd, size, env } = request;
        let place = self.place.clone();
        let shell_cwd = cwd.clone();
        let launched = tokio::task::spawn_blocking(move || {
            let term = (ByteString(b"TERM".to_vec()), ByteString(TERM.to_vec()));
            let env: Vec<_> = [term].into_iter().chain(env).collect();
            let stdio = Stdio { fds: [program_end.as_fd(); 3], terminal: true };
            let start = |path: &[u8]| {
                let argv = [ByteString(path.to_vec())];
                let group = Group::Shell(id);
                let user = user.as_ref();
                let program = Program { group, argv: &argv, cwd: &cwd, env: &env, user };
                launch(&program, stdio, &place)
            };
            match start(PROGRAMS[0]) {
                Err(NotStarted { code: 127, .. }) => start(PROGRAMS[1]),
                started => started,
            }
        });
        let Launched { pid, status } = match launched.await {
            Ok(Ok(launched)) => launched,
            failed => {
                self.place.sweep(Group::Shell(id));
                return match failed {
                    Ok(Err(NotStarted { error, .. })) => Err(error),
                    _ => Err(Error::Invalid("the start was given up".into())),
                };
            }
        };
        let terminal = Arc::new(terminal);
        let shell = Arc::new(Shell {
            id,
            pid,
            cwd: shell_cwd,
            started_ns: now_ns(),
            size: Mutex::new(size),
            terminal: Mutex::new(Some(terminal.clone())),
            output: Output::default(),
            ended: watch::Sender::new(None),
            turn: tokio::sync::Mutex::default(),
            typists: Semaphore::new(TYPISTS),
        });
        let (place, followed) = (self.place.clone(), shell.clone());
        tokio::spawn(async move {
            followed.see_through(&terminal, status).await;
            place.sweep(Group::Shell(id));
        });
        Ok(shell)
    }

    /// The shell `id`.
    pub fn get(&self, id: ShellId) -> Result<Arc<Shell>> {
        let shell = self.open.lock().get(&id).cloned().flatten();
        shell.ok_or_else(|| Error::NotFound(format!("no shell {id}")))
    }

    /// All shells, by id.
    pub fn list(&self) -> Vec<ShellInfo> {
        self.open.lock().values().flatten().map(|shell| shell.info()).collect()
    }

    /// Kills a shell with everything it started, and forgets it.
    pub async fn close(&self, id: ShellId) -> Result<ShellInfo> {
        let shell = self.get(id)?;
        if self.open.lock().remove(&id).is_none() {
            return Err(Error::NotFound(format!("no shell {id}")));
        }
        self.place.kill(Group::Shell(id)).await;
        if shell.terminal.lock().is_some() {
            // Where there are no cgroups. One that is gone has nothing left to kill.
            let _ = killpg(Pid::from_raw(shell.pid), Signal::SIGKILL);
        }
        let _ = timeout(KILLED_WITHIN, shell.ended.subscribe().wait_for(Option::is_some)).await;
        self.place.sweep(Group::Shell(id));
        Ok(shell.info())
    }
}

impl Shell {
    /// As it is now.
    pub fn info(&self) -> ShellInfo {
        ShellInfo {
            id: self.id,
            cwd: self.cwd.clone(),
            size: *self.size.lock(),
            started_ns: self.started_ns,
            exit: *self.ended.borrow(),
            printed: self.output.end(),
        }
    }

    /// Takes what the program prints until it has ended.
    async fn see_through(&self, terminal: &Terminal, mut status: oneshot::Receiver<i32>) {
        let mut buffer = vec![0; TYPED * 4];
        let status = loop {
            tokio::select! {
                biased;
                status = &mut status => break status,
                read = terminal.read(&mut buffer) => match read {
                    Ok(read) if read > 0 => self.output.push(&buffer[..read]),
                    // Closed by its programs, one of which may open it again.
                    _ => tokio::select! {
                        status = &mut status => break status,
                        () = sleep(READ_AGAIN) => {}
                    },
                },
            }
        };
        // What is on its way still comes. Then the agent's end closes, which hangs up whoever else
        // has the terminal open, as closing a terminal's window does.
        let _ = timeout(LAST_OUTPUT, async {
            while let Ok(read @ 1..) = terminal.read(&mut buffer).await {
                self.output.push(&buffer[..read]);
            }
        })
        .await;
        let code = exit_code(status.unwrap_or(126 << 8));
        self.terminal.lock().take();
        self.ended.send_replace(Some(ShellExit { code, ended_ns: now_ns() }));
        self.output.close();
    }

    fn terminal(&self) -> Result<Arc<Terminal>> {
        let terminal = self.terminal.lock().clone();
        terminal.ok_or_else(|| Error::Ended(format!("the program of shell {} has ended", self.id)))
    }

    /// What it printed from `from` on, at most `max` bytes, and the position of the first. With
    /// `idle`, waits for that much silence first.
    pub async fn read(&self, from: u64, max: usize, idle: Duration) -> Result<(u64, Vec<u8>)> {
        self.refuse_past_end(from)?;
        if !idle.is_zero() {
            self.output.settle(from, max, idle).await;
        }
        Ok(self.output.read(from, max))
    }

    fn refuse_past_end(&self, from: u64) -> Result<()> {
        let end = self.output.end();
        if from > end {
            return Err(Error::Invalid(format!(
                "cursor {from} is past the end: shell-{} has printed {end} bytes",
                self.id
            )));
        }
        Ok(())
    }

    /// Types `data`, together and in order.
    pub async fn write(&self, data: &[u8]) -> Result<()> {
        let stuck = |typed: usize| {
            Error::Stuck(format!(
                "what runs in shell-{} does not read its input: {typed} of {} bytes were typed",
                self.id,
                data.len()
            ))
        };
        let Ok(_place) = self.typists.try_acquire() else { return Err(stuck(0)) };
        let turn = timeout(STUCK, self.turn.lock()).await;
        let _turn = turn.map_err(|_| stuck(0))?;
        let mut typed = 0;
        while typed < data.len() {
            let terminal = self.terminal()?;
            let piece = &data[typed..data.len().min(typed + TYPED)];
            let mut ended = self.ended.subscribe();
            let written = tokio::select! {
                written = timeout(STUCK, terminal.write(piece)) => written,
                _ = ended.wait_for(Option::is_some) => continue,
            };
            match written {
                Ok(Ok(taken)) => typed += taken,
                // Closed by its programs; the kernel says so before the last of them is reaped.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => {
                    let _ = timeout(LAST_OUTPUT, ended.wait_for(Option::is_some)).await;
                    self.terminal()?;
                    return Err(stuck(typed));
                }
                Ok(Err(error)) => return Err(error).doing(|| "type into the terminal".into()),
                Err(_) => return Err(stuck(typed)),
            }
        }
        Ok(())
    }

    /// Sends a signal to what is in the terminal's foreground, else to the shell itself.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let terminal = self.terminal()?;
        // Never the groups 0 and 1, which are the agent's.
        let foreground = terminal.foreground().filter(|group| *group > 1);
        let group = Pid::from_raw(foreground.unwrap_or(self.pid));
        let sent = match killpg(group, signal) {
            Err(Errno::ESRCH) => killpg(Pid::from_raw(self.pid), signal),
            sent => sent,
        };
        sent.doing(|| format!("send {signal}"))
    }

    /// Changes the size of its terminal.
    pub fn resize(&self, size: TerminalSize) -> Result<()> {
        self.terminal()?.resize(size).doing(|| "set the size of the terminal".into())?;
        *self.size.lock() = size;
        Ok(())
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
