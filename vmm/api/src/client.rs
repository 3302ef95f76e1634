//! The client's end of the daemon's socket.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::call::Call;
use crate::daemon::DaemonStatus;
use crate::error::{ErrorBody, ErrorCode};
use crate::event::Event;
use crate::home::Home;

/// Longest line of an answer, in bytes: a diff of a million entries is one line.
const MAX_LINE: usize = 1 << 30;

/// Largest call, in bytes of JSON: more than any single argument may have.
pub const MAX_CALL: usize = 16 << 20;

/// Why a call has no reply.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The daemon answered with an error.
    #[error("{0}")]
    Failed(ErrorBody),
    /// No daemon listens.
    #[error("no daemon listens in {home}")]
    Absent {
        /// Its home.
        home: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("the daemon went away before it had answered")]
    Lost,
    /// The daemon's answer is not one that this client understands.
    #[error("the daemon's answer to '{call}' cannot be read")]
    Garbled {
        /// Name of the call.
        call: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The daemon could not be started.
    #[error("the daemon cannot be started: {0}")]
    Launch(String),
}

impl ClientError {
    /// As every door shows it.
    pub fn into_body(self) -> ErrorBody {
        match self {
            Self::Failed(body) => body,
            error @ (Self::Absent { .. } | Self::Lost | Self::Launch(_)) => ErrorBody::new(
                ErrorCode::DaemonUnavailable,
                error.to_string(),
            )
            .hint("'pyro doctor' tells what is wrong; the daemon's log is daemon.log in PYRO_HOME"),
            error @ Self::Garbled { .. } => ErrorBody::new(ErrorCode::Internal, error.to_string()),
        }
    }
}

/// Starts a daemon for a home and returns once it listens.
pub trait Launcher {
    /// Starts it. An error is for people.
    fn launch(&self, home: &Home) -> impl Future<Output = Result<(), String>> + Send;
    /// Identity of the build that `launch` would start.
    fn build(&self) -> String;
}

/// Makes calls of the daemon of one home.
#[derive(Debug, Clone)]
pub struct Client {
    home: Home,
}

impl Client {
    /// A client of the daemon that lives in `home`, running or not.
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    /// The same, after making sure that a daemon of the launcher's build runs: one is started when
    /// none does, and one of another build is asked to make room.
    pub async fn ensure(home: Home, launcher: &impl Launcher) -> Result<Self, ClientError> {
        let client = Self::new(home);
        // Twice: the daemon that was there may end, or be replaced, between two steps.
        for _ in 0..2 {
            match client.call(&DaemonStatus {}, |_| {}).await {
                Ok(status) if status.build == launcher.build() => return Ok(client),
                Ok(_) => {
                    let _ = client.call(&crate::daemon::Shutdown { drain: true }, |_| {}).await;
                }
                Err(ClientError::Absent { .. } | ClientError::Lost) => {}
                Err(error) => return Err(error),
            }
            launcher.launch(&client.home).await.map_err(ClientError::Launch)?;
        }
        client.call(&DaemonStatus {}, |_| {}).await.map(|_| client)
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Makes a call; `event` sees everything but the last line. Dropping the future hangs up.
    pub async fn call<C: Call>(
        &self,
        call: &C,
        mut event: impl FnMut(Event),
    ) -> Result<C::Reply, ClientError> {
        let garbled = |source| ClientError::Garbled { call: C::NAME, source };
        let body = serde_json::to_vec(call).map_err(garbled)?;
        if body.len() > MAX_CALL {
            return Err(ClientError::Failed(too_large(C::NAME, body.len())));
        }
        let stream = connect(&self.home.socket()).await.map_err(|source| ClientError::Absent {
            home: self.home.path().display().to_string(),
            source,
        })?;
        let lost = |_| ClientError::Lost;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let request = Request::post(format!("/v1/{}", C::NAME))
            .header("host", "pyro")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a constant request is valid");
        let answer = async {
            let mut body = sender.send_request(request).await.map_err(lost)?.into_body();
            let mut line = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(lost)?;
                let Ok(data) = frame.into_data() else { continue };
                for part in data.split_inclusive(|b| *b == b'\n') {
                    line.extend_from_slice(part);
                    if line.len() > MAX_LINE {
                        return Err(ClientError::Lost);
                    }
                    if line.last() != Some(&b'\n') {
                        continue;
                    }
                    match serde_json::from_slice(&line).map_err(garbled)? {
                        Event::Result(value) => {
                            return serde_json::from_value(value).map_err(garbled);
                        }
                        Event::Error(body) => return Err(ClientError::Failed(body)),
                        other => event(other),
                    }
                    line.clear();
                }
            }
            Err(ClientError::Lost)
        };
        tokio::pin!(connection, answer);
        // The connection does the transport's work; it must not be given up before the answer.
        tokio::select! {
            biased;
            reply = &mut answer => reply,
            _ = &mut connection => answer.await,
        }
    }
}

fn too_large(call: &str, len: usize) -> ErrorBody {
    ErrorBody::new(
        ErrorCode::InvalidArgument,
        format!("the arguments of '{call}' are too large: {len} bytes of JSON, at most {MAX_CALL}"),
    )
    .hint("bring large input in as a file, with 'pyro workspace sync push'")
}

/// Connects through the directory's descriptor: the path of a socket may have 108 bytes at most
/// (unix(7)), a home may have more.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = std::fs::File::open(dir)?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_no_daemon_takes_is_not_sent() {
        let nowhere = Home::at(Path::new("/nonexistent/pyro")).unwrap();
        let call = crate::ShellWrite {
            workspace_id: "w".into(),
            shell_id: "shell-1".into(),
            input: crate::BytesText(vec![0; 10 << 20]),
            append_newline: false,
        };
        let error = Client::new(nowhere).call(&call, |_| {}).await.unwrap_err().into_body();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.contains("'shell_write'"), "{error}");
    }
}
