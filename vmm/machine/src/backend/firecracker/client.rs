//! Requests to Firecracker's socket, one after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::api::Request;
use crate::vsock::SocketDir;
use crate::{Error, Result};

/// How long Firecracker may take to make its socket; a busy host takes its time.
const START: Duration = Duration::from_secs(20);
/// Pause before a socket that is not there yet is tried again.
const AGAIN: Duration = Duration::from_millis(2);
/// How long it may take to answer; tests wait for it.
const ANSWER: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// A connection to the API.
pub(super) struct Client {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

/// What an error says: `Error` of the API description.
#[derive(Deserialize)]
struct Fault {
    fault_message: String,
}

impl Client {
    /// Connects to the socket `name` as soon as it is there, or fails with the child.
    pub(super) fn connect(dir: &SocketDir, name: &str, child: &mut Child) -> Result<Self> {
        Self::over(socket(dir, name, child)?)
    }

    /// Speaks over a socket that is connected.
    pub(super) fn over(socket: OwnedFd) -> Result<Self> {
        let silent = |reason: String| Error::FirecrackerSilent { step: "connect".into(), reason };
        let broken = |error: io::Error| silent(error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let sender = runtime.block_on(async {
            let stream = UnixStream::from_std(socket.into()).map_err(broken)?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| silent(error.to_string()))?;
            // It ends with the sender; what goes wrong, the sender is told.
            tokio::spawn(connection);
            Ok::<_, Error>(sender)
        })?;
        Ok(Self { runtime, sender })
    }

    /// Makes a request, which must be answered with success.
    pub(super) fn send(&mut self, request: &Request) -> Result<()> {
        self.send_within(ANSWER, request)
    }

    /// The same, for what takes its time.
    pub(super) fn send_within(&mut self, limit: Duration, request: &Request) -> Result<()> {
        let silent = |reason: String| Error::FirecrackerSilent { step: request.step(), reason };
        let http = hyper::Request::builder()
            .method(request.method)
            .uri(&request.path)
            .header("Host", "localhost")
            .header("Accept", "application/json")
            .header("Content-Type", "application/json")
            .body(Full::from(request.body.to_string()))
            .map_err(|error| silent(error.to_string()))?;
        let sender = &mut self.sender;
        let answer = async {
            sender.ready().await.map_err(|error| error.to_string())?;
            let answer = sender.send_request(http).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let answered = self.runtime.block_on(async { timeout(limit, answer).await });
        let late = || silent(format!("it took longer than {} seconds", limit.as_secs()));
        let (status, body) = answered.map_err(|_| late())?.map_err(silent)?;
        if status.is_success() {
            return Ok(());
        }
        let fault = match serde_json::from_slice::<Fault>(&body) {
            Ok(fault) => fault.fault_message,
            Err(_) => String::from_utf8_lossy(&body).into_owned(),
        };
        let fault = fault.chars().filter(|c| !c.is_control() || *c == ' ').take(500).collect();
        Err(Error::FirecrackerRefused { step: request.step(), status: status.as_u16(), fault })
    }
}

/// Nothing announces the socket, so it is tried; a child that ends will make none.
fn socket(dir: &SocketDir, name: &str, child: &mut Child) -> Result<OwnedFd> {
    let silent = |reason: String| Error::FirecrackerSilent { step: "connect".into(), reason };
    let give_up = Instant::now() + START;
    loop {
        match dir.connect(name) {
            Ok(socket) => return Ok(socket),
            Err(error) if Instant::now() >= give_up => return Err(silent(error.to_string())),
            Err(_) => {}
        }
        match child.try_wait() {
            Ok(None) => std::thread::park_timeout(AGAIN),
            Ok(Some(status)) => {
                let mut said = String::new();
                if let Some(stderr) = &mut child.stderr {
                    let _ = io::Read::read_to_string(&mut io::Read::take(stderr, 2048), &mut said);
                }
                let said = said.lines().next().unwrap_or_default().escape_debug().to_string();
                return Err(silent(format!("it ended ({status}): {said}")));
            }
            Err(error) => return Err(silent(error.to_string())),
        }
    }
}
