//! A moment of a workspace: its commands stand still while the host looks.
//!
//! What is read meanwhile is of one moment, whatever the commands write all the time. They go on when
//! the host is done, when it dies, and when it takes too long; who looks is told which it was.

use std::time::Duration;

use pyro_proto::{Call, FREEZE_SINCE, Reply};
use tokio::sync::MutexGuard;

use super::Workspace;
use crate::error::Result;
use crate::guest::link::{Conversation, GuestError};

/// Longest wait for the commands to stand still.
const WITHIN: Duration = Duration::from_millis(500);
/// Longest time that they do.
const HOLD: Duration = Duration::from_secs(30);
/// The same where the guest reads everything.
const HOLD_FULL: Duration = Duration::from_secs(3600);

/// Commands stand still while this exists, as far as they can.
pub struct Still<'w> {
    _alone: MutexGuard<'w, ()>,
    conversation: Conversation,
    complete: bool,
    /// There are commands, or what they left running.
    pub busy: bool,
}

/// How still it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stillness {
    /// Nothing ran from the beginning to the end.
    pub frozen: bool,
    /// How long commands stood still, in microseconds.
    pub paused_us: u64,
}

impl Workspace {
    /// Stops the commands; none if this guest cannot.
    pub async fn stand_still(&self, full: bool) -> Result<Option<Still<'_>>> {
        if self.record().generation < FREEZE_SINCE {
            return Ok(None);
        }
        let alone = self.moment.lock().await;
        let ms = |duration: Duration| duration.as_millis().try_into().unwrap_or(u32::MAX);
        let hold = if full { HOLD_FULL } else { HOLD };
        let call = Call::Freeze { within_ms: ms(WITHIN), hold_ms: ms(hold) };
        let mut conversation = Conversation::open(&self.machine, &call).await?;
        match conversation.next().await? {
            Reply::Frozen { complete, busy } => {
                Ok(Some(Still { _alone: alone, conversation, complete, busy }))
            }
            _ => Err(GuestError::Unexpected.into()),
        }
    }
}

impl Still<'_> {
    /// Lets the commands go on.
    pub async fn end(mut self) -> Result<Stillness> {
        self.conversation.say(&Call::Thaw).await?;
        match self.conversation.next().await? {
            Reply::Thawed { lasted, paused_us } => {
                Ok(Stillness { frozen: self.complete && lasted, paused_us })
            }
            _ => Err(GuestError::Unexpected.into()),
        }
    }
}
