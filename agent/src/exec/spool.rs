//! One output of one command: its start kept on disk, its end in a bounded window.
//!
//! ```text
//! 0 ......... kept | gap (dropped) | window ........ total
//!   in the file                      in memory, at most 1 MiB
//! ```
//!
//! While somebody reads, nothing they have not seen is dropped: the command waits for them. While
//! nobody does, the command never waits.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes held in memory beyond what is kept.
pub const WINDOW: usize = 1 << 20;
/// Most bytes handed to a reader at once.
pub const PIECE: usize = 256 << 10;

/// One output stream of one command.
#[derive(Debug)]
pub struct Spool {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    file: Option<Arc<File>>,
    /// Bytes in the file, from the output's start.
    kept: u64,
    keep: u64,
    window: VecDeque<u8>,
    total: u64,
    /// Next byte each reader wants.
    readers: HashMap<u64, u64>,
    next_reader: u64,
    closed: bool,
}

impl State {
    fn window_start(&self) -> u64 {
        self.total - self.window.len() as u64
    }

    /// Takes as much of `data` as fits; returns how many bytes.
    fn take(&mut self, data: &[u8]) -> usize {
        if self.total == self.kept && self.kept < self.keep {
            let len = data.len().min(usize::try_from(self.keep - self.kept).unwrap_or(usize::MAX));
            return self.keep_on_disk(&data[..len]);
        }
        let unseen = self.readers.values().min().copied();
        let free_until = unseen.unwrap_or(self.total);
        let room = WINDOW - self.window.len();
        let len = data.len().min(WINDOW);
        let missing = len.saturating_sub(room);
        let spare = free_until.saturating_sub(self.window_start());
        let dropped = missing.min(usize::try_from(spare).unwrap_or(usize::MAX));
        self.window.drain(..dropped.min(self.window.len()));
        let len = len.min(WINDOW - self.window.len());
        self.window.extend(&data[..len]);
        self.total += len as u64;
        len
    }

    /// A disk that is full ends keeping, not the command.
    fn keep_on_disk(&mut self, data: &[u8]) -> usize {
        let Some(file) = &self.file else {
            self.keep = self.kept;
            return self.take(data);
        };
        match file.write_at(data, self.kept) {
            Ok(len) if len > 0 => {
                self.kept += len as u64;
                self.total += len as u64;
                len
            }
            _ => {
                self.keep = self.kept;
                self.take(data)
            }
        }
    }
}

/// What a reader finds at its position.
#[derive(Debug)]
enum Found {
    Memory(u64, Vec<u8>),
    Disk(u64, Arc<File>, usize),
    Nothing,
    End,
}

impl Spool {
    /// Keeps the first `keep` bytes in `file`; without a file nothing is kept.
    pub fn new(file: Option<File>, keep: u64) -> Self {
        let state = State {
            file: file.map(Arc::new),
            kept: 0,
            keep,
            window: VecDeque::new(),
            total: 0,
            readers: HashMap::new(),
            next_reader: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Adds output, waiting for readers that have not seen what would be dropped.
    pub async fn append(&self, mut data: &[u8]) {
        while !data.is_empty() {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change in between is missed.
            changed.as_mut().enable();
            let taken = self.state.lock().take(data);
            if taken == 0 {
                changed.await;
            } else {
                data = &data[taken..];
                self.changed.notify_waiters();
            }
        }
    }

    /// No more output will come.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Bytes written so far, kept or not.
    pub fn total(&self) -> u64 {
        self.state.lock().total
    }

    /// Reads from `from` on.
    pub fn reader(self: &Arc<Self>, from: u64) -> Reader {
        let mut state = self.state.lock();
        let key = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(key, from);
        Reader { spool: self.clone(), key }
    }
}

/// A place in an output. While it exists, output it has not seen is not dropped.
#[derive(Debug)]
pub struct Reader {
    spool: Arc<Spool>,
    key: u64,
}

impl Reader {
    fn find(&self) -> Found {
        let mut state = self.spool.state.lock();
        let at = state.readers.get(&self.key).copied().unwrap_or(0);
        if at >= state.total {
            return if state.closed { Found::End } else { Found::Nothing };
        }
        if at < state.kept
            && let Some(file) = &state.file
        {
            let len = (state.kept - at).min(PIECE as u64) as usize;
            return Found::Disk(at, file.clone(), len);
        }
        let start = state.window_start();
        let at = at.max(start);
        let skip = (at - start) as usize;
        let data: Vec<u8> = state.window.range(skip..).take(PIECE).copied().collect();
        state.readers.insert(self.key, at + data.len() as u64);
        Found::Memory(at, data)
    }

    /// The next bytes and the position of the first; `None` when the output has ended. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        loop {
            let changed = self.spool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.find() {
                Found::End => return None,
                Found::Nothing => changed.await,
                Found::Memory(at, data) => {
                    self.spool.changed.notify_waiters();
                    return Some((at, data));
                }
                Found::Disk(at, file, len) => {
                    let read = tokio::task::spawn_blocking(move || read_kept(&file, at, len));
                    let data = read.await.unwrap_or_default();
                    // A kept byte that cannot be read back is a gap, not the end.
                    let mut state = self.spool.state.lock();
                    let read = at + data.len() as u64;
                    let next = if data.is_empty() { state.kept } else { read };
                    state.readers.insert(self.key, next);
                    if !data.is_empty() {
                        return Some((at, data));
                    }
                }
            }
        }
    }
}

fn read_kept(file: &File, at: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let read = file.read_at(&mut data, at).unwrap_or(0);
    data.truncate(read);
    data
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.spool.state.lock().readers.remove(&self.key);
        self.spool.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(keep: u64) -> Arc<Spool> {
        Arc::new(Spool::new(Some(tempfile::tempfile().unwrap()), keep))
    }

    async fn all(spool: &Arc<Spool>, from: u64) -> Vec<(u64, Vec<u8>)> {
        let mut reader = spool.reader(from);
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next().await {
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_kept_can_be_read_again_and_from_the_middle() {
        let spool = spool(100);
        spool.append(b"hello ").await;
        spool.append(b"world").await;
        spool.close();
        for _ in 0..2 {
            assert_eq!(all(&spool, 0).await, [(0, b"hello world".to_vec())]);
        }
        assert_eq!(all(&spool, 6).await, [(6, b"world".to_vec())]);
        assert_eq!(all(&spool, 99).await, []);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn with_nobody_reading_the_oldest_go_and_offsets_show_the_gap() {
        let spool = spool(3);
        spool.append(b"abc").await;
        spool.append(&vec![b'x'; WINDOW]).await;
        spool.append(b"end").await;
        spool.close();
        let pieces = all(&spool, 0).await;
        assert_eq!(pieces[0], (0, b"abc".to_vec()));
        assert_eq!(pieces[1].0, 6);
        let (at, last) = pieces.last().unwrap();
        assert_eq!(at + last.len() as u64, spool.total());
        assert!(last.ends_with(b"xend"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_gets_every_byte_however_slow() {
        let spool = spool(10);
        let mut reader = spool.reader(0);
        let writer = tokio::spawn({
            let spool = spool.clone();
            async move {
                for byte in 0..40u8 {
                    spool.append(&vec![byte; 100_000]).await;
                }
                spool.close();
            }
        });
        let mut next = 0;
        while let Some((at, data)) = reader.next().await {
            assert_eq!(at, next);
            assert!((0..).zip(&data).all(|(i, byte)| u64::from(*byte) == (at + i) / 100_000));
            next += data.len() as u64;
            tokio::task::yield_now().await;
        }
        assert_eq!(next, 4_000_000);
        writer.await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_disk_ends_keeping_not_the_command() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let spool = Arc::new(Spool::new(Some(full), 1000));
        spool.append(b"still here").await;
        spool.close();
        assert_eq!(all(&spool, 0).await, [(0, b"still here".to_vec())]);
    }
}
