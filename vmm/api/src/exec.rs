//! Commands in a guest.

use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;

/// Runs one command in a VM of its own, which is gone afterwards. `Output` events stream what it
/// prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Kill the command after so many seconds.
    pub timeout_seconds: Option<f64>,
    /// End the VM after so many seconds, whatever it does.
    pub ttl_seconds: Option<u64>,
    /// Give the guest a network.
    #[serde(default)]
    pub network: bool,
    /// Allow running without a VM where no VM can run.
    #[serde(default)]
    pub allow_host_compat: bool,
}

/// Runs one command in a workspace and logs it. Events: `Started`, then `Output` as it comes.
/// Hanging up kills the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Variables to set.
    #[serde(default)]
    pub env: Vec<(String, BytesText)>,
}

/// Follows a command that another call started, from these offsets; the way back after a daemon's
/// death. Hanging up kills the command, as for the call that started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its workspace.
    pub workspace_id: String,
    /// 1, 2, 3, ... within the workspace.
    pub sequence: u64,
    /// Program and arguments.
    pub argv: Vec<BytesText>,
    /// When it started: RFC 3339, UTC.
    pub started_at: String,
    /// It was killed because its caller hung up.
    pub killed: bool,
    /// Everything else.
    #[serde(flatten)]
    pub result: CommandResult,
}

/// The logged commands of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceLogs {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Answer to [`WorkspaceLogs`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceLogsReply {
    /// The workspace.
    pub workspace_id: String,
    /// Finished commands in order.
    pub entries: Vec<LogEntry>,
    /// Commands still running.
    pub running: Vec<u64>,
}

calls! {
    "run": Run => CommandResult;
    "workspace_exec": WorkspaceExec => LogEntry;
    "workspace_exec_attach": ExecAttach => LogEntry;
    "workspace_logs": WorkspaceLogs => WorkspaceLogsReply;
}
