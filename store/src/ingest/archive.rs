//! Taking in a tar archive, perhaps a hostile one.
//!
//! Nothing in it decides where anything is written: members only build a tree in memory. Names that
//! climb or are absolute, members below a link, and hard links to anything but an earlier file are
//! refused; links are stored verbatim, wherever they point.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use pyro_format::{Mode, Mtime, escape};
use tar::{Archive, Entry, EntryType};

use super::members::{Member, Members, parse_path, parse_target};
use super::meter::{Meter, Metered};
use super::sparse::Expanded;
use super::stream::{Cutter, StreamError};
use super::{IngestOptions, Tally, Top};
use crate::baseline::SkipReason;
use crate::error::{Error, IoContext, Result};
use crate::progress::{self, Progress};
use crate::store::locked;
use crate::writer::{Batch, Sink};

/// Bytes that headers of one member (long names, pax records) may take. GNU tar writes at most a
/// few kilobytes; the decoder keeps them in memory.
const MAX_HEADERS: u64 = 4 * 1024 * 1024;

pub(super) fn ingest(
    batch: &Arc<Batch>,
    path: &Path,
    options: &IngestOptions,
    tally: &Tally,
    progress: &dyn Progress,
) -> Result<Top> {
    let mut file = File::open(path).at("read", path)?;
    let mut magic = [0; 2];
    let gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.rewind().at("read", path)?;
    let file = BufReader::with_capacity(256 * 1024, file);
    let meter = Meter::new(options.limits.bytes);
    let input: Box<dyn Read> =
        if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = Archive::new(Metered { input, meter: meter.clone() });
    let mut reading = Reading {
        path,
        options,
        tally,
        progress,
        meter: meter.clone(),
        sink: Sink::new(batch)?,
        cutter: Cutter::new(),
        members: Members::new(),
        bytes: 0,
    };
    reading.read_members(&mut archive)?;
    // To its end, so that a compressed archive's checksum is checked.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| reading.broken(&error))?;
    let (top, totals) = reading.members.finish(&mut reading.sink)?;
    reading.sink.flush()?;
    let mut lists = locked(&tally.lists);
    lists.entries = totals.entries;
    lists.files = totals.files;
    lists.bytes = totals.bytes;
    Ok(top)
}

struct Reading<'a> {
    path: &'a Path,
    options: &'a IngestOptions,
    tally: &'a Tally,
    progress: &'a dyn Progress,
    meter: Rc<Meter>,
    sink: Sink,
    cutter: Cutter,
    members: Members,
    /// Bytes in all files so far.
    bytes: u64,
}

impl Reading<'_> {
    fn read_members<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<()> {
        let broken = |error: &io::Error| broken(self.path, error);
        let mut entries = archive.entries().map_err(|error| broken(&error))?;
        let mut count = 0;
        loop {
            self.meter.allow(MAX_HEADERS);
            let Some(entry) = entries.next() else { break };
            self.meter.allow(u64::MAX);
            let mut entry = entry.map_err(|error| self.broken(&error))?;
            progress::check(self.progress)?;
            count += 1;
            if count > self.options.limits.members {
                let limit = self.options.limits.members;
                return Err(self.refuse(format!("it has more than {limit} members")));
            }
            let name = entry.path_bytes().into_owned();
            match self.read_member(&name, &mut entry) {
                Ok(()) => {}
                Err(Refusal::Member(reason)) => {
                    let (archive, member) = (self.path.to_owned(), escape(&name));
                    return Err(Error::Member { archive, member, reason });
                }
                Err(Refusal::Input(error)) => return Err(self.broken(&error)),
                Err(Refusal::Error(error)) => return Err(error),
            }
            // What was not read, so that skipping it does not count as headers.
            io::copy(&mut entry, &mut io::sink()).map_err(|error| self.broken(&error))?;
        }
        if self.meter.ended.get() {
            return Err(self.refuse("it is truncated: its end marker is missing".to_owned()));
        }
        self.meter.allow(u64::MAX);
        Ok(())
    }

    fn read_member<R: Read>(
        &mut self,
        name: &[u8],
        entry: &mut Entry<'_, R>,
    ) -> Result<(), Refusal> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let pax = Pax::read(entry)?;
        let path = parse_path(pax.name.as_deref().unwrap_or(name))?;
        let mode = Mode::new((entry.header().mode().map_err(bad_header)? & 0o777) as u16);
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Mtime { secs: entry.header().mtime().map_err(bad_header)? as i64, nanos: 0 },
        };
        // Before POSIX, a directory was a file whose name ends in a slash.
        let is_dir = kind.is_dir() || (kind.is_file() && name.ends_with(b"/"));
        let member = match kind {
            _ if is_dir => Member::Dir { mode, mtime, children: Default::default() },
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.read_file(entry, pax.real_size, mode, mtime)?
            }
            EntryType::Link => self.hard_link(entry)?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or("is a link without a target")?;
                Member::Symlink { mtime, target: parse_target(&target)? }
            }
            other => {
                let reason = match other {
                    EntryType::Char => SkipReason::CharDevice,
                    EntryType::Block => SkipReason::BlockDevice,
                    EntryType::Fifo => SkipReason::Fifo,
                    _ => SkipReason::UnknownKind,
                };
                self.tally.skip(name.to_vec(), reason);
                return Ok(());
            }
        };
        self.progress.advance(1, 0);
        if path.is_empty() && !is_dir {
            return Err("has no name".to_owned().into());
        }
        Ok(self.members.insert(&path, member)?)
    }

    fn read_file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        real_size: Option<u64>,
        mode: Mode,
        mtime: Mtime,
    ) -> Result<Member, Refusal> {
        let claimed = real_size.unwrap_or(entry.size());
        self.bytes = self.bytes.saturating_add(claimed);
        let limit = self.options.limits.bytes;
        if self.bytes > limit {
            let reason = format!("its files hold more than {limit} bytes");
            return Err(Refusal::Error(self.refuse(reason)));
        }
        let mut expanded;
        let input: &mut dyn Read = match real_size {
            Some(real_size) => {
                expanded = Expanded::new(entry, real_size)?;
                &mut expanded
            }
            None => entry,
        };
        let (content, size) = self.cutter.store(&mut self.sink, input, |bytes| {
            self.progress.advance(0, bytes);
            progress::check(self.progress)
        })?;
        if size != claimed {
            return Err(Refusal::Input(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Member::File { mode, mtime, size, content })
    }

    /// Becomes a file equal to the one it links to.
    fn hard_link<R: Read>(&self, entry: &Entry<'_, R>) -> Result<Member, Refusal> {
        let target = entry.link_name_bytes().ok_or("is a hard link without a target")?;
        let shown = escape(&target);
        let path = parse_path(&target)
            .map_err(|why| format!("is a hard link to '{shown}', which {why}"))?;
        self.members.file(&path).ok_or_else(|| {
            format!("is a hard link to '{shown}', which is no regular file before it").into()
        })
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Archive { archive: self.path.to_owned(), reason }
    }

    fn broken(&self, error: &io::Error) -> Error {
        broken(self.path, error)
    }
}

fn broken(path: &Path, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is truncated".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    Error::Archive { archive: path.to_owned(), reason }
}

/// Why a member ends the ingest.
enum Refusal {
    Member(String),
    Input(io::Error),
    Error(Error),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Member(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Member(reason.to_owned())
    }
}

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Input(error) => Self::Input(error),
            StreamError::Store(error) => Self::Error(error),
        }
    }
}

fn bad_header(error: io::Error) -> Refusal {
    Refusal::Member(format!("has a bad header: {error}"))
}

/// What pax records say about one member beyond what the decoder understands.
#[derive(Default)]
struct Pax {
    /// Only here with fractions of a second.
    mtime: Option<Mtime>,
    /// Name and length of a file whose holes are left out (GNU sparse format 1.0).
    name: Option<Vec<u8>>,
    real_size: Option<u64>,
}

impl Pax {
    fn read<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self, Refusal> {
        let mut pax = Self::default();
        let mut sparse = false;
        for extension in entry.pax_extensions().map_err(bad_header)?.into_iter().flatten() {
            let extension = extension.map_err(bad_header)?;
            let text = extension.value().ok();
            match extension.key_bytes() {
                b"mtime" => {
                    let time = text.and_then(parse_seconds);
                    pax.mtime = Some(time.ok_or("has a bad modification time")?);
                }
                b"GNU.sparse.major" if text == Some("1") => sparse = true,
                b"GNU.sparse.major" | b"GNU.sparse.map" | b"GNU.sparse.numblocks" => {
                    return Err("is a sparse file in an unknown format; repack it with GNU tar \
                                without --sparse"
                        .into());
                }
                b"GNU.sparse.name" => pax.name = Some(extension.value_bytes().to_vec()),
                b"GNU.sparse.realsize" => {
                    let size = text.and_then(|text| text.parse().ok());
                    pax.real_size = Some(size.ok_or("has a bad size")?);
                }
                _ => {}
            }
        }
        if sparse != pax.real_size.is_some() {
            return Err("is a sparse file with incomplete records".into());
        }
        Ok(pax)
    }
}

/// Decimal seconds, perhaps negative, perhaps with a fraction, rounded down.
fn parse_seconds(text: &str) -> Option<Mtime> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if ![whole, fraction].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let secs: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(match (negative, nanos) {
        (false, _) => Mtime { secs, nanos },
        (true, 0) => Mtime { secs: -secs, nanos: 0 },
        (true, _) => Mtime { secs: (-secs).checked_sub(1)?, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_round_down_before_1970_too() {
        let time = |secs, nanos| Some(Mtime { secs, nanos });
        assert_eq!(parse_seconds("12.5"), time(12, 500_000_000));
        assert_eq!(parse_seconds("12"), time(12, 0));
        assert_eq!(parse_seconds("-0.25"), time(-1, 750_000_000));
        assert_eq!(parse_seconds("1.1234567899"), time(1, 123_456_789));
        assert_eq!(parse_seconds("1.x"), None);
        assert_eq!(parse_seconds("é"), None);
        assert_eq!(parse_seconds("--9223372036854775808"), None);
    }
}
