//! Reaching the services of the host that a guest asks for, one of which may have to be started first.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::sleep;

use crate::vsock::{
    ACCEPT_PAUSE, DIAL_EVERY, DIAL_FOR, HOOK_EVERY, MissingService, SOCKET, SocketDir,
};

/// The sockets `vsock_PORT` in a machine's directory.
pub(crate) struct Services {
    pub(crate) dir: SocketDir,
    /// The hook for one on which nobody listens, and when it was called last.
    missing: Mutex<(MissingService, Option<Instant>)>,
}

impl Services {
    pub(crate) fn new(dir: SocketDir, missing: MissingService) -> Self {
        Self { dir, missing: Mutex::new((missing, None)) }
    }

    /// Connects to a service of the host.
    pub(crate) async fn dial(&self, port: u32) -> io::Result<OwnedFd> {
        let give_up = Instant::now() + DIAL_FOR;
        loop {
            let error = match self.dir.connect(&format!("{SOCKET}_{port}")) {
                Ok(socket) => return Ok(socket),
                Err(error) => error,
            };
            let now = Instant::now();
            if now >= give_up {
                return Err(error);
            }
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
                self.miss(now);
            }
            sleep(DIAL_EVERY).await;
        }
    }

    fn miss(&self, now: Instant) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let (hook, called) = &mut *missing;
        if called.is_none_or(|at| now >= at + HOOK_EVERY) {
            *called = Some(now);
            hook();
        }
    }
}

/// A thread that serves sockets until this is dropped.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts the thread `name`, which does `work` in a runtime of its own.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work() => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts clients for ever; so many at a time, the others wait in the backlog.
pub(crate) async fn take_clients<F: Future<Output = ()> + Send + 'static>(
    listener: UnixListener,
    most: usize,
    serve: impl Fn(UnixStream) -> F,
) {
    let places = Arc::new(Semaphore::new(most));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors or memory.
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let served = serve(client);
        tokio::spawn(async move {
            served.await;
            drop(place);
        });
    }
}
