//! Documents of `--json` that no single call answers.

use pyro_api::{ApplyReply, DiffReply, ExportReply, LogEntry};
use serde::Serialize;

/// What became of a workspace of `pyro here`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Applied,
    Exported,
    Kept,
    Discarded,
}

/// `pyro here --json`
#[derive(Debug, Serialize)]
pub struct HereDocument {
    /// The workspace, there or not any more.
    pub workspace_id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The command; `null` when it was interrupted before it had started.
    pub command: Option<LogEntry>,
    /// What it changed.
    pub diff: DiffReply,
    /// Where the result went, when it was exported.
    pub export: Option<ExportReply>,
    /// What was brought into the directory, when it was applied.
    pub apply: Option<ApplyReply>,
}

/// `pyro demo --json`
#[derive(Debug, Default, Serialize)]
pub struct DemoDocument {
    /// In order.
    pub steps: Vec<DemoStep>,
}

/// One command of the demo.
#[derive(Debug, Serialize)]
pub struct DemoStep {
    /// As it would be typed.
    pub command: String,
    /// Its exit code.
    pub exit_code: u8,
    /// The document it printed.
    pub output: serde_json::Value,
}
