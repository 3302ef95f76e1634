//! Connections between host and guest, each taken here and made again on the other side: Firecracker makes
//! those of the guest to sockets beside its own, where it finds nobody when the daemon is gone, and its own
//! is the jail's, to which no client of the host goes by itself.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};

use super::VSOCK;
use super::jail::Jail;
use super::logs::Log;
use crate::services::{Services, Serving, take_clients};
use crate::vsock::{MAX_GUEST, MAX_HOST, MissingService, SOCKET, SocketDir};

/// Serves the machine in `dir`, whose Firecracker works in `inside`: `inside/VSOCK_PORT` for each of these
/// ports, `dir/SOCKET`, and its logs.
pub(super) fn start(
    (dir, inside): (&Path, &Path),
    jail: Option<&Jail>,
    ports: &[u32],
    missing: MissingService,
    logs: Vec<Log>,
) -> io::Result<Serving> {
    let services = Arc::new(Services::new(SocketDir::open(dir)?, missing));
    let inside_dir = SocketDir::open(inside)?;
    let mut listeners = Vec::new();
    for port in ports {
        let name = format!("{VSOCK}_{port}");
        listeners.push((*port, inside_dir.listen(&name)?));
        if let Some(jail) = jail {
            let user = Some(jail.user);
            std::os::unix::fs::chown(inside.join(&name), user, user)?;
        }
    }
    let clients = services.dir.listen(SOCKET)?;
    Serving::start("relay", move || async move {
        for (port, listener) in listeners {
            let Ok(listener) = UnixListener::from_std(listener) else { return };
            let services = services.clone();
            let serve = move |guest| to_host(services.clone(), port, guest);
            tokio::spawn(take_clients(listener, MAX_GUEST, serve));
        }
        for log in logs {
            tokio::spawn(log.keep());
        }
        let Ok(clients) = UnixListener::from_std(clients) else { return };
        let inside = Arc::new(inside_dir);
        take_clients(clients, MAX_HOST, move |client| to_guest(inside.clone(), client)).await;
    })
}

async fn to_host(services: Arc<Services>, port: u32, mut guest: UnixStream) {
    let service = services.dial(port).await.and_then(|it| UnixStream::from_std(it.into()));
    if let Ok(mut service) = service {
        let _ = copy_bidirectional(&mut guest, &mut service).await;
    }
}

async fn to_guest(inside: Arc<SocketDir>, mut client: UnixStream) {
    let guest = inside.connect(VSOCK).and_then(|it| UnixStream::from_std(it.into()));
    if let Ok(mut guest) = guest {
        let _ = copy_bidirectional(&mut client, &mut guest).await;
    }
}
