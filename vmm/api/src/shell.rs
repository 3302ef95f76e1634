//! Shells: interactive programs on a terminal of the guest, used by any number of callers.
//!
//! What a shell prints is kept by the guest in a bounded buffer and read by cursors that callers
//! hold, so that it survives callers and daemons alike and ends with the VM. Shells leave no trace
//! in the command log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;

/// Opens a shell on a terminal of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellOpen {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Working directory, absolute or below `/workspace`; `/workspace` when absent.
    pub cwd: Option<BytesText>,
    /// Columns of its terminal, 1 to 1000; 120 when absent.
    pub cols: Option<u16>,
    /// Rows of its terminal, 1 to 1000; 30 when absent.
    pub rows: Option<u16>,
    /// Whose it is: `NAME`, `UID`, or either with `:GROUP`; the workspace's user's when absent.
    pub user: Option<String>,
    /// Variables to set.
    #[serde(default)]
    pub env: Vec<(String, BytesText)>,
}

/// Whether a shell runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShellState {
    /// Its program runs.
    Running,
    /// Its program has ended; what it printed can still be read until it is closed.
    Stopped,
}

/// One shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellInfo {
    /// Its workspace.
    pub workspace_id: String,
    /// Its id, unique within the workspace and never used twice.
    pub shell_id: String,
    /// The directory it was started in.
    pub cwd: String,
    /// Columns of its terminal.
    pub cols: u16,
    /// Rows of its terminal.
    pub rows: u16,
    /// Whether it runs.
    pub state: ShellState,
    /// When it was opened (RFC 3339, UTC).
    pub started_at: String,
    /// When its program ended (RFC 3339, UTC).
    pub ended_at: Option<String>,
    /// Exit code of its program once it has ended; 128 + signal number for a signal.
    pub exit_code: Option<i32>,
    /// What the guest runs on.
    pub execution_mode: String,
}

/// The shells of a workspace that were not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellList {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Answer to [`ShellList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellListReply {
    /// Oldest first.
    pub shells: Vec<ShellInfo>,
}

/// Reads what a shell printed from a cursor on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellRead {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Which shell.
    pub shell_id: String,
    /// First byte wanted: 0, or `next_cursor` of the read before.
    #[serde(default)]
    pub cursor: u64,
    /// Most characters in the answer, 1 to 1048576; 65536 when absent.
    pub max_chars: Option<u64>,
    /// Text without escape sequences and control characters.
    #[serde(default)]
    pub plain: bool,
    /// Answer only once nothing was printed for so many milliseconds (at most 10 seconds), or
    /// enough is there; 0 or absent: at once.
    pub wait_for_idle_ms: Option<u64>,
}

/// Answer to [`ShellRead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellReadReply {
    /// The shell.
    #[serde(flatten)]
    pub shell: ShellInfo,
    /// Position of the first byte of `output` in all that the shell has printed. Greater than the
    /// cursor asked for when what was there is no longer kept.
    pub cursor: u64,
    /// Cursor of the next read.
    pub next_cursor: u64,
    /// What was printed; bytes that are not UTF-8 are replaced.
    pub output: String,
    /// Exact bytes (base64) where `output` had to replace some; never with `plain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_b64: Option<String>,
    /// `output` is not all from the cursor asked for to the end: something was no longer kept, or
    /// more can be read from `next_cursor`.
    pub truncated: bool,
}

/// Types into a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellWrite {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Which shell.
    pub shell_id: String,
    /// What to type, at most 1 MiB.
    pub input: BytesText,
    /// Press Enter afterwards.
    #[serde(default = "yes")]
    pub append_newline: bool,
}

fn yes() -> bool {
    true
}

/// Answer to [`ShellWrite`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellWriteReply {
    /// The shell.
    #[serde(flatten)]
    pub shell: ShellInfo,
    /// Bytes of the input, without the added newline.
    pub input_length: u64,
    /// Whether a newline was added.
    pub append_newline: bool,
}

/// Sends a signal to what runs in the foreground of a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellSignal {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Which shell.
    pub shell_id: String,
    /// Signal name with or without `SIG`, such as `INT`, `TERM`, `HUP`, `QUIT`, `KILL`; `INT` when
    /// absent.
    pub signal: Option<String>,
}

/// Answer to [`ShellSignal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellSignalReply {
    /// The shell.
    #[serde(flatten)]
    pub shell: ShellInfo,
    /// The signal, without `SIG`.
    pub signal: String,
}

/// Changes the size of a shell's terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellResize {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Which shell.
    pub shell_id: String,
    /// Columns, 1 to 1000.
    pub cols: u16,
    /// Rows, 1 to 1000.
    pub rows: u16,
}

/// Follows what a shell prints from a cursor on, as `Output` events, until its program ends.
/// Hanging up does not disturb the shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellFollow {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Which shell.
    pub shell_id: String,
    /// First byte wanted.
    #[serde(default)]
    pub cursor: u64,
}

/// Ends a shell with all that it started, and forgets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellClose {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Which shell.
    pub shell_id: String,
}

/// Answer to [`ShellClose`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellCloseReply {
    /// The shell as it ended.
    #[serde(flatten)]
    pub shell: ShellInfo,
    /// Always true.
    pub closed: bool,
}

calls! {
    "shell_open": ShellOpen => ShellInfo;
    "shell_list": ShellList => ShellListReply;
    "shell_read": ShellRead => ShellReadReply;
    "shell_write": ShellWrite => ShellWriteReply;
    "shell_signal": ShellSignal => ShellSignalReply;
    "shell_resize": ShellResize => ShellInfo;
    "shell_follow": ShellFollow => ShellInfo;
    "shell_close": ShellClose => ShellCloseReply;
}
