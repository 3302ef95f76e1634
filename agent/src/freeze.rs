//! A moment that the host can look at: commands and shells stand still for as long as it does.
//!
//! The host may die or dawdle, so they go on when its connection ends and after the time that it
//! asked for; what it read meanwhile is of one moment only if they stood still to the end.

use std::pin::pin;
use std::time::Duration;

use pyro_proto::{Call, Reply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::exec::{Frozen, Place};
use crate::serve::Connection;

/// Longest wait for everything to stand still, whatever the host asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Longest time that everything stands still for one call, whatever the host asks for.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// Serves a `Freeze` from its start to its end.
pub async fn serve<S: AsyncRead + AsyncWrite>(
    place: &Place,
    host: &mut Connection<S>,
    within: Duration,
    hold: Duration,
) -> Result<()> {
    let within = within.min(LONGEST_WAIT);
    let frozen = match place.cgroups().cloned() {
        Some(cgroups) => {
            let freezing = tokio::task::spawn_blocking(move || cgroups.freeze(within));
            Some(freezing.await.map_err(|_| Error::HungUp)?)
        }
        // Without cgroups nothing can be stopped, and nobody knows what runs.
        None => None,
    };
    host.reply(&Reply::Frozen {
        complete: frozen.as_ref().is_some_and(Frozen::is_complete),
        busy: frozen.as_ref().is_none_or(Frozen::is_busy),
    })
    .await?;
    let (lasted, paused, call) = {
        let mut call = pin!(host.call());
        let early = timeout(hold.min(LONGEST_HOLD), &mut call).await;
        let paused = frozen.as_ref().map(Frozen::elapsed).unwrap_or_default();
        drop(frozen);
        match early {
            Ok(call) => (true, paused, call?),
            Err(_) => (false, paused, call.await?),
        }
    };
    match call {
        Some(Call::Thaw) => {
            let paused_us = paused.as_micros().try_into().unwrap_or(u64::MAX);
            host.reply(&Reply::Thawed { lasted, paused_us }).await
        }
        Some(_) => Err(Error::Invalid("what is frozen waits for its thaw".into())),
        None => Err(Error::HungUp),
    }
}
