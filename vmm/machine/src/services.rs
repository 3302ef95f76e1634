//! Reaching the services of the host that a guest asks for, one of which may have to be started first.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::time::sleep;

use crate::vsock::{DIAL_EVERY, DIAL_FOR, HOOK_EVERY, MissingService, SOCKET, SocketDir};

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
