//! Commands in a guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;

/// Runs one command in a VM of its own, which is gone afterwards. `Output` events stream what it
/// prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Environment name.
    pub environment: String,
    /// Program and arguments.
    pub command: Vec<BytesText>,
    /// Virtual CPUs; 1 when absent.
    pub vcpu_count: Option<u32>,
    /// Memory in MiB; 1024 when absent.
    pub mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB; 16384 when absent.
    pub disk_mib: Option<u32>,
    /// Who runs the command: `NAME`, `UID`, or either with `:GROUP`; the image's user, or root, when
    /// absent. `/workspace` is theirs.
    pub user: Option<String>,
    /// Kill the command after so many seconds.
    pub timeout_seconds: Option<f64>,
    /// End the VM after so many seconds, whatever it does.
    pub ttl_seconds: Option<u64>,
    /// Give the guest a network: connections out to public addresses; never to this host, link-local
    /// or private addresses.
    #[serde(default)]
    pub network: bool,
    /// Allow running without a VM where no VM can run.
    #[serde(default)]
    pub allow_host_compat: bool,
}

/// Runs one command in a workspace and logs it. Events: `Started`, then `Output` as it comes.
/// Hanging up kills the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceExec {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Program and arguments.
    pub command: Vec<BytesText>,
    /// Kill the command after so many seconds.
    pub timeout_seconds: Option<f64>,
    /// Working directory; `/workspace` when absent.
    pub cwd: Option<BytesText>,
    /// Who runs it: `NAME`, `UID`, or either with `:GROUP`; the workspace's user when absent.
    pub user: Option<String>,
    /// Variables to set.
    #[serde(default)]
    pub env: Vec<(String, BytesText)>,
}

/// Follows a command that another call started, from these offsets; the way back after a daemon's
/// death. Hanging up kills the command, as for the call that started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecAttach {
    /// Workspace id or name.
    pub workspace_id: String,
    /// The command's number in the log.
    pub sequence: u64,
    /// First byte of standard output still wanted.
    pub stdout_from: u64,
    /// First byte of standard error still wanted.
    pub stderr_from: u64,
}

/// How a command of [`Run`] ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandResult {
    /// Environment it ran in.
    pub environment: String,
    /// The command as a shell line.
    pub command: String,
    /// Its working directory.
    pub cwd: String,
    /// Start of its standard output, at most 4 MiB; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Start of its standard error, likewise.
    pub stderr: String,
    /// Exact bytes (base64) where `stdout` had to replace some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_b64: Option<String>,
    /// Exact bytes (base64) where `stderr` had to replace some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_b64: Option<String>,
    /// More standard output came than is kept here.
    pub stdout_truncated: bool,
    /// More standard error came than is kept here.
    pub stderr_truncated: bool,
    /// Exit code; 128 + signal number for a signal; 124 after a timeout.
    pub exit_code: i32,
    /// The timeout ended it.
    pub timed_out: bool,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// What the guest ran on: `qemu-kvm` or `qemu-tcg`.
    pub execution_mode: String,
}

/// One logged command of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// Its workspace.
    pub workspace_id: String,
    /// 1, 2, 3, ... within the workspace.
    pub sequence: u64,
    /// Program and arguments.
    pub argv: Vec<BytesText>,
    /// When it started: RFC 3339, UTC.
    pub started_at: String,
    /// It was killed: its caller hung up, or somebody asked for it.
    pub killed: bool,
    /// Everything else.
    #[serde(flatten)]
    pub result: CommandResult,
}

/// The logged commands of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceLogs {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Answer to [`WorkspaceLogs`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceLogsReply {
    /// The workspace.
    pub workspace_id: String,
    /// Finished commands in order.
    pub entries: Vec<LogEntry>,
    /// Commands still running.
    pub running: Vec<u64>,
}

/// Starts a command in a workspace and leaves it running: it belongs to no caller, is logged when it
/// ends, and is read, awaited and killed by its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecStart {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Program and arguments.
    pub command: Vec<BytesText>,
    /// Kill the command after so many seconds.
    pub timeout_seconds: Option<f64>,
    /// Working directory; `/workspace` when absent.
    pub cwd: Option<BytesText>,
    /// Who runs it: `NAME`, `UID`, or either with `:GROUP`; the workspace's user when absent.
    pub user: Option<String>,
    /// Variables to set.
    #[serde(default)]
    pub env: Vec<(String, BytesText)>,
}

/// Reads what a command has printed, running or ended, and how it stands; waits for its end first
/// when asked to. Hanging up does not disturb the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRead {
    /// Workspace id or name.
    pub workspace_id: String,
    /// The command's number in the log.
    pub sequence: u64,
    /// First byte of standard output wanted: 0, or `stdout_next_cursor` of the read before.
    #[serde(default)]
    pub stdout_cursor: u64,
    /// First byte of standard error wanted, likewise.
    #[serde(default)]
    pub stderr_cursor: u64,
    /// Most bytes of each stream in the answer, 1 to 4194304; 65536 when absent.
    pub max_bytes: Option<u64>,
    /// Answer when the command has ended or after so many seconds, whichever is first; 0 or absent:
    /// at once.
    pub wait_seconds: Option<f64>,
}

/// Kills a command and everything it started, and waits until it is dead. One that has ended is no
/// error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecKill {
    /// Workspace id or name.
    pub workspace_id: String,
    /// The command's number in the log.
    pub sequence: u64,
}

/// Whether a command runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecState {
    /// It runs.
    #[default]
    Running,
    /// It has ended and is logged.
    Exited,
}

/// How a command stands, and a part of what it printed: answer to [`ExecStart`], [`ExecRead`] and
/// [`ExecKill`]. The first 4 MiB of each stream are kept. Start and kill show the beginning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecView {
    /// Its workspace.
    pub workspace_id: String,
    /// Its number in the log.
    pub sequence: u64,
    /// The command as a shell line.
    pub command: String,
    /// Its working directory.
    pub cwd: String,
    /// Whether it runs.
    pub state: ExecState,
    /// When it started (RFC 3339, UTC).
    pub started_at: String,
    /// Exit code once it has ended; 128 + signal number for a signal; 124 after a timeout.
    pub exit_code: Option<i32>,
    /// The timeout ended it.
    pub timed_out: bool,
    /// It was killed.
    pub killed: bool,
    /// Wall time in milliseconds, so far or in all.
    pub duration_ms: u64,
    /// Standard output from `stdout_cursor` on; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error from `stderr_cursor` on, likewise.
    pub stderr: String,
    /// Exact bytes (base64) where `stdout` had to replace some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_b64: Option<String>,
    /// Exact bytes (base64) where `stderr` had to replace some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_b64: Option<String>,
    /// Position of the first byte of `stdout`.
    pub stdout_cursor: u64,
    /// Position of the first byte of `stderr`.
    pub stderr_cursor: u64,
    /// Cursor of the next read of standard output.
    pub stdout_next_cursor: u64,
    /// Cursor of the next read of standard error.
    pub stderr_next_cursor: u64,
    /// More standard output than this was printed: read on at `stdout_next_cursor`, as far as it is
    /// kept.
    pub stdout_truncated: bool,
    /// More standard error than this was printed, likewise.
    pub stderr_truncated: bool,
    /// What the guest runs on.
    pub execution_mode: String,
}

calls! {
    "run": Run => CommandResult;
    "workspace_exec": WorkspaceExec => LogEntry;
    "workspace_exec_attach": ExecAttach => LogEntry;
    "workspace_exec_start": ExecStart => ExecView;
    "workspace_exec_read": ExecRead => ExecView;
    "workspace_exec_kill": ExecKill => ExecView;
    "workspace_logs": WorkspaceLogs => WorkspaceLogsReply;
}
