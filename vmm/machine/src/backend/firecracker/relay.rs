//! Connections of the guest to the host. Firecracker makes them to sockets beside its own, where it finds
//! nobody when the daemon is gone; here somebody listens, and has it started.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};

use crate::services::{Services, Serving, take_clients};
use crate::vsock::{MAX_GUEST, MissingService, SocketDir};

/// Listens on `socket_PORT` in `dir` for each of these ports, and relays.
pub(super) fn start(
    dir: &Path,
    socket: &str,
    ports: &[u32],
    missing: MissingService,
) -> io::Result<Serving> {
    let services = Arc::new(Services::new(SocketDir::open(dir)?, missing));
    let mut listeners = Vec::new();
    for port in ports {
        let listener = services.dir.listen(&format!("{socket}_{port}"))?;
        listener.set_nonblocking(true)?;
        listeners.push((*port, listener));
    }
    Serving::start("relay", move || async move {
        for (port, listener) in listeners {
            let Ok(listener) = UnixListener::from_std(listener) else { return };
            let services = services.clone();
            let serve = move |guest| relay(services.clone(), port, guest);
            tokio::spawn(take_clients(listener, MAX_GUEST, serve));
        }
        std::future::pending().await
    })
}

async fn relay(services: Arc<Services>, port: u32, mut guest: UnixStream) {
    let service = services.dial(port).await.and_then(|it| UnixStream::from_std(it.into()));
    if let Ok(mut service) = service {
        let _ = copy_bidirectional(&mut guest, &mut service).await;
    }
}
