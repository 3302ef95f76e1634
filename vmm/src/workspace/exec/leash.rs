//! A command that belongs to a caller.

use std::sync::Arc;

use pyro_api::{LogEntry, OutputStream};

use crate::error::{Error, Result};
use crate::events::Events;
use crate::workspace::Workspace;
use crate::workspace::feed::Feed;
use crate::workspace::log::Logged;

/// A command and its caller: who hangs up kills it; but not when the daemon itself is going.
pub struct Leash {
    workspace: Arc<Workspace>,
    /// The command's number.
    pub sequence: u64,
    /// Its output.
    pub feed: Arc<Feed>,
    held: bool,
}

impl Leash {
    /// From now on the caller's end is the command's.
    pub fn new(workspace: &Arc<Workspace>, sequence: u64, feed: Arc<Feed>) -> Self {
        Self { workspace: workspace.clone(), sequence, feed, held: true }
    }

    /// The command has no caller any more.
    pub fn release(mut self) {
        self.held = false;
    }

    /// Passes the output from these positions on until the command has ended.
    pub async fn follow(self, from: (u64, u64), events: &Events) -> Result<LogEntry> {
        let (kept, mut live) = self.feed.follow(from.0, from.1);
        let mut next = from;
        let mut pieces = kept.into_iter();
        loop {
            let piece = match pieces.next() {
                Some(piece) => piece,
                None => match live.recv().await {
                    Some(piece) => piece,
                    None => break,
                },
            };
            let end = piece.offset + piece.data.len() as u64;
            match piece.stream {
                OutputStream::Stdout => next.0 = end,
                OutputStream::Stderr => next.1 = end,
            }
            events.output(piece.stream, piece.offset, &piece.data).await;
        }
        let logged = self.feed.ended().await.ok_or(Error::Cancelled)?;
        // What it did not get in time.
        replay(&logged, next, events).await;
        self.release();
        Ok(logged.entry)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.held && !self.workspace.closing.is_set() && self.feed.ask_kill() {
            let (workspace, sequence) = (self.workspace.clone(), self.sequence);
            tokio::spawn(async move { workspace.kill(sequence).await });
        }
    }
}

/// Passes what was kept from these positions on.
pub async fn replay(logged: &Logged, from: (u64, u64), events: &Events) {
    let outputs = [
        (OutputStream::Stdout, logged.stdout(), from.0),
        (OutputStream::Stderr, logged.stderr(), from.1),
    ];
    for (stream, kept, from) in outputs {
        let rest = usize::try_from(from).ok().and_then(|from| kept.get(from..));
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            events.output(stream, from, rest).await;
        }
    }
}
