//! Commands: started, followed to their end, logged; also across a daemon's death.
//!
//! ```text
//! exec ───────┐                       ┌─▶ follow (its caller's; hanging up kills it)
//!             ├▶ start ─▶ supervise ──┤
//! exec_start ─┘            │   feed   └─▶ read, wait, kill (anybody's)
//!                          └─▶ log, when it has ended
//! ```

mod leash;
mod start;
mod supervise;
mod view;

use std::sync::Arc;
use std::time::Duration;

use pyro_api::{
    Event, ExecAttach, ExecKill, ExecRead, ExecStart, ExecView, LogEntry, WorkspaceExec,
};
use tokio::time::timeout;

use super::feed::Feed;
use super::log::Logged;
use super::{Workspace, locked, log};
use crate::error::{Error, Result};
use crate::events::Events;
use leash::{Leash, replay};
pub use start::check;
use view::Wanted;

/// Pause before asking a guest again after the connection to it broke.
const AGAIN: Duration = Duration::from_millis(200);

impl Workspace {
    /// Runs a command to its end and logs it. Dropping the future kills it.
    pub async fn exec(self: &Arc<Self>, call: &WorkspaceExec, events: &Events) -> Result<LogEntry> {
        let leash = self.begin(call.clone()).await?;
        events.send(Event::Started { workspace_id: self.id(), sequence: leash.sequence }).await;
        leash.follow((0, 0), events).await
    }

    /// Follows a command that an earlier call started. Dropping the future kills it.
    pub async fn attach(self: &Arc<Self>, call: &ExecAttach, events: &Events) -> Result<LogEntry> {
        let from = (call.stdout_from, call.stderr_from);
        if let Some(feed) = self.feed(call.sequence) {
            return Leash::new(self, call.sequence, feed).follow(from, events).await;
        }
        // It ended meanwhile: what is left to tell is in the log.
        let logged = self.logged(call.sequence)?;
        replay(&logged, from, events).await;
        Ok(logged.entry)
    }

    /// Starts a command and leaves it running.
    pub async fn exec_start(self: &Arc<Self>, call: ExecStart) -> Result<ExecView> {
        let ExecStart { workspace_id, command, timeout_seconds, cwd, user, env } = call;
        let call = WorkspaceExec { workspace_id, command, timeout_seconds, cwd, user, env };
        let leash = self.begin(call).await?;
        let view = self.view(leash.sequence, &leash.feed, Wanted::default());
        leash.release();
        view
    }

    /// Shows how a command stands and what it printed; waits for its end first when asked to.
    pub async fn exec_read(&self, call: &ExecRead) -> Result<ExecView> {
        let (wanted, wait) = (Wanted::new(call)?, view::patience(call.wait_seconds)?);
        let Some(feed) = self.feed(call.sequence) else {
            return view::ended(&self.logged(call.sequence)?, wanted);
        };
        feed.refilled(wanted.stdout, wanted.stderr).await;
        if let Some(wait) = wait {
            // A wrong cursor is told at once, not when the command has ended.
            view::check(&feed, wanted)?;
            let _ = timeout(wait, feed.ended()).await;
        }
        self.view(call.sequence, &feed, wanted)
    }

    /// Kills a command and everything it started, and waits until that is so. Goes on when the
    /// future is dropped.
    pub async fn exec_kill(self: &Arc<Self>, call: &ExecKill) -> Result<ExecView> {
        let (workspace, sequence) = (self.clone(), call.sequence);
        let feed = self.feed(sequence);
        // One that has ended may have left something running.
        let logged = if feed.is_none() { Some(self.logged(sequence)?) } else { None };
        let killing = tokio::spawn(async move { workspace.kill(sequence).await });
        if let Some(feed) = &feed {
            feed.hurry();
            feed.ended().await;
            return self.view(sequence, feed, Wanted::default());
        }
        let _ = killing.await;
        view::ended(&logged.ok_or(Error::Cancelled)?, Wanted::default())
    }

    fn view(&self, sequence: u64, feed: &Feed, wanted: Wanted) -> Result<ExecView> {
        match feed.outcome() {
            Some(logged) => view::ended(&logged, wanted),
            None => view::running(&self.record(), sequence, feed, wanted),
        }
    }

    fn feed(&self, sequence: u64) -> Option<Arc<Feed>> {
        locked(&self.feeds).get(&sequence).cloned()
    }

    fn logged(&self, sequence: u64) -> Result<Logged> {
        let unknown = || Error::UnknownCommand { workspace: self.id(), sequence };
        log::read(&self.log_dir(), sequence)?.ok_or_else(unknown)
    }
}
