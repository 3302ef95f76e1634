//! Commands: started, followed to their end, logged; also across a daemon's death.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pyro_api::{
    CommandResult, Event, ExecAttach, LastCommand, LogEntry, WorkspaceExec, shell_join,
};
use pyro_proto::{ByteString, Call, ErrorKind, ExecRequest, Exit, Reply};

use super::feed::{Feed, KEEP, Kept, Piece};
use super::record::{PendingExec, Record};
use super::{Workspace, locked, log, path};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::guest::link::{Conversation, GuestError, ask};

/// Pause before following a running command again after the connection to its guest broke.
const AGAIN: Duration = Duration::from_millis(200);

impl Workspace {
    /// Runs a command to its end and logs it. Dropping the future kills it.
    pub async fn exec(self: &Arc<Self>, call: &WorkspaceExec, events: &Events) -> Result<LogEntry> {
        let guard = self.in_use().await?;
        let (sequence, feed) = self.start_exec(call).await?;
        events.send(Event::Started { workspace_id: self.id(), sequence }).await;
        drop(guard);
        self.follow(sequence, feed, (0, 0), events).await
    }

    /// Follows a command that an earlier call started. Dropping the future kills it.
    pub async fn attach(self: &Arc<Self>, call: &ExecAttach, events: &Events) -> Result<LogEntry> {
        let feed = locked(&self.feeds).get(&call.sequence).cloned();
        if let Some(feed) = feed {
            return self
                .follow(call.sequence, feed, (call.stdout_from, call.stderr_from), events)
                .await;
        }
        let entry = log::read(&self.dir, call.sequence)?.ok_or_else(|| {
            Error::Invalid(format!("workspace {} has run no command {}", self.id(), call.sequence))
        })?;
        // It ended meanwhile: what is left to tell is in the log.
        let result = &entry.result;
        for (stream, text, exact, from) in [
            (pyro_api::OutputStream::Stdout, &result.stdout, &result.stdout_b64, call.stdout_from),
            (pyro_api::OutputStream::Stderr, &result.stderr, &result.stderr_b64, call.stderr_from),
        ] {
            let exact = exact.as_ref().and_then(|text| STANDARD.decode(text).ok());
            let bytes = exact.unwrap_or_else(|| text.clone().into_bytes());
            let rest = usize::try_from(from).ok().and_then(|from| bytes.get(from..));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                events.output(stream, from, rest).await;
            }
        }
        Ok(entry)
    }

    async fn start_exec(self: &Arc<Self>, call: &WorkspaceExec) -> Result<(u64, Arc<Feed>)> {
        if call.command.is_empty() || call.command[0].0.is_empty() {
            return Err(Error::Invalid("the command is empty".to_owned()));
        }
        let timeout_ms = match call.timeout_seconds {
            None => None,
            Some(seconds) if seconds > 0.0 && seconds.is_finite() => {
                Some((seconds * 1000.0).ceil() as u64)
            }
            Some(seconds) => {
                return Err(Error::Invalid(format!(
                    "a timeout of {seconds} seconds makes no sense"
                )));
            }
        };
        let cwd = path::working_directory(call.cwd.as_ref())?;
        let env =
            call.env.iter().map(|(k, v)| (ByteString(k.clone().into()), ByteString(v.0.clone())));
        // The record comes first: a daemon that dies now leaves a number that is never used again.
        let sequence = self.update(|record| {
            let sequence = record.next_sequence;
            record.next_sequence += 1;
            let (argv, started_at) = (call.command.clone(), Timestamp::now());
            record.pending.insert(sequence, PendingExec { argv, cwd: cwd.clone(), started_at });
            sequence
        })?;
        let request = ExecRequest {
            id: sequence,
            argv: call.command.iter().map(|word| ByteString(word.0.clone())).collect(),
            cwd: ByteString(cwd.0),
            env: env.collect(),
            timeout_ms,
            keep_bytes: KEEP as u64,
        };
        let started = match Conversation::open(&self.machine, &Call::Exec(request)).await {
            Ok(mut conversation) => conversation.next().await,
            Err(error) => Err(error),
        };
        match started {
            Ok(Reply::Started) => Ok((sequence, self.supervise(sequence))),
            // The agent keeps an outcome (127, 126) for a program that cannot be started.
            Err(GuestError::Refused(_)) if self.agent_knows(sequence).await => {
                Ok((sequence, self.supervise(sequence)))
            }
            other => {
                self.update(|record| record.pending.remove(&sequence))?;
                match other {
                    Ok(_) => Err(GuestError::Unexpected.into()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn agent_knows(&self, sequence: u64) -> bool {
        let Ok(mut conversation) = Conversation::open(&self.machine, &Call::ListExecs).await else {
            return false;
        };
        matches!(conversation.next().await,
            Ok(Reply::Execs(execs)) if execs.iter().any(|exec| exec.id == sequence))
    }

    /// Follows a command of this guest to its end in the background and logs it.
    pub fn supervise(self: &Arc<Self>, sequence: u64) -> Arc<Feed> {
        let feed = locked(&self.feeds).entry(sequence).or_default().clone();
        let (workspace, following) = (self.clone(), feed.clone());
        tokio::spawn(async move {
            let exit = workspace.read_to_end(sequence, &following).await;
            if let Err(error) = workspace.finish(sequence, &following, exit).await {
                eprintln!("workspace {}: command {sequence}: {error}", workspace.id());
            }
            locked(&workspace.feeds).remove(&sequence);
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
        let (stdout_from, stderr_from) = feed.ends().await;
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

    /// Logs the outcome, then lets the agent forget it.
    async fn finish(&self, sequence: u64, feed: &Feed, exit: Option<Exit>) -> Result<()> {
        let record = self.record();
        let Some(pending) = record.pending.get(&sequence) else { return Ok(()) };
        // A machine that ended took the command with it.
        let lost = Exit {
            code: 137,
            timed_out: false,
            killed: true,
            duration_ms: Timestamp::now()
                .duration_since(pending.started_at)
                .as_millis()
                .try_into()
                .unwrap_or_default(),
            stdout_bytes: 0,
            stderr_bytes: 0,
        };
        let entry = feed
            .end(exit.unwrap_or(lost), |stdout, stderr, exit| {
                log_entry(&record, sequence, pending, stdout, stderr, exit)
            })
            .await;
        log::write(&self.dir, &entry)?;
        self.update(|record| {
            record.pending.remove(&sequence);
            record.command_count += 1;
            record.last_command = Some(LastCommand {
                command: entry.result.command.clone(),
                exit_code: entry.result.exit_code,
            });
        })?;
        if exit.is_some() {
            let _ = ask(&self.machine, &Call::Forget { id: sequence }).await;
        }
        Ok(())
    }

    async fn follow(
        self: &Arc<Self>,
        sequence: u64,
        feed: Arc<Feed>,
        from: (u64, u64),
        events: &Events,
    ) -> Result<LogEntry> {
        let mut leash = Leash { workspace: self.clone(), sequence, feed: feed.clone(), held: true };
        let (kept, mut live) = feed.follow(from.0, from.1).await;
        for Piece { stream, offset, data } in kept {
            events.output(stream, offset, &data).await;
        }
        while let Some(Piece { stream, offset, data }) = live.recv().await {
            events.output(stream, offset, &data).await;
        }
        let entry = feed.ended().await.ok_or(Error::Cancelled)?;
        leash.held = false;
        Ok(entry)
    }

    /// Kills a command and everything it started.
    async fn kill(&self, sequence: u64) {
        while self.is_running() {
            match ask(&self.machine, &Call::Kill { id: sequence }).await {
                Err(GuestError::Connect(_) | GuestError::Frame(_) | GuestError::HungUp) => {
                    tokio::time::sleep(AGAIN).await;
                }
                _ => return,
            }
        }
    }

    /// Goes on with the commands that an earlier daemon left running, and logs those that are lost.
    pub fn resume_execs(self: &Arc<Self>) {
        let pending: BTreeMap<u64, PendingExec> = self.record().pending;
        for sequence in pending.into_keys() {
            self.supervise(sequence);
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
            feed.ended().await;
        }
    }
}

/// Kills a command whose caller hung up; but not when the daemon itself is going.
struct Leash {
    workspace: Arc<Workspace>,
    sequence: u64,
    feed: Arc<Feed>,
    held: bool,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.held && !self.workspace.closing.is_set() && self.feed.ask_kill() {
            let (workspace, sequence) = (self.workspace.clone(), self.sequence);
            tokio::spawn(async move { workspace.kill(sequence).await });
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
) -> LogEntry {
    let exact =
        |kept: &Kept| std::str::from_utf8(&kept.head).is_err().then(|| STANDARD.encode(&kept.head));
    let text = |kept: &Kept| String::from_utf8_lossy(&kept.head).into_owned();
    let truncated = |kept: &Kept, bytes: u64| bytes.max(kept.end) > kept.head.len() as u64;
    LogEntry {
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
    }
}
