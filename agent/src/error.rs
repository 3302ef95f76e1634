//! What can fail in the agent, and how it is told to the host.

use std::error::Error as _;
use std::io;

use pyro_proto::{AgentError, ErrorKind, FrameError};
use thiserror::Error;

/// Any failure of the agent.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No such command, file or directory.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// What is there cannot be replaced.
    #[error("{0}")]
    Conflict(String),
    /// One push at a time.
    #[error("another push is under way")]
    Busy,
    /// The program of a shell has ended.
    #[error("{0}")]
    Ended(String),
    /// As many as there may be.
    #[error("{0}")]
    TooMany(String),
    /// A program does not read what is typed.
    #[error("{0}")]
    Stuck(String),
    /// No such user or group.
    #[error("{0}")]
    UnknownUser(String),
    /// A connection to the host failed.
    #[error("talking to the host failed")]
    Frame(#[from] FrameError),
    /// The peer is gone: nobody wants the answer.
    #[error("the caller hung up")]
    HungUp,
}

/// Result of the agent's own operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The error with its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }
}

impl From<&Error> for AgentError {
    fn from(error: &Error) -> Self {
        let kind = match error {
            Error::Io { .. } if is_no_space(error) => ErrorKind::NoSpace,
            Error::NotFound(_) => ErrorKind::NotFound,
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::Conflict(_) => ErrorKind::Conflict,
            Error::Busy => ErrorKind::Busy,
            Error::Ended(_) => ErrorKind::Ended,
            Error::TooMany(_) => ErrorKind::TooMany,
            Error::Stuck(_) => ErrorKind::Stuck,
            Error::UnknownUser(_) => ErrorKind::UnknownUser,
            Error::Io { .. } | Error::Frame(_) | Error::HungUp => ErrorKind::Io,
        };
        AgentError { kind, message: error.chain() }
    }
}

fn is_no_space(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Says what was being done when the kernel refused.
pub trait Doing<T> {
    /// `what` completes "cannot ...": a verb and the thing.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: format!("cannot {}", what()),
            source: source.into(),
        })
    }
}
