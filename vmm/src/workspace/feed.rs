//! One running command's output, for everyone who follows it.
//!
//! One task reads from the guest; followers come and go. A slow follower slows the reading, and
//! through the agent the command itself: nothing is buffered without bound.

use std::sync::atomic::{AtomicBool, Ordering};

use pyro_api::{LogEntry, OutputStream};
use pyro_proto::{Exit, Stream};
use tokio::sync::{Mutex, mpsc, watch};

/// Bytes of each stream that are kept from its start, here and in the log.
pub const KEEP: usize = 4 << 20;
/// Pieces in flight to one follower.
const PIECES: usize = 4;

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

/// A command's output and end. By default nothing came yet.
#[derive(Default)]
pub struct Feed {
    state: Mutex<State>,
    ended: watch::Sender<Option<LogEntry>>,
    /// Somebody asked for its end.
    pub kill_asked: AtomicBool,
}

impl Feed {
    /// Where the guest is to go on after the connection to it broke: stdout, stderr.
    pub async fn ends(&self) -> (u64, u64) {
        let state = self.state.lock().await;
        (state.stdout.end, state.stderr.end)
    }

    /// Takes a piece from the guest and passes it on.
    pub async fn push(&self, stream: Stream, offset: u64, data: Vec<u8>) {
        let mut state = self.state.lock().await;
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
        let piece = Piece { stream, offset, data };
        let mut followers = std::mem::take(&mut state.followers);
        let mut gone = Vec::new();
        for (at, follower) in followers.iter().enumerate() {
            if follower.send(piece.clone()).await.is_err() {
                gone.push(at);
            }
        }
        gone.into_iter().rev().for_each(|at| drop(followers.swap_remove(at)));
        state.followers.append(&mut followers);
    }

    /// Follows from these offsets: what was kept behind them, and what is to come.
    pub async fn follow(
        &self,
        stdout_from: u64,
        stderr_from: u64,
    ) -> (Vec<Piece>, mpsc::Receiver<Piece>) {
        let mut state = self.state.lock().await;
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

    /// The command ended: `entry` makes its log entry from what was kept.
    pub async fn end(
        &self,
        exit: Exit,
        entry: impl FnOnce(&Kept, &Kept, Exit) -> LogEntry,
    ) -> LogEntry {
        let mut state = self.state.lock().await;
        let entry = entry(&state.stdout, &state.stderr, exit);
        self.ended.send_replace(Some(entry.clone()));
        state.followers.clear();
        entry
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Option<LogEntry> {
        let mut ended = self.ended.subscribe();
        let entry = ended.wait_for(Option::is_some).await.ok()?;
        entry.clone()
    }

    /// Notes that the command is to be killed; false if that was asked before.
    pub fn ask_kill(&self) -> bool {
        !self.kill_asked.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_follower_gets_the_beginning_too() {
        let feed = Feed::default();
        feed.push(Stream::Stdout, 0, b"hello ".to_vec()).await;
        let (kept, mut live) = feed.follow(2, 0).await;
        assert_eq!(kept[0].data, b"llo ");
        feed.push(Stream::Stdout, 6, b"world".to_vec()).await;
        assert_eq!(live.recv().await.unwrap().data, b"world");
        assert_eq!(feed.ends().await, (11, 0));
    }

    #[tokio::test]
    async fn only_the_first_bytes_are_kept() {
        let feed = Feed::default();
        feed.push(Stream::Stderr, 0, vec![1; KEEP]).await;
        feed.push(Stream::Stderr, KEEP as u64, vec![2; 10]).await;
        feed.push(Stream::Stderr, 5, b"again".to_vec()).await;
        let state = feed.state.lock().await;
        assert_eq!((state.stderr.head.len(), state.stderr.end), (KEEP, KEEP as u64 + 10));
    }
}
