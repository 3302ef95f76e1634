//! Starting a command, and ending one before its time.

use std::sync::Arc;

use jiff::Timestamp;
use pyro_api::{BytesText, WorkspaceExec};
use pyro_proto::{ByteString, Call, ExecRequest, Reply};
use tokio::sync::oneshot;

use super::AGAIN;
use super::leash::Leash;
use crate::error::{Error, Result};
use crate::guest::link::{Conversation, GuestError, ask};
use crate::workspace::feed::KEEP;
use crate::workspace::record::PendingExec;
use crate::workspace::{Workspace, path};

/// Commands of one workspace that run at once: the output of each takes memory.
const MAX_RUNNING: usize = 64;

impl Workspace {
    /// Starts a command. On a task of its own: a caller that hangs up in the middle leaves none that
    /// nobody knows.
    pub(super) async fn begin(self: &Arc<Self>, call: WorkspaceExec) -> Result<Leash> {
        let workspace = self.clone();
        let (sender, started) = oneshot::channel();
        tokio::spawn(async move { sender.send(workspace.start_exec(&call).await).map_err(drop) });
        started.await.map_err(|_| Error::Cancelled)?
    }

    async fn start_exec(self: &Arc<Self>, call: &WorkspaceExec) -> Result<Leash> {
        let _running = self.in_use().await?;
        let timeout_ms = check(call)?;
        let cwd = path::working_directory(call.cwd.as_ref())?;
        let user = self.runner(call.user.as_deref())?;
        let env = self.variables(&call.env);
        let command = PendingExec {
            argv: call.command.clone(),
            cwd: cwd.clone(),
            started_at: Timestamp::now(),
        };
        // The record comes first: a daemon that dies now leaves a number that is never used again.
        let sequence = self.update(|record| {
            if record.pending.len() >= MAX_RUNNING {
                return Err(Error::TooManyCommands(record.id.clone(), MAX_RUNNING));
            }
            let sequence = record.next_sequence;
            record.next_sequence += 1;
            record.pending.insert(sequence, command.clone());
            Ok(sequence)
        })??;
        let request = ExecRequest {
            id: sequence,
            argv: call.command.iter().map(|word| ByteString(word.0.clone())).collect(),
            cwd: ByteString(cwd.0),
            env,
            timeout_ms,
            keep_bytes: KEEP as u64,
        };
        let call = match user {
            None => Call::Exec(request),
            Some(user) => Call::ExecAs { request, user },
        };
        let started = match Conversation::open(&self.machine, &call).await {
            Ok(mut conversation) => conversation.next().await,
            Err(error) => Err(error),
        };
        let error = match started {
            Ok(Reply::Started) => None,
            // The agent keeps an outcome (127, 126) for a program that cannot be started.
            Err(_) if self.agent_knows(sequence).await => None,
            Ok(_) => Some(GuestError::Unexpected),
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            self.update(|record| record.pending.remove(&sequence))?;
            return Err(error.into());
        }
        Ok(Leash::new(self, sequence, self.supervise(sequence, command, false)))
    }

    /// The environment's variables, and above them those of the caller.
    pub(in crate::workspace) fn variables(
        &self,
        own: &[(String, BytesText)],
    ) -> Vec<(ByteString, ByteString)> {
        let text = |text: &str| ByteString(text.to_owned().into());
        let record = self.record();
        let given = record.environment_variables.iter().filter_map(|word| word.split_once('='));
        let given = given.filter(|(name, _)| own.iter().all(|(own, _)| own != name));
        let given = given.map(|(name, value)| (text(name), text(value)));
        given.chain(own.iter().map(|(k, v)| (text(k), ByteString(v.0.clone())))).collect()
    }

    async fn agent_knows(&self, sequence: u64) -> bool {
        let Ok(mut conversation) = Conversation::open(&self.machine, &Call::ListExecs).await else {
            return false;
        };
        matches!(conversation.next().await,
            Ok(Reply::Execs(execs)) if execs.iter().any(|exec| exec.id == sequence))
    }

    /// Kills a command and everything it started.
    pub(super) async fn kill(&self, sequence: u64) {
        while self.is_running() {
            match ask(&self.machine, &Call::Kill { id: sequence }).await {
                Err(GuestError::Connect(_) | GuestError::Frame(_) | GuestError::HungUp) => {
                    tokio::time::sleep(AGAIN).await;
                }
                _ => return,
            }
        }
    }
}

/// Checks what can be checked without a guest; the command's limit in milliseconds.
pub fn check(call: &WorkspaceExec) -> Result<Option<u64>> {
    if call.command.is_empty() || call.command[0].0.is_empty() {
        return Err(Error::Invalid("the command is empty".to_owned()));
    }
    match call.timeout_seconds {
        None => Ok(None),
        Some(seconds) if seconds > 0.0 && seconds.is_finite() => {
            Ok(Some((seconds * 1000.0).ceil() as u64))
        }
        Some(seconds) => {
            Err(Error::Invalid(format!("a timeout of {seconds} seconds makes no sense")))
        }
    }
}
