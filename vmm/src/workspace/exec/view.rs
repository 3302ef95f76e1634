//! What a read of a command's output answers: bytes from a cursor on, and the cursor of the next
//! read.
//!
//! ```text
//! 0 ......... kept | not kept ........ total
//!   cursor ─▶ part ─▶ next cursor: behind the part; behind everything where the kept bytes end
//! ```
//!
//! So whoever follows the next cursor comes to the end, and sees by its jump what was not kept.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pyro_api::{ExecRead, ExecState, ExecView, shell_join};

use crate::error::{Error, Result};
use crate::workspace::feed::{Feed, KEEP, Kept};
use crate::workspace::log::Logged;
use crate::workspace::record::Record;

/// Bytes of each stream in an answer when the caller does not say.
const DEFAULT: u64 = 64 << 10;
/// Longest character in UTF-8, in bytes.
const CHARACTER: usize = 4;

/// What a caller wants to read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// First byte of standard output.
    pub stdout: u64,
    /// First byte of standard error.
    pub stderr: u64,
    max: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { stdout: 0, stderr: 0, max: DEFAULT as usize }
    }
}

impl Wanted {
    /// Checks what can be checked without the output.
    pub fn new(call: &ExecRead) -> Result<Self> {
        let max = call.max_bytes.unwrap_or(DEFAULT);
        if !(1..=KEEP as u64).contains(&max) {
            return Err(Error::Invalid(format!("max_bytes must be 1 to {KEEP}, not {max}")));
        }
        Ok(Self { stdout: call.stdout_cursor, stderr: call.stderr_cursor, max: max as usize })
    }
}

/// A time to wait: none if it is absent or 0.
pub fn patience(seconds: Option<f64>) -> Result<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds >= 0.0 && seconds.is_finite() => {
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            Ok((!wait.is_zero()).then_some(wait))
        }
        Some(seconds) => {
            Err(Error::Invalid(format!("to wait for {seconds} seconds makes no sense")))
        }
    }
}

/// One stream as far as it is known.
struct Output<'a> {
    name: &'static str,
    kept: &'a [u8],
    total: u64,
    /// More may be kept.
    open: bool,
}

impl<'a> Output<'a> {
    fn running(name: &'static str, kept: &'a Kept) -> Self {
        let gapless = kept.end == kept.head.len() as u64;
        let open = gapless && kept.head.len() < KEEP;
        Self { name, kept: &kept.head, total: kept.end.max(kept.head.len() as u64), open }
    }

    fn ended(name: &'static str, kept: &'a [u8], total: u64) -> Self {
        Self { name, kept, total: total.max(kept.len() as u64), open: false }
    }

    fn check(&self, cursor: u64) -> Result<()> {
        if cursor <= self.total {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "cursor {cursor} is past the end of standard {}, which is {}",
            self.name, self.total
        )))
    }

    fn part(&self, cursor: u64, max: usize) -> Result<Part<'a>> {
        self.check(cursor)?;
        let Some(rest) = usize::try_from(cursor).ok().and_then(|at| self.kept.get(at..)) else {
            return Ok(Part { bytes: &[], cursor, next: self.total, more: cursor < self.total });
        };
        let all = rest.len() <= max;
        let bytes = &rest[..rest.len().min(max)];
        let whole = whole_characters(bytes);
        // A character that is larger than the answer may be is given in pieces.
        let hold_back = if all { self.open } else { whole > 0 };
        let bytes = if hold_back { &bytes[..whole] } else { bytes };
        let next = match all && !hold_back {
            true => self.total,
            false => cursor + bytes.len() as u64,
        };
        let kept_all = self.total == self.kept.len() as u64;
        Ok(Part { bytes, cursor, next, more: !all || !kept_all })
    }
}

/// Bytes of one stream, and where to go on.
#[derive(Debug, PartialEq)]
struct Part<'a> {
    bytes: &'a [u8],
    cursor: u64,
    next: u64,
    more: bool,
}

impl Part<'_> {
    fn text(&self) -> (String, Option<String>) {
        match std::str::from_utf8(self.bytes) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (
                String::from_utf8_lossy(self.bytes).into_owned(),
                Some(STANDARD.encode(self.bytes)),
            ),
        }
    }
}

/// Length without a character at the end that is cut off.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(CHARACTER - 1)..bytes.len();
    for at in tail.rev() {
        let needed = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            // In the middle of a character: it begins further left.
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + needed > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

/// Refuses cursors that are past the end of what has come.
pub fn check(feed: &Feed, wanted: Wanted) -> Result<()> {
    feed.look(|stdout, stderr| {
        Output::running("output", stdout).check(wanted.stdout)?;
        Output::running("error", stderr).check(wanted.stderr)
    })
}

/// A command that runs.
pub fn running(record: &Record, sequence: u64, feed: &Feed, wanted: Wanted) -> Result<ExecView> {
    let command = &feed.command;
    let head = ExecView {
        workspace_id: record.id.clone(),
        sequence,
        command: shell_join(&command.argv),
        cwd: command.cwd.lossy(),
        state: ExecState::Running,
        started_at: command.started_at.to_string(),
        exit_code: None,
        timed_out: false,
        killed: false,
        duration_ms: command.age_ms(Timestamp::now()),
        execution_mode: record.backend.name().to_owned(),
        ..ExecView::default()
    };
    feed.look(|stdout, stderr| {
        let outputs = [Output::running("output", stdout), Output::running("error", stderr)];
        fill(head, outputs, wanted)
    })
}

/// A command that has ended.
pub fn ended(logged: &Logged, wanted: Wanted) -> Result<ExecView> {
    let result = &logged.entry.result;
    let head = ExecView {
        workspace_id: logged.entry.workspace_id.clone(),
        sequence: logged.entry.sequence,
        command: result.command.clone(),
        cwd: result.cwd.clone(),
        state: ExecState::Exited,
        started_at: logged.entry.started_at.clone(),
        exit_code: Some(result.exit_code),
        timed_out: result.timed_out,
        killed: logged.entry.killed,
        duration_ms: result.duration_ms,
        execution_mode: result.execution_mode.clone(),
        ..ExecView::default()
    };
    let (stdout, stderr) = (logged.stdout(), logged.stderr());
    let outputs = [
        Output::ended("output", &stdout, logged.stdout_bytes),
        Output::ended("error", &stderr, logged.stderr_bytes),
    ];
    fill(head, outputs, wanted)
}

fn fill(head: ExecView, outputs: [Output<'_>; 2], wanted: Wanted) -> Result<ExecView> {
    let [stdout, stderr] = outputs;
    let stdout = stdout.part(wanted.stdout, wanted.max)?;
    let stderr = stderr.part(wanted.stderr, wanted.max)?;
    let ((out, out_b64), (err, err_b64)) = (stdout.text(), stderr.text());
    Ok(ExecView {
        stdout: out,
        stderr: err,
        stdout_b64: out_b64,
        stderr_b64: err_b64,
        stdout_cursor: stdout.cursor,
        stderr_cursor: stderr.cursor,
        stdout_next_cursor: stdout.next,
        stderr_next_cursor: stderr.next,
        stdout_truncated: stdout.more,
        stderr_truncated: stderr.more,
        ..head
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(kept: &[u8], total: u64) -> Output<'_> {
        Output::ended("output", kept, total)
    }

    /// All bytes that a reader gets who follows the next cursor, and its last position.
    fn follow(output: &Output<'_>, max: usize) -> (Vec<u8>, u64) {
        let (mut bytes, mut cursor) = (Vec::new(), 0);
        loop {
            let part = output.part(cursor, max).unwrap();
            assert!(part.bytes.len() <= max);
            bytes.extend_from_slice(part.bytes);
            assert!(part.next > cursor || !part.more, "stuck at {cursor}");
            cursor = part.next;
            if !part.more {
                return (bytes, cursor);
            }
        }
    }

    #[test]
    fn a_reader_gets_every_kept_byte_once_and_comes_to_the_end() {
        let text = "aé€😀z".as_bytes();
        let samples = [text, b"", b"\xff\xfe\x80\x80\x80\x80\xe2\x82", &[0x80; 9], "é".as_bytes()];
        for kept in samples {
            for max in 1..12 {
                for lost in [0, 1, 1000] {
                    let total = kept.len() as u64 + lost;
                    assert_eq!(follow(&ended(kept, total), max), (kept.to_vec(), total));
                }
            }
        }
    }

    #[test]
    fn parts_end_between_characters() {
        let output = ended("aé€😀".as_bytes(), 0);
        let part = |cursor| output.part(cursor, 4).unwrap();
        assert_eq!((part(0).bytes, part(0).next), ("aé".as_bytes(), 3));
        assert_eq!((part(3).bytes, part(3).next), ("€".as_bytes(), 6));
        assert_eq!(part(6).text(), ("😀".to_owned(), None));
        assert_eq!(
            output.part(6, 3).unwrap().bytes,
            &"😀".as_bytes()[..3],
            "larger than an answer"
        );
    }

    #[test]
    fn half_a_character_is_held_back_while_the_rest_may_come() {
        let mut kept = Kept { head: b"a\xe2\x82".to_vec(), end: 3 };
        let part = |kept: &Kept| {
            let part = Output::running("output", kept).part(0, 100).unwrap();
            (part.bytes.to_vec(), part.next, part.more)
        };
        assert_eq!(part(&kept), (b"a".to_vec(), 1, false));
        kept.end = 9;
        assert_eq!(part(&kept), (b"a\xe2\x82".to_vec(), 9, true), "the rest is lost");
        let output = ended(&kept.head, 3);
        assert_eq!(output.part(1, 100).unwrap().text().1, Some(STANDARD.encode(b"\xe2\x82")));
    }

    #[test]
    fn what_was_not_kept_is_a_jump_of_the_cursor() {
        let output = ended(b"abc", 10);
        let part = |cursor| output.part(cursor, 100).unwrap();
        assert_eq!(part(0), Part { bytes: b"abc", cursor: 0, next: 10, more: true });
        assert_eq!(part(3), Part { bytes: b"", cursor: 3, next: 10, more: true });
        assert_eq!(part(7), Part { bytes: b"", cursor: 7, next: 10, more: true });
        assert_eq!(part(10), Part { bytes: b"", cursor: 10, next: 10, more: false });
    }

    #[test]
    fn a_cursor_past_the_end_is_refused_and_the_end_named() {
        let error = ended(b"abc", 10).part(11, 1).unwrap_err().to_string();
        assert_eq!(error, "cursor 11 is past the end of standard output, which is 10");
        assert!(ended(b"", 0).part(u64::MAX, 1).is_err());
    }

    #[test]
    fn any_time_to_wait_that_makes_sense_is_taken() {
        assert_eq!(patience(None).unwrap(), None);
        assert_eq!(patience(Some(0.0)).unwrap(), None);
        assert_eq!(patience(Some(1.5)).unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(patience(Some(1e300)).unwrap(), Some(Duration::MAX));
        for seconds in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(patience(Some(seconds)).is_err(), "{seconds}");
        }
    }
}
