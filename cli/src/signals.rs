//! SIGINT, SIGTERM and SIGHUP.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::terminal;

/// Signals that came. The first is for the command to act on; another one, before the command has
/// taken notice of the first, ends the process at once.
#[derive(Debug, Clone)]
pub struct Interrupts(watch::Sender<u8>);

impl Interrupts {
    /// Starts to listen, on a task of its own: the main one may be stuck in a full pipe.
    pub fn listen() -> io::Result<Self> {
        let pending = watch::Sender::new(0);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let number = u8::try_from(kind.as_raw_value()).unwrap_or(u8::MAX >> 1);
            let mut signals = signal(kind)?;
            let pending = pending.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if pending.send_replace(number) != 0 {
                        terminal::restore();
                        std::process::exit(i32::from(128 + number));
                    }
                }
            });
        }
        Ok(Self(pending))
    }

    /// The number of the signal that came and was not forgotten.
    pub async fn next(&self) -> u8 {
        let mut pending = self.0.subscribe();
        match pending.wait_for(|number| *number != 0).await {
            Ok(number) => *number,
            // Unreachable while `self` holds the sender; never is the honest answer.
            Err(_) => std::future::pending().await,
        }
    }

    /// The command has acted on it and goes on.
    pub fn forget(&self) {
        self.0.send_replace(0);
    }
}
