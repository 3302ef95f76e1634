//! The host's side of calls to an agent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pyro_machine::Machine;
use pyro_proto::{AgentError, Call, FrameError, HOST_FRAME_LIMIT, Reply, read_frame, write_frame};
use thiserror::Error;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest silence in an answer. Hashing a very large file under emulation is the slowest honest
/// case; a guest that says nothing for longer has hung.
const SILENCE: Duration = Duration::from_secs(600);

/// Why a guest did not do what it was asked.
#[derive(Debug, Error)]
pub enum GuestError {
    /// The agent cannot be reached.
    #[error("the guest's agent cannot be reached")]
    Connect(#[source] pyro_machine::Error),
    /// The connection broke, or what came over it is no message.
    #[error("the connection to the guest's agent failed")]
    Frame(#[from] FrameError),
    /// The connection ended in the middle of an answer.
    #[error("the guest's agent hung up before it had answered")]
    HungUp,
    /// No honest agent answers like this.
    #[error("the guest's agent gave an answer that does not fit the question")]
    Unexpected,
    /// Nothing came for too long.
    #[error("the guest's agent did not answer within {0:?}")]
    Silent(Duration),
    /// The agent says why not.
    #[error("{}", pyro_format::escape(.0.message.as_bytes()))]
    Refused(AgentError),
    /// The guest speaks a generation of the wire that this host does not know.
    #[error("the guest speaks generation {0} of the protocol, which this version of pyro does not")]
    Generation(u16),
}

/// One call and its answers.
pub struct Conversation {
    stream: Counted,
}

impl Conversation {
    /// Connects to the agent and makes a call.
    pub async fn open(machine: &Machine, call: &Call) -> Result<Self, GuestError> {
        let stream = machine.connect(pyro_proto::AGENT_PORT).await.map_err(GuestError::Connect)?;
        let mut conversation = Self { stream: Counted { stream, received: 0 } };
        conversation.say(call).await?;
        Ok(conversation)
    }

    /// Goes on with the conversation.
    pub async fn say(&mut self, call: &Call) -> Result<(), GuestError> {
        Ok(write_frame(&mut self.stream.stream, call).await?)
    }

    /// The next answer; an `Error` from the agent is an error here.
    pub async fn next(&mut self) -> Result<Reply, GuestError> {
        timeout(SILENCE, self.next_whenever()).await.map_err(|_| GuestError::Silent(SILENCE))?
    }

    /// The next answer, however long it takes.
    pub async fn next_whenever(&mut self) -> Result<Reply, GuestError> {
        match read_frame(&mut self.stream, HOST_FRAME_LIMIT).await? {
            Some(Reply::Error(error)) => Err(GuestError::Refused(error)),
            Some(reply) => Ok(reply),
            None => Err(GuestError::HungUp),
        }
    }

    /// Bytes that the agent has sent so far.
    pub fn received(&self) -> u64 {
        self.stream.received
    }

    /// Waits for `Done`.
    pub async fn done(&mut self) -> Result<(), GuestError> {
        match self.next().await? {
            Reply::Done => Ok(()),
            _ => Err(GuestError::Unexpected),
        }
    }
}

/// Makes a call whose only answer is `Done`.
pub async fn ask(machine: &Machine, call: &Call) -> Result<(), GuestError> {
    Conversation::open(machine, call).await?.done().await
}

/// A stream that counts what is read from it.
struct Counted {
    stream: UnixStream,
    received: u64,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.received += (buffer.filled().len() - before) as u64;
        polled
    }
}
