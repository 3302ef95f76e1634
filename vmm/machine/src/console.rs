//! What a guest or its VMM prints, kept within bounds: the guest may print for ever.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The beginning is kept, for the boot.
const HEAD: u64 = 64 * 1024;
/// So is the end, at least this much of it, for the crash.
const TAIL: u64 = 128 * 1024;
/// At this size everything between them goes.
const LIMIT: u64 = 512 * 1024;

/// QEMU misses a card on the hub that connects slirp to the network filter.
const EXPECTED: &str = "warning: hub 0 with no nics";

const PANIC: &[u8] = b"Kernel panic - not syncing";

/// A log file that never grows beyond 512 KiB.
pub(crate) struct BoundedLog {
    file: File,
    len: u64,
    dropped: u64,
}

impl BoundedLog {
    pub(crate) fn create(path: &Path) -> io::Result<BoundedLog> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(BoundedLog { file, len: 0, dropped: 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.len + bytes.len() as u64 > LIMIT {
            self.cut()?;
        }
        self.file.write_all_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        let mut tail = vec![0; TAIL.min(self.len.saturating_sub(HEAD)) as usize];
        let from = self.len - tail.len() as u64;
        self.file.read_exact_at(&mut tail, from)?;
        self.dropped += self.len - HEAD.min(self.len) - tail.len() as u64;
        self.len = HEAD.min(self.len);
        self.file.set_len(self.len)?;
        let note = format!("\n[... {} bytes dropped ...]\n", self.dropped);
        for part in [note.as_bytes(), &tail] {
            self.file.write_all_at(part, self.len)?;
            self.len += part.len() as u64;
        }
        Ok(())
    }
}

/// Appends to a log, which is given up once it cannot be written.
pub(crate) fn append(log: &mut Option<BoundedLog>, bytes: &[u8]) {
    if log.as_mut().is_some_and(|log| log.append(bytes).is_err()) {
        *log = None;
    }
}

/// Copies a console to the log at `path` until it closes; whether a kernel panicked on it.
/// A log that cannot be written does not stop the reading: the guest would hang.
pub(crate) fn record(mut console: impl Read, path: &Path) -> bool {
    let mut log = BoundedLog::create(path).ok();
    let mut panicked = false;
    let mut buffer = vec![0; 16 * 1024];
    // The end of the last read, in which a message may begin.
    let mut window: Vec<u8> = Vec::new();
    loop {
        let count = match console.read(&mut buffer) {
            Ok(0) => return panicked,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return panicked,
        };
        append(&mut log, &buffer[..count]);
        window.extend_from_slice(&buffer[..count]);
        panicked |= window.windows(PANIC.len()).any(|part| part == PANIC);
        let keep = window.len().min(PANIC.len() - 1);
        window.drain(..window.len() - keep);
    }
}

/// Copies a VMM's complaints to `log`, at most 64 KiB of them, until they end; the last 2 KiB are
/// the answer, less what is no complaint.
pub(crate) fn complaints(mut from: impl Read, mut log: impl Write) -> String {
    const COPY: usize = 64 * 1024;
    const KEEP: usize = 2 * 1024;
    let mut copied = 0;
    let mut last: VecDeque<u8> = VecDeque::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let part = &buffer[..count.min(COPY - copied)];
        copied += part.len();
        // The log is a help, not a duty: reading on keeps the VMM from blocking.
        let _ = log.write_all(part);
        last.extend(&buffer[..count]);
        last.drain(..last.len().saturating_sub(KEEP));
    }
    let text = String::from_utf8_lossy(last.make_contiguous());
    let lines: Vec<_> = text.lines().filter(|line| !line.ends_with(EXPECTED)).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_console_keeps_its_beginning_and_its_end_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut text = b"first line\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', 3_000_000));
        text.extend(b"Kernel panic - not syncing: last line\n");
        assert!(record(text.as_slice(), &path));
        let kept = std::fs::read(&path).unwrap();
        assert!(kept.len() as u64 <= LIMIT);
        assert!(kept.starts_with(b"first line\n"));
        assert!(kept.ends_with(b"last line\n"));
        assert!(kept.windows(14).any(|part| part == b"bytes dropped "));
    }

    #[test]
    fn a_panic_message_split_between_reads_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = PANIC.split_at(9);
        assert!(record(first.chain(second), &dir.path().join("console.log")));
        assert!(!record(first, &dir.path().join("console.log")));
    }

    #[test]
    fn the_last_complaints_are_the_answer() {
        let mut log = Vec::new();
        let text = [vec![b'a'; 100_000], b"the end\n".to_vec()].concat();
        let last = complaints(text.as_slice(), &mut log);
        assert!(last.ends_with("the end") && last.len() <= 2048);
        assert_eq!(log.len(), 64 * 1024);
        let text = format!("qemu: {EXPECTED}\nfirst\nlast\n");
        assert_eq!(complaints(text.as_bytes(), &mut log), "first\nlast");
    }
}
