//! Starting the daemon.
//!
//! ```text
//! launcher ── spawn `pyro daemon run`, stdout = pipe ──▶ daemon: lock, recover, listen
//!          ◀── "ready\n" ─────────────────────────────── (or why not, then end of file)
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyro_api::{Client, DaemonStatus, Home, Launcher};

use crate::sys;

/// What the daemon says once it listens.
const READY: &str = "ready\n";
/// How long another daemon that holds the lock may take until it listens, or has ended: one that
/// makes room waits for its calls first.
const PATIENCE: Duration = Duration::from_secs(90);
/// The log of a daemon that starts is moved aside beyond this many bytes.
const LOG_BYTES: u64 = 4 << 20;
/// Longest reason that is shown, in bytes.
const REASON_BYTES: u64 = 16 << 10;

/// Starts daemons of this very executable.
#[derive(Debug, Clone, Copy)]
pub struct SelfLauncher;

impl Launcher for SelfLauncher {
    async fn launch(&self, home: &Home) -> Result<(), String> {
        home.create().map_err(|error| crate::error::Error::from(error).into_body().message)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.answers(home).await {
                return Ok(());
            }
            // Whoever has the lock either comes up or makes room.
            if is_locked(home) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            let at = home.clone();
            let started = tokio::task::spawn_blocking(move || start(&at))
                .await
                .unwrap_or_else(|_| Err("the launcher broke off".into()));
            match started {
                // Someone else was faster: only one daemon gets the lock.
                Err(_) if is_locked(home) && Instant::now() < deadline => {}
                Err(_) if self.answers(home).await => return Ok(()),
                started => return started,
            }
        }
    }

    fn build(&self) -> String {
        pyro_api::build_id()
    }
}

impl SelfLauncher {
    /// Whether a daemon of this build listens.
    async fn answers(&self, home: &Home) -> bool {
        let status = Client::new(home.clone()).call(&DaemonStatus {}, |_| {}).await;
        status.is_ok_and(|status| status.build == self.build())
    }
}

/// Starts one and waits until it is ready, or has said why it cannot be.
fn start(home: &Home) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let log = open_log(home).map_err(failed("its log cannot be written"))?;
    let executable = executable().map_err(failed("/proc/self/exe cannot be read"))?;
    let mut command = Command::new(executable);
    command
        .args(["daemon", "run"])
        .env("PYRO_HOME", home.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    sys::detach(&mut command);
    let mut child = command.spawn().map_err(failed("it cannot be run"))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout.take(REASON_BYTES));
        let first = stdout.read_line(&mut said);
        if matches!(first, Ok(n) if n > 0) && said == READY {
            return Ok(());
        }
        let _ = stdout.read_to_string(&mut said);
    }
    let status = child.wait().map_err(failed("it cannot be waited for"))?;
    match said.trim() {
        "" => Err(format!("it ended early ({status}); see {}", home.log().display())),
        reason => Err(reason.to_owned()),
    }
}

/// Path of the running executable. After an upgrade the old file has no name any more, and what
/// is there now under its name is the newer build: better that than none.
fn executable() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(name) => Ok(PathBuf::from(name)),
        None => Ok(path),
    }
}

fn open_log(home: &Home) -> io::Result<File> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Whether a daemon lives, listening or not.
fn is_locked(home: &Home) -> bool {
    File::open(home.lock())
        .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}
