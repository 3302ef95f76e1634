//! The daemon: one for each home, owner of its store and its VMs.
//!
//! ```text
//! run: lock ─▶ open the store ─▶ recover workspaces ─▶ listen ─▶ "ready" ─▶ serve ─▶ end
//! ```
//!
//! Crash-only: it may be killed at any moment. VMs belong to their shims, records are durable, and
//! the next daemon goes on. Ending in order only adds that callers get their answers first.

mod calls;
pub mod closing;
mod doctor;
mod environments;
pub mod images;
mod inspect;
mod kernel;
mod moving;
mod server;
mod usage;

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyro_api::Home;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::manager::Manager;
use server::Server;

/// How long a daemon without running workspaces and without calls stays.
const IDLE: Duration = Duration::from_secs(600);
/// How often it looks.
const LOOK: Duration = Duration::from_secs(10);
/// Longest wait for callers and for work under way when it ends in order.
const DRAIN: Duration = Duration::from_secs(60);
/// What is said on standard output once it listens.
const READY: &str = "ready\n";

/// Is the daemon of `home` until its end. Standard output is for whoever launched it: `ready` once
/// it listens, else the reason why it never will.
pub fn run(home: Home) -> ExitCode {
    let result = start(&home);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let body = error.to_body();
            let hint = body.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            say(&format!("{}{hint}", body.message));
            eprintln!("{}{hint}", body.message);
            ExitCode::FAILURE
        }
    }
}

fn start(home: &Home) -> Result<()> {
    home.create().map_err(|error| Error::Invalid(error.to_string()))?;
    let _lock = lock(home)?;
    let program = std::env::current_exe().map_err(Error::io("read", "/proc/self/exe"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::io("start", "the runtime"))?;
    let result = runtime.block_on(serve(home.clone(), program));
    // Blocking work that outlives its caller must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    let _ = fs::remove_file(home.socket());
    result
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// Held until the process ends, however it ends.
fn lock(home: &Home) -> Result<File> {
    let path = home.lock();
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Invalid(format!("another daemon runs in {}", home.path().display())))
        }
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    }
}

async fn serve(home: Home, program: PathBuf) -> Result<()> {
    let manager = Manager::open(home.clone(), program)?;
    manager.recover().await?;
    let listener = listen(&home.socket())?;
    say(READY);
    tokio::spawn(manager.clone().reap());
    let server = Arc::new(Server::new(manager.clone()));
    let calls = server.clone();
    tokio::spawn(manager.clone().upkeep(Arc::new(move || calls.calls() > 0)));
    let closing = manager.closing();
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("handle", "SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("handle", "SIGINT"))?;
    let ending = closing.clone();
    let serving = axum::serve(listener, server::router(server.clone()))
        .with_graceful_shutdown(async move { ending.wait().await });
    let serving = tokio::spawn(async move { serving.await });
    tokio::select! {
        () = closing.wait() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = idle(&manager, &server) => {}
    }
    closing.set();
    let drained = async {
        let _ = serving.await;
        manager.cool_down().await;
        manager.settle().await;
    };
    let patience = if server.drains() { DRAIN } else { Duration::from_secs(2) };
    let _ = tokio::time::timeout(patience, drained).await;
    Ok(())
}

/// Binds through the directory's descriptor: a socket's path may have 108 bytes at most (unix(7)).
fn listen(socket: &Path) -> Result<UnixListener> {
    let failed = |source| Error::io("listen on", socket)(source);
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    };
    // The lock is held: whoever left the socket is gone.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let dir = File::open(dir).map_err(failed)?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    let listener = UnixListener::bind(short).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Returns when there has been nothing to do for long.
async fn idle(manager: &Manager, server: &Server) {
    let mut since = Instant::now();
    while since.elapsed() < IDLE {
        tokio::time::sleep(LOOK).await;
        if server.calls() > 0 || manager.running() > 0 {
            since = Instant::now();
        }
    }
}
