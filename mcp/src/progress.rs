//! Telling the client that a long call goes on.

use std::time::Duration;

use pyro_api::Event;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::task::AbortOnDropHandle;

/// Calls that take no longer than this say nothing.
const DELAY: Duration = Duration::from_millis(250);
/// Between two notifications.
const PERIOD: Duration = Duration::from_secs(1);

/// How far a call is. Tells its client each second, if the client wants to know, until dropped.
#[derive(Debug)]
pub struct Progress {
    message: watch::Sender<String>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl Progress {
    /// For the client behind `peer`, which wants to know if it has sent a token.
    pub fn new(peer: &Peer<RoleServer>, token: Option<ProgressToken>) -> Self {
        let message = watch::Sender::new("running".to_owned());
        let task = token.map(|token| {
            let tell = tell(peer.clone(), token, message.subscribe());
            AbortOnDropHandle::new(tokio::spawn(tell))
        });
        Self { message, _task: task }
    }

    /// Notes what the daemon says.
    pub fn note(&self, event: &Event) {
        if let Event::Progress { phase, detail, done, total } = event {
            self.message.send_replace(message(phase, detail, *done, *total));
        }
    }
}

/// Seconds since the call began rise, whatever happens; what the daemon counts begins anew with
/// each phase.
async fn tell(peer: Peer<RoleServer>, token: ProgressToken, message: watch::Receiver<String>) {
    let start = Instant::now();
    let mut ticks = interval_at(start + DELAY, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let elapsed = (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let progress = ProgressNotificationParam::new(token.clone(), elapsed);
        let message = message.borrow().clone();
        let sent = peer.notify_progress(progress.with_message(message)).await;
        if sent.is_err() {
            return;
        }
    }
}

fn message(phase: &str, detail: &str, done: u64, total: Option<u64>) -> String {
    let mut message = phase.to_owned();
    if !detail.is_empty() {
        message.push_str(": ");
        message.push_str(detail);
    }
    match total {
        Some(total) if total > 0 => message.push_str(&format!(" ({done} of {total})")),
        _ if done > 0 => message.push_str(&format!(" ({done})")),
        _ => {}
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_and_how_far() {
        assert_eq!(message("boot", "", 0, None), "boot");
        assert_eq!(message("read", "src/a.rs", 3, Some(9)), "read: src/a.rs (3 of 9)");
        assert_eq!(message("read", "", 3, None), "read (3)");
    }
}
