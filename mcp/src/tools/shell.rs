//! Shells: programs that want a terminal.

use std::collections::BTreeMap;

use pyro_api::{
    ErrorBody, ErrorCode, ShellInfo, ShellOpen, ShellRead, ShellReadReply, ShellWrite,
    ShellWriteReply,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::bounds::{self, CHARS};
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Longest input of one write, in bytes.
const MAX_INPUT: usize = 1 << 20;
/// A read waits for this much silence, in milliseconds, when the caller does not say: what a write
/// before it caused is then there, more often than not.
const IDLE_MS: u64 = 300;

fn yes() -> bool {
    true
}

/// Arguments of `shell_open`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Workspace id or name.
    workspace_id: String,
    /// Working directory, absolute or below `/workspace`; `/workspace` when absent.
    cwd: Option<String>,
    /// Who it belongs to: NAME or UID, perhaps with :GROUP; the workspace's user when absent.
    user: Option<String>,
    /// Columns of its terminal, 1 to 1000; 120 when absent.
    #[schemars(range(min = 1, max = 1000))]
    cols: Option<u16>,
    /// Rows of its terminal, 1 to 1000; 30 when absent.
    #[schemars(range(min = 1, max = 1000))]
    rows: Option<u16>,
    /// Environment variables to set.
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Tool for Open {
    const NAME: &'static str = "shell_open";
    const TITLE: &'static str = "Open a shell";
    const DESCRIPTION: &'static str = "\
        Open an interactive shell on a terminal of its own in a started workspace. For programs that \
        ask questions or keep a state; for commands that just run use workspace_exec. Then shell_write, \
        shell_read, and shell_close at the end.";
    const HINTS: Hints = Hints::MAKES;
    type Output = ShellInfo;

    async fn run(self, call: &Calling) -> Result<ShellInfo, ErrorBody> {
        let env = self.env.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let open = ShellOpen {
            workspace_id: self.workspace_id,
            cwd: self.cwd.as_deref().map(Into::into),
            user: self.user,
            cols: self.cols,
            rows: self.rows,
            env: env.collect(),
        };
        call.daemon(&open).await
    }
}

/// Arguments of `shell_read`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Workspace id or name.
    workspace_id: String,
    /// Shell id, from `shell_open`.
    shell_id: String,
    /// First byte wanted: 0, or `next_cursor` of the answer before.
    #[serde(default)]
    cursor: u64,
    /// Most characters in the answer; 16384 when absent.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
    /// Text without escape sequences; true when absent.
    #[serde(default = "yes")]
    plain: bool,
    /// Answer once nothing was printed for so many milliseconds, at most 10 seconds; 300 when
    /// absent, 0: at once.
    wait_for_idle_ms: Option<u64>,
}

impl Tool for Read {
    const NAME: &'static str = "shell_read";
    const TITLE: &'static str = "Read from a shell";
    const DESCRIPTION: &'static str = "\
        Read what a shell has printed from a cursor on, and how it stands. Reading takes nothing away: \
        read on from next_cursor. truncated tells that there is more, or that the oldest output is \
        no longer kept.";
    const HINTS: Hints = Hints::LOOKS;
    type Output = ShellReadReply;

    async fn run(self, call: &Calling) -> Result<ShellReadReply, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, CHARS)?;
        let read = ShellRead {
            workspace_id: self.workspace_id,
            shell_id: self.shell_id,
            cursor: self.cursor,
            max_chars: Some(max as u64),
            plain: self.plain,
            wait_for_idle_ms: self.wait_for_idle_ms.or(Some(IDLE_MS)),
        };
        call.daemon(&read).await
    }
}

/// Arguments of `shell_write`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Workspace id or name.
    workspace_id: String,
    /// Shell id, from `shell_open`.
    shell_id: String,
    /// What to type, at most 1 MiB. Control characters go through: `\u0003` is Ctrl-C.
    input: String,
    /// Press Enter afterwards; true when absent.
    #[serde(default = "yes")]
    append_newline: bool,
}

impl Tool for Write {
    const NAME: &'static str = "shell_write";
    const TITLE: &'static str = "Type into a shell";
    const DESCRIPTION: &'static str = "\
        Type text into a shell, followed by Enter unless append_newline is false. What it prints is \
        read with shell_read.";
    const HINTS: Hints = Hints::RUNS;
    type Output = ShellWriteReply;

    async fn run(self, call: &Calling) -> Result<ShellWriteReply, ErrorBody> {
        if self.input.len() > MAX_INPUT {
            let message =
                format!("'input' has {} bytes: at most {MAX_INPUT} are typed", self.input.len());
            return Err(ErrorBody::new(ErrorCode::InvalidArgument, message)
                .hint("bring files in with workspace_sync_push"));
        }
        let write = ShellWrite {
            workspace_id: self.workspace_id,
            shell_id: self.shell_id,
            input: self.input.as_str().into(),
            append_newline: self.append_newline,
        };
        call.daemon(&write).await
    }
}
