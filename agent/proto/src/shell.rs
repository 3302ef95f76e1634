//! Shells: programs on a terminal of the guest. Since generation 2.

use serde::{Deserialize, Serialize};

use crate::call::ByteString;

/// Names one shell; chosen by the host, never used twice in a guest's life.
pub type ShellId = u64;

/// A shell to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellRequest {
    /// Names the shell.
    pub id: ShellId,
    /// Working directory, absolute.
    pub cwd: ByteString,
    /// Size of its terminal.
    pub size: TerminalSize,
    /// Variables set on top of the agent's defaults.
    pub env: Vec<(ByteString, ByteString)>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns, at least 1.
    pub cols: u16,
    /// Rows, at least 1.
    pub rows: u16,
}

/// One shell as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellInfo {
    /// Which shell.
    pub id: ShellId,
    /// The directory it was started in.
    pub cwd: ByteString,
    /// Size of its terminal.
    pub size: TerminalSize,
    /// When it was opened: nanoseconds since 1970, by the guest's clock.
    pub started_ns: u64,
    /// How its program ended, once it has.
    pub exit: Option<ShellExit>,
    /// Bytes printed so far, kept or not.
    pub printed: u64,
}

/// How a shell's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellExit {
    /// Exit code; 128 + signal number for a signal.
    pub code: i32,
    /// When: nanoseconds since 1970, by the guest's clock.
    pub ended_ns: u64,
}
