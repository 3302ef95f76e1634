//! Calls over HTTP: one JSON document in, one JSON document a line out.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use pyro_api::{
    Call, DaemonStatusReply, Event, ExecAttach, ExecRead, MAX_CALL, ShellFollow, ShutdownReply,
    WorkspaceExec, build_id,
};
use tokio::sync::mpsc;

use super::calls;
use crate::error::Error;
use crate::events::Events;
use crate::manager::Manager;

/// Events in flight to one caller.
const EVENTS: usize = 16;

/// What calls are answered with.
pub struct Server {
    /// The workspaces.
    pub manager: Arc<Manager>,
    calls: AtomicU64,
    drain: AtomicBool,
}

impl Server {
    /// Answers for `manager`.
    pub fn new(manager: Arc<Manager>) -> Self {
        Self { manager, calls: AtomicU64::new(0), drain: AtomicBool::new(true) }
    }

    /// Calls under way.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether the daemon's end waits for calls under way.
    pub fn drains(&self) -> bool {
        self.drain.load(Ordering::SeqCst)
    }

    /// Who answers.
    pub fn status(&self) -> DaemonStatusReply {
        DaemonStatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: build_id(),
            pid: std::process::id(),
            home: self.manager.home().path().into(),
            started_workspaces: self.manager.running() as u64,
            calls: self.calls().saturating_sub(1) + self.manager.unsettled() as u64,
        }
    }

    /// Begins the end.
    pub fn shutdown(&self, drain: bool) -> ShutdownReply {
        self.drain.store(drain, Ordering::SeqCst);
        self.manager.closing().set();
        ShutdownReply { pid: std::process::id() }
    }

    /// Waits until this call must be cut off: its caller can take it up again with the next daemon,
    /// or does not get its answer because nobody waits for calls.
    async fn cut(&self, name: &str) {
        self.manager.closing().wait().await;
        let resumable = [WorkspaceExec::NAME, ExecAttach::NAME, ExecRead::NAME, ShellFollow::NAME]
            .contains(&name);
        let ends = name == pyro_api::Shutdown::NAME;
        if ends || (self.drains() && !resumable) {
            std::future::pending::<()>().await;
        }
    }
}

/// Counts a call while it lives.
struct Counted(Arc<Server>);

impl Counted {
    fn new(server: Arc<Server>) -> Self {
        server.calls.fetch_add(1, Ordering::SeqCst);
        Self(server)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// All calls.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/{call}", post(call))
        .layer(DefaultBodyLimit::max(MAX_CALL))
        .with_state(server)
}

async fn call(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let (sender, receiver) = mpsc::channel(EVENTS);
    let counted = Counted::new(server.clone());
    tokio::spawn(async move {
        let events = Events::new(sender.clone());
        let answer = tokio::select! {
            answer = calls::dispatch(&server, &name, &body, &events) => answer,
            () = server.cut(&name) => return,
            // The caller hung up: dropping the work undoes what it had half done.
            () = sender.closed() => return,
        };
        let last = match answer {
            Ok(value) => Event::Result(value),
            Err(error) => Event::Error(error.to_body()),
        };
        drop(counted);
        events.send(last).await;
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(line(&event)), receiver))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn line(event: &Event) -> Bytes {
    let encoded = serde_json::to_vec(event).or_else(|error| {
        let error = Error::Panicked(format!("an answer cannot be written: {error}"));
        serde_json::to_vec(&Event::Error(error.to_body()))
    });
    let mut line = encoded.unwrap_or_default();
    line.push(b'\n');
    line.into()
}
