//! Taking in a tar archive, perhaps a hostile one.
//!
//! Nothing in it decides where anything is written: members only build a tree in memory. Names that
//! climb or are absolute, members below a link, and hard links to anything but an earlier file are
//! refused; links are stored verbatim, wherever they point.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use pyro_format::{Attributes, Mode, Mtime, escape};
use tar::EntryType;

use super::contents::Contents;
use super::members::{Member, Members, parse_path, parse_target};
use super::tarball::{self, Pax, Refusal, bad_header};
use super::{IngestOptions, Tally, Top};
use crate::baseline::SkipReason;
use crate::error::{IoContext, Result};
use crate::progress::Progress;
use crate::store::locked;
use crate::writer::{Batch, Sink};

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
    let input: Box<dyn Read> =
        if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut reading = Reading {
        tally,
        progress,
        sink: Sink::new(batch)?,
        contents: Contents::new("its", options.limits.bytes),
        members: Members::new(),
    };
    let limits = &options.limits;
    tarball::each_member(path, input, limits, progress, |name, entry| {
        reading.read_member(name, entry)
    })?;
    let (top, totals) = reading.members.finish(&mut reading.sink)?;
    reading.sink.flush()?;
    let mut lists = locked(&tally.lists);
    lists.entries = totals.entries;
    lists.files = totals.files;
    lists.bytes = totals.bytes;
    Ok(top)
}

struct Reading<'a> {
    tally: &'a Tally,
    progress: &'a dyn Progress,
    sink: Sink,
    contents: Contents,
    members: Members,
}

impl Reading<'_> {
    fn read_member(&mut self, name: &[u8], entry: &mut tarball::Member<'_>) -> Result<(), Refusal> {
        let kind = entry.header().entry_type();
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
                let (sink, size) = (&mut self.sink, pax.real_size);
                let (content, size) = self.contents.store(sink, entry, size, self.progress)?;
                Member::File { mode, mtime, size, content }
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
        Ok(self.members.insert(&path, member, Attributes::default())?)
    }

    /// Becomes a file equal to the one it links to.
    fn hard_link(&self, entry: &tarball::Member<'_>) -> Result<Member, Refusal> {
        let target = entry.link_name_bytes().ok_or("is a hard link without a target")?;
        let shown = escape(&target);
        let path = parse_path(&target)
            .map_err(|why| format!("is a hard link to '{shown}', which {why}"))?;
        self.members.file(&path).ok_or_else(|| {
            format!("is a hard link to '{shown}', which is no regular file before it").into()
        })
    }
}
