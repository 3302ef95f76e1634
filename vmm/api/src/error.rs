//! Errors as every door shows them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kinds of failure, for programs. Names never change; new ones may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense.
    InvalidArgument,
    /// No environment has this name.
    UnknownEnvironment,
    /// The environment is known but not pulled, or its cache is broken.
    EnvironmentNotInstalled,
    /// No workspace has this id or name.
    UnknownWorkspace,
    /// No VM has this id.
    UnknownVm,
    /// The workspace has no shell with this id.
    UnknownShell,
    /// The workspace has no snapshot with this name.
    UnknownSnapshot,
    /// The workspace has run no command with this number.
    UnknownCommand,
    /// The shell's program has ended.
    ShellStopped,
    /// The host path is not under a root that the server may use.
    PathNotAllowed,
    /// The workspace is not in a state that allows this (stopped, for one).
    WorkspaceState,
    /// A path that was named does not exist.
    PathNotFound,
    /// The path leaves `/workspace`, or an archive member leaves its destination.
    OutsideWorkspace,
    /// What would be written exists already.
    AlreadyExists,
    /// What is there cannot be replaced by what comes.
    Conflict,
    /// The workspace no longer holds the reviewed tree.
    TreeChanged,
    /// A source file cannot be read, or is no file, directory or archive.
    UnreadableSource,
    /// A source file kept changing while it was read.
    ChangingSource,
    /// An archive is damaged or hostile.
    BadArchive,
    /// No baseline has this id.
    UnknownBaseline,
    /// A program that pyro needs is not installed.
    MissingTool,
    /// A disk is full.
    NoSpace,
    /// Stored data is damaged.
    Damaged,
    /// The guest did not boot.
    BootFailed,
    /// The guest did not do what was asked, or broke the protocol.
    GuestFailed,
    /// Building an environment failed.
    BuildFailed,
    /// A registry cannot be reached, refuses, or wants other credentials.
    RegistryFailed,
    /// An image is damaged, or not one that can be used.
    BadImage,
    /// This build cannot do it (yet), or this machine cannot.
    Unsupported,
    /// Something else is using it.
    Busy,
    /// The caller hung up.
    Cancelled,
    /// The daemon cannot be started or reached.
    DaemonUnavailable,
    /// The operating system refused something, or pyro has a bug.
    Internal,
}

impl ErrorCode {
    /// Exit code of the command line for this failure (documented in `docs/public-contract.md`).
    pub const fn exit_code(self) -> u8 {
        use ErrorCode::*;
        match self {
            InvalidArgument | OutsideWorkspace | PathNotAllowed | BadArchive | BadImage => 2,
            UnknownEnvironment
            | EnvironmentNotInstalled
            | UnknownWorkspace
            | UnknownVm
            | UnknownShell
            | UnknownCommand
            | UnknownSnapshot
            | PathNotFound
            | UnknownBaseline => 3,
            WorkspaceState | ShellStopped | AlreadyExists | Conflict | TreeChanged | Busy
            | ChangingSource => 4,
            MissingTool | Unsupported | NoSpace | DaemonUnavailable | RegistryFailed => 5,
            Damaged => 6,
            Cancelled => 130,
            UnreadableSource | BootFailed | GuestFailed | BuildFailed | Internal => 1,
        }
    }
}

/// One failure: what, why, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Kind.
    pub code: ErrorCode,
    /// The thing and the reason, safe to show.
    pub message: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
}

impl ErrorBody {
    /// A failure without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ErrorBody {}

/// What `--json` prints for a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDocument {
    /// The failure.
    pub error: ErrorBody,
}
