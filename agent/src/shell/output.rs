//! What a shell prints, for everyone who reads it. Readers come and go and hold up nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::ring::Ring;

/// Longest wait for silence, however much is printed meanwhile.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct State {
    ring: Ring,
    closed: bool,
}

/// A shell's output.
#[derive(Debug, Default)]
pub struct Output {
    state: Mutex<State>,
    changed: Notify,
}

impl Output {
    /// Adds to it.
    pub fn push(&self, data: &[u8]) {
        self.state.lock().ring.push(data);
        self.changed.notify_waiters();
    }

    /// No more will come.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Bytes printed so far, kept or not.
    pub fn end(&self) -> u64 {
        self.state.lock().ring.end()
    }

    /// What is kept from `from` on; the position of the first byte, and the bytes.
    pub fn read(&self, from: u64, max: usize) -> (u64, Vec<u8>) {
        self.state.lock().ring.read(from, max)
    }

    /// Returns once nothing came for `idle`, `max` bytes are there from `from` on, or no more will
    /// come; after [`SETTLE_WITHIN`] in any case.
    pub async fn settle(&self, from: u64, max: usize, idle: Duration) {
        let begun = Instant::now();
        let mut quiet = begun + idle;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change in between is missed.
            changed.as_mut().enable();
            {
                let state = self.state.lock();
                if state.closed || state.ring.end().saturating_sub(from) >= max as u64 {
                    return;
                }
            }
            tokio::select! {
                () = sleep_until(quiet.min(begun + SETTLE_WITHIN)) => return,
                () = changed => quiet = Instant::now() + idle,
            }
        }
    }

    /// The next bytes from `from` on, at most `max`, and the position of the first; `None` when no
    /// more will come.
    pub async fn next(&self, from: u64, max: usize) -> Option<(u64, Vec<u8>)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state.lock();
                if state.ring.end() > from {
                    return Some(state.ring.read(from, max));
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn silence_is_waited_for_from_the_last_output_on() {
        let output = Arc::new(Output::default());
        let printing = tokio::spawn({
            let output = output.clone();
            async move {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(80)).await;
                    output.push(b"x");
                }
            }
        });
        output.settle(0, 100, Duration::from_millis(100)).await;
        assert_eq!(output.read(0, 100), (0, b"xxx".to_vec()));
        printing.await.unwrap();
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn who_never_falls_silent_is_not_waited_for_for_ever() {
        let output = Arc::new(Output::default());
        let printing = tokio::spawn({
            let output = output.clone();
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    output.push(b"x");
                }
            }
        });
        let begun = Instant::now();
        output.settle(0, 1 << 20, Duration::from_millis(100)).await;
        assert_eq!(begun.elapsed(), SETTLE_WITHIN, "of the clock that the test turns");
        printing.abort();
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn enough_output_or_the_end_needs_no_silence() {
        let output = Output::default();
        output.push(b"enough");
        let begun = Instant::now();
        output.settle(0, 6, SETTLE_WITHIN).await;
        output.close();
        output.settle(6, 6, SETTLE_WITHIN).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_follower_gets_the_rest_and_then_the_end() {
        let output = Output::default();
        output.push(b"abc");
        assert_eq!(output.next(1, 1).await, Some((1, b"b".to_vec())));
        output.close();
        assert_eq!(output.next(2, 9).await, Some((2, b"c".to_vec())));
        assert_eq!(output.next(3, 9).await, None);
    }
}
