//! Taking in the layers of a system's image, one above the other.
//!
//! As in an archive of a workspace nothing decides where anything is written, and the same names are
//! refused. What such an archive leaves out is kept here: owners, set-id bits, extended attributes,
//! devices, hard links (`pyro_format::Attributes`). Marks of what a layer hides are those of the OCI image
//! specification (`layer.md`, "Whiteouts").

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pyro_format::{Attributes, Device, DeviceKind, EntryName, FileId, Mode, Mtime, escape};
use tar::EntryType;

use super::contents::Contents;
use super::members::{Member, Members, parse_path, parse_target};
use super::tarball::{self, Pax, Refusal, bad_header};
use super::{ArchiveLimits, IngestReport, Lists, Tally, finish};
use crate::error::Result;
use crate::progress::Progress;
use crate::store::{Store, locked};
use crate::writer::{Batch, Sink};

/// The name that hides everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What the name of a mark that hides one entry begins with.
const WHITEOUT: &[u8] = b".wh.";
/// Further names of this kind belong to the storage that made the layer.
const RESERVED: &[u8] = b".wh..wh.";

/// An image while it is taken in. Dropped before it is finished, it leaves nothing visible.
pub struct ImageIngest {
    store: Store,
    batch: Arc<Batch>,
    sink: Sink,
    contents: Contents,
    members: Members,
    limits: ArchiveLimits,
    started: Instant,
}

impl Store {
    /// Begins an image; its layers together may hold this much.
    ///
    /// # Errors
    /// If compression cannot be started.
    pub fn ingest_image(&self, limits: ArchiveLimits) -> Result<ImageIngest> {
        let batch = Batch::new(self);
        Ok(ImageIngest {
            store: self.clone(),
            sink: Sink::new(&batch)?,
            batch,
            contents: Contents::new("the image's", limits.bytes),
            members: Members::new(),
            limits,
            started: Instant::now(),
        })
    }
}

impl ImageIngest {
    /// Puts a layer, a tar archive that is not compressed, above what there is. `name` is what errors
    /// call it.
    ///
    /// # Errors
    /// For a damaged archive, one with a name that climbs or is absolute, with a kind of member that no
    /// system has, or with more in it than the image may hold. The image cannot be finished then.
    pub fn layer(
        &mut self,
        name: &Path,
        input: Box<dyn Read>,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.members.next_layer();
        let limits = self.limits.clone();
        tarball::each_member(name, input, &limits, progress, |member_name, member| {
            self.take(member_name, member, progress)
        })
    }

    /// Stores the tree and records it under `source`, a label.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn finish(mut self, source: &Path) -> Result<IngestReport> {
        let (top, totals) = self.members.finish(&mut self.sink)?;
        let tally = Tally::default();
        *locked(&tally.lists) = Lists {
            entries: totals.entries,
            files: totals.files,
            bytes: totals.bytes,
            ..Lists::default()
        };
        finish(&self.store, self.sink, &self.batch, top, tally, self.started, source)
    }

    fn take(
        &mut self,
        name: &[u8],
        member: &mut tarball::Member<'_>,
        progress: &dyn Progress,
    ) -> Result<(), Refusal> {
        let kind = member.header().entry_type();
        let pax = Pax::read(member)?;
        let path = parse_path(pax.name.as_deref().unwrap_or(name))?;
        if let Some((last, above)) = path.split_last()
            && last.as_bytes().starts_with(WHITEOUT)
        {
            return self.hide(above, last);
        }
        let header = member.header();
        let st_mode = header.mode().map_err(bad_header)?;
        let mode = Mode::new((st_mode & 0o777) as u16);
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Mtime { secs: header.mtime().map_err(bad_header)? as i64, nanos: 0 },
        };
        let owner = |pax: Option<u32>, field: std::io::Result<u64>| match pax {
            Some(id) => Ok(id),
            None => u32::try_from(field.map_err(bad_header)?)
                .map_err(|_| Refusal::from("has an owner that no system has")),
        };
        let mut attributes = Attributes {
            uid: owner(pax.uid, header.uid())?,
            gid: owner(pax.gid, header.gid())?,
            special_bits: ((st_mode >> 9) & 7) as u8,
            link_group: None,
            device: None,
            xattrs: pax.xattrs,
        };
        // Before POSIX, a directory was a file whose name ends in a slash.
        let is_dir = kind.is_dir() || (kind.is_file() && name.ends_with(b"/"));
        let taken = match kind {
            _ if is_dir => Member::Dir { mode, mtime, children: Default::default() },
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (sink, size) = (&mut self.sink, pax.real_size);
                let (content, size) = self.contents.store(sink, member, size, progress)?;
                Member::File { mode, mtime, size, content }
            }
            EntryType::Link => {
                let target = member.link_name_bytes().ok_or("is a hard link without a target")?;
                let shown = escape(&target);
                let target = parse_path(&target)
                    .map_err(|why| format!("is a hard link to '{shown}', which {why}"))?;
                let (linked, own) = self.members.link(&target).ok_or_else(|| {
                    format!("is a hard link to '{shown}', which is no file before it")
                })?;
                attributes = own;
                linked
            }
            EntryType::Symlink => {
                let target = member.link_name_bytes().ok_or("is a link without a target")?;
                // A link has no permissions of its own.
                attributes.special_bits = 0;
                Member::Symlink { mtime, target: parse_target(&target)? }
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                attributes.device = Some(device(kind, member)?);
                Member::File { mode, mtime, size: 0, content: FileId::of(b"") }
            }
            _ => return Err("is of a kind that no system has".into()),
        };
        progress.advance(1, 0);
        if path.is_empty() {
            if !is_dir {
                return Err("has no name".into());
            }
            // The top directory is root's.
            attributes = Attributes::default();
        }
        Ok(self.members.insert(&path, taken, attributes)?)
    }

    fn hide(&mut self, above: &[EntryName], mark: &EntryName) -> Result<(), Refusal> {
        let mark = mark.as_bytes();
        if mark == OPAQUE {
            self.members.hide_below(above);
        } else if !mark.starts_with(RESERVED) {
            let hidden = EntryName::parse(&mark[WHITEOUT.len()..])
                .map_err(|error| format!("hides a bad name: {error}"))?;
            self.members.hide(&[above, &[hidden]].concat());
        }
        Ok(())
    }
}

fn device(kind: EntryType, member: &tarball::Member<'_>) -> Result<Device, Refusal> {
    let header = member.header();
    let number = |field: std::io::Result<Option<u32>>| field.map(|number| number.unwrap_or(0));
    let kind = match kind {
        EntryType::Char => DeviceKind::Char,
        EntryType::Block => DeviceKind::Block,
        _ => return Ok(Device { kind: DeviceKind::Fifo, major: 0, minor: 0 }),
    };
    Ok(Device {
        kind,
        major: number(header.device_major()).map_err(bad_header)?,
        minor: number(header.device_minor()).map_err(bad_header)?,
    })
}
