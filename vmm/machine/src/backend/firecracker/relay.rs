//! Connections of the guest to the host. Firecracker makes them to sockets beside its own, where it finds
//! nobody when the daemon is gone; here somebody listens, and has it started.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::sleep;

use crate::services::Services;
use crate::vsock::{ACCEPT_PAUSE, MAX_GUEST, MissingService, SocketDir};

/// Relays until dropped.
pub(super) struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Listens on `socket_PORT` in `dir` for each of these ports.
    pub(super) fn start(
        dir: &Path,
        socket: &str,
        ports: &[u32],
        missing: MissingService,
    ) -> io::Result<Self> {
        let services = Arc::new(Services::new(SocketDir::open(dir)?, missing));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut listeners = Vec::new();
        for port in ports {
            let listener = services.dir.listen(&format!("{socket}_{port}"))?;
            listener.set_nonblocking(true)?;
            listeners.push((*port, listener));
        }
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("relay".into()).spawn(move || {
            runtime.block_on(async {
                for (port, listener) in listeners {
                    let Ok(listener) = UnixListener::from_std(listener) else { return };
                    tokio::spawn(take(services.clone(), port, listener));
                }
                let _ = stopped.await;
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes the guest's connections for ever; so many at a time, the others wait in the backlog.
async fn take(services: Arc<Services>, port: u32, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(MAX_GUEST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((mut guest, _)) = listener.accept().await else {
            // Out of descriptors or memory.
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let services = services.clone();
        tokio::spawn(async move {
            let service = services.dial(port).await.and_then(|it| UnixStream::from_std(it.into()));
            if let Ok(mut service) = service {
                let _ = copy_bidirectional(&mut guest, &mut service).await;
            }
            drop(place);
        });
    }
}
