//! Commands in a workspace. Clients give up on a call after a minute or so, builds do not end by
//! then: a command that goes on is waited for, read and killed by its number.

use std::collections::BTreeMap;

use pyro_api::{ErrorBody, ErrorCode, ExecKill, ExecRead, ExecStart, ExecState, ExecView};
use schemars::JsonSchema;
use serde::Deserialize;

use super::words::Words;
use crate::bounds::{self, CHARS};
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Seconds to wait for a command's end when the caller does not say: less than clients wait.
const WAIT: f64 = 45.0;
/// Most seconds to wait for a command's end.
const MAX_WAIT: f64 = 3600.0;

fn wait_seconds(given: Option<f64>) -> Result<f64, ErrorBody> {
    let seconds = given.unwrap_or(WAIT);
    if (0.0..=MAX_WAIT).contains(&seconds) {
        return Ok(seconds);
    }
    let message = format!("'wait_seconds' must be 0 to {MAX_WAIT}, not {seconds}");
    Err(ErrorBody::new(ErrorCode::InvalidArgument, message))
}

/// Arguments of `workspace_exec`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Workspace id or name.
    workspace_id: String,
    /// What to run.
    command: Words,
    /// Kill the command after so many seconds; never when absent.
    timeout_seconds: Option<f64>,
    /// Wait so many seconds for its end, 0 to 3600; 45 when absent. Then it goes on, and the answer
    /// has state `running`.
    #[schemars(range(min = 0, max = 3600))]
    wait_seconds: Option<f64>,
    /// Working directory; `/workspace` when absent.
    cwd: Option<String>,
    /// Who runs it: NAME or UID, perhaps with :GROUP; the workspace's user when absent.
    user: Option<String>,
    /// Environment variables to set.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Most characters of each of stdout and stderr in this answer; 16384 when absent. exec_read
    /// reads the rest.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
}

impl Tool for Exec {
    const NAME: &'static str = "workspace_exec";
    const TITLE: &'static str = "Run a command in a workspace";
    const DESCRIPTION: &'static str = "\
        Run a command in /workspace of a started workspace and log it. Files stay for the next \
        command. Answers exit_code, stdout and stderr when it ends within wait_seconds. Otherwise the \
        answer has state running and a sequence, and the command goes on: wait with exec_wait, read \
        with exec_read, end it with exec_kill. When an output is truncated, read on with exec_read \
        from stdout_next_cursor or stderr_next_cursor. For a single command that needs no host files \
        use vm_run instead.";
    const HINTS: Hints = Hints::RUNS;
    type Output = ExecView;

    async fn run(self, call: &Calling) -> Result<ExecView, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, CHARS)?;
        let wait = wait_seconds(self.wait_seconds)?;
        let start = ExecStart {
            workspace_id: self.workspace_id,
            command: self.command.argv()?,
            timeout_seconds: self.timeout_seconds,
            cwd: self.cwd.as_deref().map(Into::into),
            user: self.user,
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
        };
        // Seen through even when the client gives up: a command without a number cannot be killed.
        let started = call.to_the_end(&start).await?;
        let (workspace_id, sequence) = (started.workspace_id, started.sequence);
        let read = read(workspace_id.clone(), sequence, 0, 0, max, wait);
        let view = call.daemon(&read).await;
        if call.is_given_up() {
            call.to_the_end(&ExecKill { workspace_id, sequence }).await?;
        }
        view.map(|view| bounded(view, max))
    }
}

/// Arguments of `exec_read`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Workspace id or name.
    workspace_id: String,
    /// The command's sequence, from `workspace_exec` or `workspace_logs`.
    sequence: u64,
    /// First byte of stdout wanted: 0, or `stdout_next_cursor` of the answer before.
    #[serde(default)]
    stdout_cursor: u64,
    /// First byte of stderr wanted: 0, or `stderr_next_cursor` of the answer before.
    #[serde(default)]
    stderr_cursor: u64,
    /// Most characters of each of stdout and stderr; 16384 when absent.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
}

impl Tool for Read {
    const NAME: &'static str = "exec_read";
    const TITLE: &'static str = "Read a command's output";
    const DESCRIPTION: &'static str = "\
        Read what a command of workspace_exec has printed, from a cursor on, and how it stands; \
        running or ended. Answers at once: to wait for the end use exec_wait.";
    const HINTS: Hints = Hints::LOOKS;
    type Output = ExecView;

    async fn run(self, call: &Calling) -> Result<ExecView, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, CHARS)?;
        let Self { workspace_id, sequence, stdout_cursor, stderr_cursor, .. } = self;
        let read = read(workspace_id, sequence, stdout_cursor, stderr_cursor, max, 0.0);
        Ok(bounded(call.daemon(&read).await?, max))
    }
}

/// Arguments of `exec_wait`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Workspace id or name.
    workspace_id: String,
    /// The command's sequence, from `workspace_exec`.
    sequence: u64,
    /// Wait so many seconds at most, 0 to 3600; 45 when absent.
    #[schemars(range(min = 0, max = 3600))]
    wait_seconds: Option<f64>,
    /// First byte of stdout wanted: 0, or `stdout_next_cursor` of the answer before.
    #[serde(default)]
    stdout_cursor: u64,
    /// First byte of stderr wanted: 0, or `stderr_next_cursor` of the answer before.
    #[serde(default)]
    stderr_cursor: u64,
    /// Most characters of each of stdout and stderr; 16384 when absent.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
}

impl Tool for Wait {
    const NAME: &'static str = "exec_wait";
    const TITLE: &'static str = "Wait for a command's end";
    const DESCRIPTION: &'static str = "\
        Wait until a command of workspace_exec ends, at most wait_seconds, and read what it has \
        printed from a cursor on. While state is running, call it again. Giving up this call does \
        not disturb the command.";
    const HINTS: Hints = Hints::LOOKS;
    type Output = ExecView;

    async fn run(self, call: &Calling) -> Result<ExecView, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, CHARS)?;
        let wait = wait_seconds(self.wait_seconds)?;
        let Self { workspace_id, sequence, stdout_cursor, stderr_cursor, .. } = self;
        let read = read(workspace_id, sequence, stdout_cursor, stderr_cursor, max, wait);
        Ok(bounded(call.daemon(&read).await?, max))
    }
}

/// Arguments of `exec_kill`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// Workspace id or name.
    workspace_id: String,
    /// The command's sequence, from `workspace_exec`.
    sequence: u64,
}

impl Tool for Kill {
    const NAME: &'static str = "exec_kill";
    const TITLE: &'static str = "Kill a command";
    const DESCRIPTION: &'static str = "\
        Kill a command of workspace_exec and everything it started, and wait until it is dead. One \
        that has ended is no error. What it printed stays readable with exec_read.";
    const HINTS: Hints = Hints::ENDS;
    type Output = ExecView;

    async fn run(self, call: &Calling) -> Result<ExecView, ErrorBody> {
        let Self { workspace_id, sequence } = self;
        let view = call.daemon(&ExecKill { workspace_id, sequence }).await?;
        // The same view as of every other tool here, bounded in the same way.
        if view.state == ExecState::Running {
            return Ok(bounded(view, CHARS as usize));
        }
        let read = read(view.workspace_id, sequence, 0, 0, CHARS as usize, 0.0);
        Ok(bounded(call.daemon(&read).await?, CHARS as usize))
    }
}

fn read(
    workspace_id: String,
    sequence: u64,
    stdout_cursor: u64,
    stderr_cursor: u64,
    max: usize,
    wait: f64,
) -> ExecRead {
    let max_bytes = Some(max as u64);
    let wait_seconds = Some(wait);
    ExecRead { workspace_id, sequence, stdout_cursor, stderr_cursor, max_bytes, wait_seconds }
}

/// The daemon has bounded the outputs; the command line may be long too.
fn bounded(view: ExecView, max: usize) -> ExecView {
    ExecView { command: bounds::head_and_tail(view.command, max).0, ..view }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(wait_seconds(None), Ok(WAIT));
        assert_eq!(wait_seconds(Some(0.0)), Ok(0.0));
        for seconds in [-1.0, 3600.5, f64::INFINITY, f64::NAN] {
            assert!(wait_seconds(Some(seconds)).is_err(), "{seconds}");
        }
    }
}
