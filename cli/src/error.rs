//! What can go wrong on this side of the socket, and the exit code it leads to.

use std::io;

use pyro_api::{ClientError, ErrorBody, ErrorCode, HomeError};
use thiserror::Error;

use crate::signals::READER_GONE;

/// Exit code for a failure of pyro itself where the guest's exit code passes through.
const OWN_FAILURE: u8 = 125;

/// Why a command has no result.
#[derive(Debug, Error)]
pub enum Error {
    /// A call of the daemon failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Refused here, before any call.
    #[error(transparent)]
    Refused(ErrorBody),
    /// There is no home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// This signal came.
    #[error("interrupted")]
    Interrupted(u8),
    /// Standard output takes no more.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Whose exit code a command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCodes {
    /// Its own, by the kind of failure.
    Own,
    /// The guest's; failures of pyro must not look like one.
    Guest,
}

impl Error {
    /// A request that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Refused(ErrorBody::new(ErrorCode::InvalidArgument, message))
    }

    /// A failure of the operating system on this side.
    pub fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self::Refused(ErrorBody::new(ErrorCode::Internal, format!("{}: {source}", what.into())))
    }

    /// Adds the way out, where there is none yet.
    pub fn hint(self, hint: &str) -> Self {
        match self {
            Self::Refused(body) if body.hint.is_none() => Self::Refused(body.hint(hint)),
            other => other,
        }
    }

    /// Whether the daemon died, or was not there, during the call.
    pub fn daemon_lost(&self) -> bool {
        matches!(self, Self::Client(ClientError::Lost | ClientError::Absent { .. }))
    }

    /// Whether whoever reads standard output has gone: nothing is to be said about that.
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Output(source) => source.kind() == io::ErrorKind::BrokenPipe,
            Self::Interrupted(signal) => *signal == READER_GONE,
            _ => false,
        }
    }

    /// Exit code of the process.
    pub fn exit_code(&self, codes: ExitCodes) -> u8 {
        match self {
            Self::Interrupted(signal) => 128 + signal,
            error if error.is_broken_pipe() => 128 + READER_GONE,
            Self::Refused(body) => body.code.exit_code(),
            _ if codes == ExitCodes::Guest => OWN_FAILURE,
            Self::Client(ClientError::Failed(body)) => body.code.exit_code(),
            Self::Client(ClientError::Garbled { .. }) => ErrorCode::Internal.exit_code(),
            Self::Client(_) => ErrorCode::DaemonUnavailable.exit_code(),
            Self::Home(HomeError::Create { .. }) | Self::Output(_) => {
                ErrorCode::Internal.exit_code()
            }
            Self::Home(_) => ErrorCode::InvalidArgument.exit_code(),
        }
    }

    /// As people and programs see it.
    pub fn into_body(self) -> ErrorBody {
        match self {
            Self::Client(error) => error.into_body(),
            Self::Refused(body) => body,
            Self::Home(HomeError::Create { path, source }) => ErrorBody::new(
                ErrorCode::Internal,
                format!("cannot make {}: {source}", path.display()),
            )
            .hint("set PYRO_HOME to a directory that you may write to"),
            Self::Home(error) => ErrorBody::new(ErrorCode::InvalidArgument, error.to_string())
                .hint("set PYRO_HOME to an absolute path"),
            Self::Interrupted(_) => ErrorBody::new(ErrorCode::Cancelled, "interrupted"),
            Self::Output(source) => ErrorBody::new(
                ErrorCode::Internal,
                format!("cannot write to standard output: {source}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: ErrorCode) -> Error {
        Error::Client(ClientError::Failed(ErrorBody::new(code, "x")))
    }

    #[test]
    fn a_failure_never_looks_like_the_guests_exit_code() {
        assert_eq!(failed(ErrorCode::UnknownWorkspace).exit_code(ExitCodes::Own), 3);
        assert_eq!(failed(ErrorCode::UnknownWorkspace).exit_code(ExitCodes::Guest), 125);
        assert_eq!(Error::Client(ClientError::Lost).exit_code(ExitCodes::Guest), 125);
    }

    #[test]
    fn signals_and_broken_pipes_exit_as_a_shell_shows_them() {
        assert_eq!(Error::Interrupted(2).exit_code(ExitCodes::Guest), 130);
        let pipe = Error::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(pipe.exit_code(ExitCodes::Own), 141);
    }
}
