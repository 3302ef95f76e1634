//! Streamable HTTP, on loopback only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::serve::ListenerExt;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http_guard::{authorize, watch};
use crate::server::{ServeError, Server};
use crate::token::Token;

/// Longest request, in bytes: as long as a call of the daemon may be.
const MAX_REQUEST: usize = 16 << 20;
/// A session that is silent for so long has been forgotten by its client. A call that says nothing
/// may take as long.
const SILENCE: Duration = Duration::from_secs(60 * 60);
/// How long calls that are cut off may take to be undone.
const SETTLE: Duration = Duration::from_secs(10);

/// How to serve HTTP.
#[derive(Debug)]
pub struct HttpOptions {
    /// A loopback address; port 0 takes any free one.
    pub address: SocketAddr,
    /// What clients must show. `None`: whoever can reach the address may do everything.
    pub token: Option<Token>,
}

/// An address that is taken.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
}

impl Listening {
    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

/// Takes the address; nobody is answered yet.
pub async fn bind(options: HttpOptions) -> Result<Listening, ServeError> {
    let HttpOptions { address, token } = options;
    let failed = |source| ServeError::Listen { address, source };
    if !address.ip().is_loopback() {
        let reason = "it is not a loopback address";
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason)));
    }
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening { listener, address, token })
}

/// Serves clients until `stop`, then cuts off what they wait for.
pub async fn serve_http(
    server: &Server,
    listening: Listening,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let Listening { listener, address, token } = listening;
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(SILENCE);
    // Nothing is kept for clients that hang up, so none is told that it could come back.
    sessions.session_config.sse_retry = None;
    // Browsers name where a page comes from, and what it believes to talk to: neither may be
    // anything but this host.
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(["localhost", "127.0.0.1", "::1"])
        .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"])
        .with_sse_retry(None)
        .with_max_request_body_bytes(MAX_REQUEST)
        .with_cancellation_token(stop.child_token());
    let template = server.clone();
    let service =
        StreamableHttpService::new(move || Ok(template.clone()), Arc::new(sessions), config);
    let router = Router::new()
        .route_service("/mcp", service)
        .layer(from_fn(watch))
        .layer(from_fn_with_state(token.map(Arc::new), authorize));
    let ended = stop.clone();
    // Answers are small and come in pieces: none waits for the acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { ended.cancelled().await })
        .into_future();
    let served = tokio::select! {
        served = serving => served,
        // Connections that stay open without a call end with the process.
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await } => Ok(()),
    };
    server.settled(SETTLE).await;
    served.map_err(|source| ServeError::Listen { address, source })
}
