//! What was run.

use pyro_api::{ErrorBody, LogEntry, WorkspaceLogs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Entries in one answer when the caller does not say.
const LIMIT: u32 = 20;
/// Characters of each text of an entry when the caller does not say.
const ENTRY_CHARS: u32 = 1000;

/// Arguments of `workspace_logs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Workspace id or name.
    workspace_id: String,
    /// Entries after this sequence: 0, or `next_cursor` of the answer before.
    #[serde(default)]
    cursor: u64,
    /// Most entries in the answer; 20 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// Most characters of each command, stdout and stderr; 1000 when absent. Of longer ones head and
    /// tail are kept; exec_read reads all of one command.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
}

/// One command of the log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line {
    /// Its number; exec_read takes it.
    sequence: u64,
    /// The command as a shell line.
    command: String,
    /// Its working directory.
    cwd: String,
    /// When it started (RFC 3339, UTC).
    started_at: String,
    /// Standard output, shortened.
    stdout: String,
    /// Standard error, shortened.
    stderr: String,
    /// More standard output came than is shown here.
    stdout_truncated: bool,
    /// More standard error came than is shown here.
    stderr_truncated: bool,
    /// Exit code; 128 + signal number for a signal; 124 after a timeout.
    exit_code: i32,
    /// The timeout ended it.
    timed_out: bool,
    /// It was killed.
    killed: bool,
    /// Wall time in milliseconds.
    duration_ms: u64,
    /// What the guest ran on.
    execution_mode: String,
}

impl Line {
    fn new(entry: LogEntry, max: usize) -> Self {
        let result = entry.result;
        let (stdout, out_cut) = bounds::head_and_tail(result.stdout, max);
        let (stderr, err_cut) = bounds::head_and_tail(result.stderr, max);
        Self {
            sequence: entry.sequence,
            command: bounds::head_and_tail(result.command, max).0,
            cwd: result.cwd,
            started_at: entry.started_at,
            stdout,
            stderr,
            stdout_truncated: result.stdout_truncated || out_cut,
            stderr_truncated: result.stderr_truncated || err_cut,
            exit_code: result.exit_code,
            timed_out: result.timed_out,
            killed: entry.killed,
            duration_ms: result.duration_ms,
            execution_mode: result.execution_mode,
        }
    }
}

/// Answer of `workspace_logs`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Logged {
    /// The workspace.
    workspace_id: String,
    /// Commands that have ended, in the order of their sequence.
    entries: Vec<Line>,
    /// Sequences of commands that still run.
    running: Vec<u64>,
    /// Commands that have ended, in all.
    total: u64,
    /// Cursor of the next part; null at the end.
    next_cursor: Option<u64>,
}

impl Tool for Logs {
    const NAME: &'static str = "workspace_logs";
    const TITLE: &'static str = "Show a workspace's commands";
    const DESCRIPTION: &'static str = "\
        Show the commands that workspace_exec ran in a workspace, oldest first, with exit codes and \
        shortened outputs. Shells, diffs, pushes and exports are not in it.";
    const HINTS: Hints = Hints::LOOKS;
    type Output = Logged;

    async fn run(self, call: &Calling) -> Result<Logged, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, ENTRY_CHARS)?;
        let limit = bounds::within("limit", self.limit, LIMIT, 1..=1000)?;
        let reply = call.daemon(&WorkspaceLogs { workspace_id: self.workspace_id }).await?;
        let total = reply.entries.len() as u64;
        let mut entries = reply.entries;
        entries.sort_unstable_by_key(|entry| entry.sequence);
        entries.retain(|entry| entry.sequence > self.cursor);
        let (part, more) = bounds::page(entries, 0, limit);
        let next_cursor = more.and(part.last().map(|entry| entry.sequence));
        Ok(Logged {
            workspace_id: reply.workspace_id,
            entries: part.into_iter().map(|entry| Line::new(entry, max)).collect(),
            running: reply.running,
            total,
            next_cursor,
        })
    }
}
