//! SIGINT, SIGTERM and SIGHUP, and the reader of standard output going away.

use std::io::{self, IsTerminal};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::terminal;

/// What a reader that went away counts as: SIGPIPE, before anything is written.
pub const READER_GONE: u8 = 13;

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
                    if !matches!(pending.send_replace(number), 0 | READER_GONE) {
                        terminal::restore();
                        std::process::exit(i32::from(128 + number));
                    }
                }
            });
        }
        let interrupts = Self(pending);
        interrupts.watch_reader()?;
        Ok(interrupts)
    }

    /// A caller that is killed takes nothing more, and no signal tells of it: what it started must
    /// not run on unseen. The thread ends with the process.
    fn watch_reader(&self) -> io::Result<()> {
        if io::stdout().is_terminal() {
            // A terminal that goes away sends SIGHUP.
            return Ok(());
        }
        let pending = self.0.clone();
        let watch = move || {
            let stdout = io::stdout();
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            while let Err(rustix::io::Errno::INTR) = poll(&mut watched, None) {}
            if watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                pending.send_if_modified(|number| {
                    let first = *number == 0;
                    if first {
                        *number = READER_GONE;
                    }
                    first
                });
            }
        };
        thread::Builder::new().name("reader".into()).spawn(watch).map(drop)
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
