//! What a host asks of an agent: one call a connection.

use pyro_format::{ChunkId, EntryName, FileId, Mode, Mtime, TreePath};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::report::{Change, ReportEnd};
use crate::shell::{ShellId, ShellInfo, ShellRequest, TerminalSize};

/// Names one command; chosen by the host, never used twice in a guest's life.
pub type ExecId = u64;
/// Names one push; chosen by the host, never used twice in a guest's life.
pub type PushId = u64;

/// First message of a connection from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Is the agent there? Answer: `Alive`.
    Ping,
    /// Starts a command. Answer: `Started`, or `Error` when it cannot be started (an `Exit` is kept
    /// all the same: 127 not found, 126 not executable).
    Exec(ExecRequest),
    /// Follows a command from these offsets. Answers: `Output` in order for each stream, then
    /// `Exited`. Hanging up does not disturb the command.
    Attach {
        /// Which command.
        id: ExecId,
        /// First byte of standard output wanted.
        stdout_from: u64,
        /// First byte of standard error wanted.
        stderr_from: u64,
    },
    /// Kills a command and everything it started. Answer: `Done`. A command that has ended is no
    /// error; one that was forgotten is none while something that it started runs.
    Kill {
        /// Which command.
        id: ExecId,
    },
    /// All commands not yet forgotten. Answer: `Execs`.
    ListExecs,
    /// The host has recorded the outcome: the agent may drop it. Answer: `Done`.
    Forget {
        /// Which command.
        id: ExecId,
    },
    /// What changed in `/workspace`. Answers: `Changes` any number of times, then `ReportEnd`.
    Report {
        /// Look at every entry of `/workspace` instead of the upper layer alone, and hash every
        /// file anew.
        full: bool,
    },
    /// How these files of `/workspace` are cut now. Answers: one `Chunks` or `Unreadable` for
    /// each, in order.
    Cut {
        /// Regular files.
        paths: Vec<TreePath>,
    },
    /// Bytes of files of `/workspace`. Answers: for each piece, `Data` until it is complete, or
    /// `Unreadable` in place of what is missing; then `Done`.
    Read {
        /// What to read, in this order.
        pieces: Vec<Piece>,
    },
    /// Prepares a push outside `/workspace`: everything that is not there already is fetched from
    /// the host and made durable. Answer: `Staged`; the push then waits for `CommitPush` or
    /// `AbortPush` *on this connection*, and is undone when the connection ends.
    StagePush {
        /// Names the push, and the [`crate::Source`] to fetch from.
        id: PushId,
        /// Where it goes in `/workspace`.
        dest: TreePath,
        /// What is pushed.
        item: PushItem,
    },
    /// Moves a staged push into place, all of it or nothing. Answer: `Done`.
    CommitPush,
    /// Drops a staged push. Answer: `Done`.
    AbortPush,
    /// Ends all commands, syncs and powers off. Answer: `Done`, before the power goes.
    PowerOff,
    /// Opens a shell on a terminal of its own. Answer: `Shell`. Since generation 2, as all below.
    OpenShell(ShellRequest),
    /// All shells that were not closed. Answer: `Shells`.
    ListShells,
    /// What a shell printed, read from a position on; reading takes nothing away. Answer:
    /// `ShellOutput`. A position past the end is `Invalid`.
    ReadShell {
        /// Which shell.
        id: ShellId,
        /// First byte wanted.
        from: u64,
        /// Most bytes wanted, at most [`crate::MAX_DATA`].
        max: u32,
        /// Answer only once nothing was printed for so many milliseconds, `max` bytes are there, the
        /// program has ended, or ten seconds are over.
        idle_ms: u32,
    },
    /// Follows what a shell prints from a position on. Answers: `Output` in order, with gaps where
    /// the host was too slow, then `Shell` once its program has ended. Hanging up does not disturb
    /// the shell. A position past the end is `Invalid`.
    FollowShell {
        /// Which shell.
        id: ShellId,
        /// First byte wanted.
        from: u64,
    },
    /// Types into a shell. Answer: `Shell`, once its terminal has taken all of it.
    WriteShell {
        /// Which shell.
        id: ShellId,
        /// The bytes, at most [`crate::MAX_TYPED`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Sends a signal to the process group in a terminal's foreground. Answer: `Shell`.
    SignalShell {
        /// Which shell.
        id: ShellId,
        /// Signal number.
        signal: u8,
    },
    /// Changes the size of a shell's terminal. Answer: `Shell`.
    ResizeShell {
        /// Which shell.
        id: ShellId,
        /// The new size.
        size: TerminalSize,
    },
    /// Kills a shell with everything it started and forgets it. Answer: `Shell`, as it ended.
    CloseShell {
        /// Which shell.
        id: ShellId,
    },
    /// Stops all commands and shells. Answer: `Frozen`; they stand still until `Thaw` comes *on this
    /// connection*, the connection ends, or `hold_ms` are over. Since generation 3, as all below.
    Freeze {
        /// Longest wait for all of them to stand still, in milliseconds.
        within_ms: u32,
        /// Longest time that they stand still for this call, in milliseconds.
        hold_ms: u32,
    },
    /// Lets frozen commands go on. Answer: `Thawed`.
    Thaw,
    /// Makes a user the owner of `/workspace`: of its top, of the lower tree, of what is pushed from
    /// here on. Holds until the guest reboots. Answer: `Done`. Since generation 4, as all below.
    SetOwner {
        /// Who.
        user: UserName,
    },
    /// As `Exec`, by a user. One that the environment does not have is `UnknownUser`, and the
    /// command is not known afterwards.
    ExecAs {
        /// What to start.
        request: ExecRequest,
        /// Who runs it.
        user: UserName,
    },
    /// As `OpenShell`, by a user.
    OpenShellAs {
        /// What to open.
        request: ShellRequest,
        /// Who it belongs to.
        user: UserName,
    },
}

/// A user of the environment: `NAME`, `UID`, or either with `:GROUP` or `:GID`, as an image's `User`
/// (`config.md` of the OCI image specification).
pub type UserName = ByteString;

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Names the command.
    pub id: ExecId,
    /// Program and arguments; the program is looked up in `PATH`. Never empty.
    pub argv: Vec<ByteString>,
    /// Working directory, absolute.
    pub cwd: ByteString,
    /// Variables set on top of the agent's defaults.
    pub env: Vec<(ByteString, ByteString)>,
    /// Kill the whole process tree after so many milliseconds.
    pub timeout_ms: Option<u64>,
    /// Bytes of each stream kept from its start until `Forget`. What comes after is passed on to
    /// whoever is attached and not kept.
    pub keep_bytes: u64,
}

/// Bytes that need not be text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteString(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Which of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal number for a signal; 124 after a timeout.
    pub code: i32,
    /// The timeout ended it.
    pub timed_out: bool,
    /// `Kill` ended it.
    pub killed: bool,
    /// Wall time from start to end.
    pub duration_ms: u64,
    /// Bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
}

/// What became of a command so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecState {
    /// Still running.
    Running,
    /// Ended, not yet forgotten.
    Exited(Exit),
}

/// One command the agent knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecInfo {
    /// Which command.
    pub id: ExecId,
    /// Running, or how it ended.
    pub state: ExecState,
}

/// What a push brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushItem {
    /// The entries of the pushed tree are merged into the destination directory.
    Directory {
        /// Mode for the destination if it does not exist yet.
        mode: Mode,
    },
    /// One file: the pushed tree's only entry. It goes *into* the destination if that is a directory
    /// (or `into` says so), else it *becomes* the destination.
    File {
        /// Name of the tree's only entry.
        name: EntryName,
        /// The destination was written as a directory (it ended in `/`).
        into: bool,
    },
}

/// A part of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The file.
    pub path: TreePath,
    /// First byte.
    pub offset: u64,
    /// Bytes wanted.
    pub len: u64,
}

/// How a file is cut (see [`pyro_format::cut`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChunks {
    /// Length of the file in bytes.
    pub size: u64,
    /// Hash of the file.
    pub content: FileId,
    /// Modification time.
    pub mtime: Mtime,
    /// Id and length of each chunk, in order. A claim: the host checks what it takes.
    pub chunks: Vec<(ChunkId, u32)>,
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The agent is there.
    Alive,
    /// The command runs.
    Started,
    /// More output of a command.
    Output {
        /// Which stream.
        stream: Stream,
        /// Position of the first byte. A gap before it was not kept.
        offset: u64,
        /// The bytes, at most [`crate::MAX_DATA`].
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// The command ended; no more output.
    Exited(Exit),
    /// All commands.
    Execs(Vec<ExecInfo>),
    /// Part of a change report.
    Changes(Vec<Change>),
    /// End of a change report.
    ReportEnd(ReportEnd),
    /// How one file is cut.
    Chunks(FileChunks),
    /// Part of one piece, at most [`crate::MAX_DATA`] bytes.
    Data(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A file or the rest of a piece cannot be read: it is gone, too short, or no regular file.
    Unreadable {
        /// Why, for people.
        message: String,
    },
    /// The push is ready to be committed.
    Staged {
        /// Files, links and directories that will be written.
        entries: u64,
        /// Bytes of content fetched from the host.
        fetched_bytes: u64,
    },
    /// The call is done.
    Done,
    /// The call failed; nothing was changed.
    Error(AgentError),
    /// One shell. Since generation 2, as all below.
    Shell(ShellInfo),
    /// All shells, by id.
    Shells(Vec<ShellInfo>),
    /// What a shell printed.
    ShellOutput {
        /// The shell, at the moment of reading.
        shell: ShellInfo,
        /// Position of the first byte. Greater than asked for when that is no longer kept.
        offset: u64,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Commands and shells were told to stand still. Since generation 3, as all below.
    Frozen {
        /// All of them do. Some tasks cannot: those that wait for the lower layer, for one.
        complete: bool,
        /// There are any.
        busy: bool,
    },
    /// Commands and shells go on.
    Thawed {
        /// They stood still until now.
        lasted: bool,
        /// How long they did, in microseconds.
        paused_us: u64,
    },
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct AgentError {
    /// Kind, for programs.
    pub kind: ErrorKind,
    /// What failed, for people. It comes from a guest: escape it before showing it.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// No such command, file or directory.
    NotFound,
    /// The request makes no sense (an empty argv, a path through a link, ...).
    Invalid,
    /// What is there cannot be replaced by what was pushed.
    Conflict,
    /// The workspace's disk is full.
    NoSpace,
    /// Another push is under way.
    Busy,
    /// The guest's kernel refused.
    Io,
    /// The shell's program has ended. Since generation 2, as all below.
    Ended,
    /// There are as many of these as there may be.
    TooMany,
    /// The program in the shell does not read what is typed.
    Stuck,
    /// The environment does not have the user, or the group. Since generation 4.
    UnknownUser,
}
