//! Seeing a command through to its end, whoever follows it, and logging it.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pyro_api::{CommandResult, LastCommand, LogEntry, shell_join};
use pyro_proto::{Call, ErrorKind, Exit, Reply};

use super::AGAIN;
use crate::error::Result;
use crate::guest::link::{Conversation, GuestError, ask};
use crate::workspace::feed::{Feed, Kept};
use crate::workspace::log::{self, Logged};
use crate::workspace::record::{PendingExec, Record};
use crate::workspace::{Workspace, locked};

impl Workspace {
    /// Follows a command of this guest to its end in the background and logs it.
    pub(super) fn supervise(
        self: &Arc<Self>,
        sequence: u64,
        command: PendingExec,
        resumed: bool,
    ) -> Arc<Feed> {
        let feed = Arc::new(Feed::new(command, resumed));
        locked(&self.feeds).insert(sequence, feed.clone());
        let (workspace, following) = (self.clone(), feed.clone());
        tokio::spawn(async move {
            let exit = workspace.read_to_end(sequence, &following).await;
            match workspace.finish(sequence, &following, exit).await {
                Ok(()) => drop(locked(&workspace.feeds).remove(&sequence)),
                // Readers still find it there; the next daemon tries again.
                Err(error) => {
                    eprintln!("workspace {}: command {sequence}: {error}", workspace.id())
                }
            }
        });
        feed
    }

    /// Reads a command's output until it ends; none if its machine ended first.
    async fn read_to_end(&self, sequence: u64, feed: &Feed) -> Option<Exit> {
        loop {
            match self.read_some(sequence, feed).await {
                Ok(exit) => return Some(exit),
                Err(GuestError::Refused(error)) if error.kind == ErrorKind::NotFound => {
                    return None;
                }
                Err(_) if self.is_running() => tokio::time::sleep(AGAIN).await,
                Err(_) => return None,
            }
        }
    }

    async fn read_some(&self, sequence: u64, feed: &Feed) -> Result<Exit, GuestError> {
        let (stdout_from, stderr_from) = feed.ends();
        let call = Call::Attach { id: sequence, stdout_from, stderr_from };
        let mut conversation = Conversation::open(&self.machine, &call).await?;
        loop {
            match conversation.next_whenever().await? {
                Reply::Output { stream, offset, data } => feed.push(stream, offset, data).await,
                Reply::Exited(exit) => return Ok(exit),
                _ => return Err(GuestError::Unexpected),
            }
        }
    }

    /// Logs the outcome, tells those who wait, then lets the agent forget it.
    async fn finish(&self, sequence: u64, feed: &Feed, exit: Option<Exit>) -> Result<()> {
        let record = self.record();
        // A machine that ended took the command with it.
        let lost = Exit {
            code: 137,
            timed_out: false,
            killed: true,
            duration_ms: feed.command.age_ms(Timestamp::now()),
            stdout_bytes: 0,
            stderr_bytes: 0,
        };
        let logged = feed.look(|stdout, stderr| {
            log_entry(&record, sequence, &feed.command, stdout, stderr, exit.unwrap_or(lost))
        });
        // The log first: whoever knows of the end finds it there.
        let noted = log::write(&self.log_dir(), &logged).and_then(|()| {
            self.update(|record| {
                record.pending.remove(&sequence);
                record.command_count += 1;
                record.last_command = Some(LastCommand {
                    command: logged.entry.result.command.clone(),
                    exit_code: logged.entry.result.exit_code,
                });
            })
        });
        feed.end(logged);
        noted?;
        if exit.is_some() {
            let _ = ask(&self.machine, &Call::Forget { id: sequence }).await;
        }
        Ok(())
    }

    /// Goes on with the commands that an earlier daemon left running, and logs those that are lost.
    pub fn resume_execs(self: &Arc<Self>) {
        for (sequence, command) in self.record().pending {
            self.supervise(sequence, command, true);
        }
    }

    /// Numbers of the commands that run now.
    pub fn running_execs(&self) -> Vec<u64> {
        self.record().pending.into_keys().collect()
    }

    /// Waits until every command that ran is logged; only after the machine has ended.
    pub async fn settle_execs(self: &Arc<Self>) {
        let feeds: Vec<_> = locked(&self.feeds).values().cloned().collect();
        for feed in feeds {
            feed.hurry();
            feed.ended().await;
        }
    }
}

fn log_entry(
    record: &Record,
    sequence: u64,
    pending: &PendingExec,
    stdout: &Kept,
    stderr: &Kept,
    exit: Exit,
) -> Logged {
    let exact =
        |kept: &Kept| std::str::from_utf8(&kept.head).is_err().then(|| STANDARD.encode(&kept.head));
    let text = |kept: &Kept| String::from_utf8_lossy(&kept.head).into_owned();
    let truncated = |kept: &Kept, bytes: u64| bytes.max(kept.end) > kept.head.len() as u64;
    let entry = LogEntry {
        workspace_id: record.id.clone(),
        sequence,
        argv: pending.argv.clone(),
        started_at: pending.started_at.to_string(),
        killed: exit.killed,
        result: CommandResult {
            environment: record.environment.clone(),
            command: shell_join(&pending.argv),
            cwd: pending.cwd.lossy(),
            stdout: text(stdout),
            stderr: text(stderr),
            stdout_b64: exact(stdout),
            stderr_b64: exact(stderr),
            stdout_truncated: truncated(stdout, exit.stdout_bytes),
            stderr_truncated: truncated(stderr, exit.stderr_bytes),
            exit_code: exit.code,
            timed_out: exit.timed_out,
            duration_ms: exit.duration_ms,
            execution_mode: record.backend.name().to_owned(),
        },
    };
    Logged {
        entry,
        stdout_bytes: exit.stdout_bytes.max(stdout.end),
        stderr_bytes: exit.stderr_bytes.max(stderr.end),
    }
}
