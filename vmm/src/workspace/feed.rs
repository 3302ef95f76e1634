//! One running command's output, for everyone who follows or reads it.
//!
//! One task reads from the guest; followers come and go. A slow follower slows the reading, and
//! through the agent the command itself: nothing is buffered without bound. Who only reads what came
//! so far slows nobody and waits for nobody.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyro_api::OutputStream;
use pyro_proto::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::locked;
use super::log::Logged;
use super::record::PendingExec;

/// Bytes of each stream that are kept from its start, here and in the log.
pub const KEEP: usize = 4 << 20;
/// Pieces in flight to one follower.
const PIECES: usize = 4;
/// Longest wait for a guest to send again what an earlier daemon had from it.
const REFILL: Duration = Duration::from_secs(30);

/// A piece of output.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Which stream.
    pub stream: OutputStream,
    /// Position of its first byte.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

/// What came so far of one stream.
#[derive(Debug, Default)]
pub struct Kept {
    /// Its first bytes, at most [`KEEP`].
    pub head: Vec<u8>,
    /// Where the next byte belongs.
    pub end: u64,
}

#[derive(Default)]
struct State {
    stdout: Kept,
    stderr: Kept,
    followers: Vec<mpsc::Sender<Piece>>,
}

/// A command's output and end.
pub struct Feed {
    /// What runs.
    pub command: PendingExec,
    state: Mutex<State>,
    /// Where both streams go on.
    ends: watch::Sender<(u64, u64)>,
    ended: watch::Sender<Option<Logged>>,
    /// Until then the guest may still be sending what an earlier daemon has shown.
    refill: Instant,
    /// Followers are no longer waited for.
    hurried: CancellationToken,
    /// Somebody asked for its end.
    kill_asked: AtomicBool,
}

impl Feed {
    /// Of a command of which nothing came yet; of one that an earlier daemon followed, if `resumed`.
    pub fn new(command: PendingExec, resumed: bool) -> Self {
        let now = Instant::now();
        Self {
            command,
            state: Mutex::default(),
            ends: watch::Sender::default(),
            ended: watch::Sender::default(),
            refill: if resumed { now + REFILL } else { now },
            hurried: CancellationToken::new(),
            kill_asked: AtomicBool::new(false),
        }
    }

    /// Where the guest is to go on after the connection to it broke: stdout, stderr.
    pub fn ends(&self) -> (u64, u64) {
        *self.ends.borrow()
    }

    /// Takes a piece from the guest and passes it on.
    pub async fn push(&self, stream: Stream, offset: u64, data: Vec<u8>) {
        let (piece, followers) = {
            let mut state = locked(&self.state);
            let (kept, stream) = match stream {
                Stream::Stdout => (&mut state.stdout, OutputStream::Stdout),
                Stream::Stderr => (&mut state.stderr, OutputStream::Stderr),
            };
            // A guest that repeats itself, or leaves a gap before what is kept, is not believed.
            if offset < kept.end {
                return;
            }
            if offset == kept.head.len() as u64 {
                let room = KEEP.saturating_sub(kept.head.len());
                kept.head.extend_from_slice(&data[..data.len().min(room)]);
            }
            kept.end = offset.saturating_add(data.len() as u64);
            self.ends.send_replace((state.stdout.end, state.stderr.end));
            (Piece { stream, offset, data }, std::mem::take(&mut state.followers))
        };
        // Not under the lock: a follower that takes nothing holds up the command, and nobody else.
        let mut staying = Vec::with_capacity(followers.len());
        for follower in followers {
            let taken = tokio::select! {
                biased;
                sent = follower.send(piece.clone()) => sent.is_ok(),
                () = self.hurried.cancelled() => false,
            };
            if taken {
                staying.push(follower);
            }
        }
        locked(&self.state).followers.append(&mut staying);
    }

    /// Follows from these offsets: what was kept behind them, and what is to come.
    pub fn follow(
        &self,
        stdout_from: u64,
        stderr_from: u64,
    ) -> (Vec<Piece>, mpsc::Receiver<Piece>) {
        let mut state = locked(&self.state);
        let (sender, receiver) = mpsc::channel(PIECES);
        let kept = [
            (OutputStream::Stdout, &state.stdout, stdout_from),
            (OutputStream::Stderr, &state.stderr, stderr_from),
        ];
        let pieces = kept
            .into_iter()
            .filter_map(|(stream, kept, from)| {
                let data = kept.head.get(usize::try_from(from).ok()?..)?.to_vec();
                (!data.is_empty()).then_some(Piece { stream, offset: from, data })
            })
            .collect();
        if self.ended.borrow().is_none() {
            state.followers.push(sender);
        }
        (pieces, receiver)
    }

    /// Looks at what came so far: stdout, stderr.
    pub fn look<T>(&self, look: impl FnOnce(&Kept, &Kept) -> T) -> T {
        let state = locked(&self.state);
        look(&state.stdout, &state.stderr)
    }

    /// The command ended like this.
    pub fn end(&self, logged: Logged) {
        let mut state = locked(&self.state);
        self.ended.send_replace(Some(logged));
        state.followers.clear();
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Logged> {
        self.ended.borrow().clone()
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Option<Logged> {
        let mut ended = self.ended.subscribe();
        let logged = ended.wait_for(Option::is_some).await.ok()?;
        logged.clone()
    }

    /// Waits until these positions are reached, if an earlier daemon may have got there: the guest
    /// sends everything again.
    pub async fn refilled(&self, stdout: u64, stderr: u64) {
        let reached = async {
            let mut ends = self.ends.subscribe();
            let there = |ends: &(u64, u64)| ends.0 >= stdout && ends.1 >= stderr;
            let _ = ends.wait_for(there).await;
        };
        let either = async {
            tokio::select! {
                () = reached => {}
                _ = self.ended() => {}
            }
        };
        let _ = timeout_at(self.refill, either).await;
    }

    /// The command is about to end: followers that are slow get the rest of what is kept then.
    pub fn hurry(&self) {
        self.hurried.cancel();
    }

    /// Notes that the command is to be killed; false if that was asked before.
    pub fn ask_kill(&self) -> bool {
        self.hurry();
        !self.kill_asked.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn feed(resumed: bool) -> Feed {
        let (argv, cwd) = (vec!["cat".into()], "/".into());
        Feed::new(PendingExec { argv, cwd, started_at: Timestamp::UNIX_EPOCH }, resumed)
    }

    #[tokio::test]
    async fn a_late_follower_gets_the_beginning_too() {
        let feed = feed(false);
        feed.push(Stream::Stdout, 0, b"hello ".to_vec()).await;
        let (kept, mut live) = feed.follow(2, 0);
        assert_eq!(kept[0].data, b"llo ");
        feed.push(Stream::Stdout, 6, b"world".to_vec()).await;
        assert_eq!(live.recv().await.unwrap().data, b"world");
        assert_eq!(feed.ends(), (11, 0));
    }

    #[tokio::test]
    async fn only_the_first_bytes_are_kept() {
        let feed = feed(false);
        feed.push(Stream::Stderr, 0, vec![1; KEEP]).await;
        feed.push(Stream::Stderr, KEEP as u64, vec![2; 10]).await;
        feed.push(Stream::Stderr, 5, b"again".to_vec()).await;
        let kept = feed.look(|_, stderr| (stderr.head.len(), stderr.end));
        assert_eq!(kept, (KEEP, KEEP as u64 + 10));
    }

    #[tokio::test]
    async fn a_follower_that_takes_nothing_holds_up_the_command_until_that_is_to_end() {
        let feed = feed(false);
        let (_, mut stuck) = feed.follow(0, 0);
        for offset in 0..PIECES as u64 {
            feed.push(Stream::Stdout, offset, vec![0]).await;
        }
        let mut push = Box::pin(feed.push(Stream::Stdout, PIECES as u64, vec![0]));
        assert!(futures::poll!(&mut push).is_pending());
        assert_eq!(feed.look(|stdout, _| stdout.end), PIECES as u64 + 1, "readers see it already");
        feed.hurry();
        push.await;
        for _ in 0..PIECES {
            assert!(stuck.recv().await.is_some());
        }
        assert!(stuck.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_that_an_earlier_daemon_showed_is_waited_for() {
        let fresh = feed(false);
        fresh.refilled(9, 0).await;
        let resumed = feed(true);
        let mut refilled = Box::pin(resumed.refilled(3, 0));
        assert!(futures::poll!(&mut refilled).is_pending());
        resumed.push(Stream::Stdout, 0, b"abc".to_vec()).await;
        refilled.await;
        assert!(Instant::now() < resumed.refill);
        resumed.refilled(4, 0).await;
        assert!(Instant::now() >= resumed.refill, "given up: nothing comes any more");
    }
}
