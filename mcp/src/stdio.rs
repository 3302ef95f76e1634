//! One client on the standard streams of the process.

use std::time::Duration;

use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use rmcp::transport::stdio_pipes;
use tokio_util::sync::CancellationToken;

use crate::lines::Lines;
use crate::server::{ServeError, Server};

/// How long calls that are cut off may take to be undone.
const SETTLE: Duration = Duration::from_secs(10);

/// Serves the client until it closes its end, or `stop`; then cuts off what it waits for.
pub async fn serve_stdio(server: &Server, stop: CancellationToken) -> Result<(), ServeError> {
    let (stdin, stdout) = stdio_pipes();
    let served = serve_server_with_ct(server.clone(), Lines::new(stdin, stdout), stop).await;
    let served = match served {
        Ok(running) => {
            let _ = running.waiting().await;
            Ok(())
        }
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            Ok(())
        }
        Err(error) => Err(ServeError::Handshake(error.into())),
    };
    server.settled(SETTLE).await;
    served
}
