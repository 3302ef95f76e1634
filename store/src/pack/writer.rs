//! Writing packs: objects gather into frames, frames into a pack.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zstd::bulk::Compressor;

use super::decode_frame;
use super::layout::{Effort, Encoding, Footer, Frame, HEADER_LEN, Record, checksum, encode_header};
use crate::error::{Error, IoContext, Result};
use crate::object::ObjectKey;

/// A frame of content is closed when it holds this many bytes. Larger frames compress better and
/// cost more per small random read (0.7 ms at this size).
pub(crate) const CONTENT_FRAME: usize = 1024 * 1024;
/// The same for nodes: ids do not compress, so that little is gained by more.
pub(crate) const NODE_FRAME: usize = 256 * 1024;
/// A pack is closed when it holds this many objects, whatever their size, so that its footer and
/// its index segment stay small.
const PACK_OBJECTS: usize = 1 << 16;

/// Gathers neighbouring objects and compresses them together. One for each thread.
pub(crate) struct FrameBuilder {
    raw: Vec<u8>,
    target: usize,
    objects: Vec<(ObjectKey, u32, u32)>,
    compressor: Compressor<'static>,
}

/// A closed frame, ready to be appended to a pack.
pub(crate) struct EncodedFrame {
    stored: Vec<u8>,
    raw_len: u32,
    encoding: Encoding,
    checksum: [u8; 16],
    objects: Vec<(ObjectKey, u32, u32)>,
}

impl FrameBuilder {
    /// Closes frames at `target` bytes, or the object after.
    pub(crate) fn new(level: i32, target: usize) -> io::Result<Self> {
        Ok(Self {
            raw: Vec::new(),
            target,
            objects: Vec::new(),
            compressor: Compressor::new(level)?,
        })
    }

    /// Adds an object; true when the frame is full and wants to be closed.
    pub(crate) fn add(&mut self, key: ObjectKey, bytes: &[u8]) -> bool {
        self.objects.push((key, self.raw.len() as u32, bytes.len() as u32));
        self.raw.extend_from_slice(bytes);
        self.raw.len() >= self.target
    }

    /// Compresses what was gathered; none if there is nothing.
    pub(crate) fn close(&mut self) -> io::Result<Option<EncodedFrame>> {
        if self.objects.is_empty() {
            return Ok(None);
        }
        let packed = self.compressor.compress(&self.raw)?;
        // Less than 3 % gained is not worth decompressing for.
        let (stored, encoding) = if packed.len() + self.raw.len() / 32 < self.raw.len() {
            (packed, Encoding::Zstd)
        } else {
            (self.raw.clone(), Encoding::Raw)
        };
        let raw_len = self.raw.len() as u32;
        self.raw.clear();
        let checksum = checksum(&stored);
        let objects = std::mem::take(&mut self.objects);
        Ok(Some(EncodedFrame { stored, raw_len, encoding, checksum, objects }))
    }
}

/// Bytes after which what was written is worth syncing, so that little is left to be when the pack
/// is sealed.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

impl EncodedFrame {
    /// A frame that was read from another pack.
    pub(crate) fn copied(
        stored: Vec<u8>,
        line: &Frame,
        objects: Vec<(ObjectKey, u32, u32)>,
    ) -> Self {
        let Frame { raw_len, encoding, checksum, .. } = *line;
        Self { stored, raw_len, encoding, checksum, objects }
    }

    /// How many objects are in it.
    pub(crate) fn objects(&self) -> usize {
        self.objects.len()
    }
}

/// A pack as it is written, wherever to.
pub(crate) struct PackBody {
    len: u64,
    footer: Footer,
}

impl PackBody {
    /// Writes the header.
    pub(crate) fn begin(effort: Effort, out: &mut impl Write) -> io::Result<Self> {
        out.write_all(&encode_header(effort))?;
        let footer = Footer { frames: Vec::new(), records: Vec::new() };
        Ok(Self { len: HEADER_LEN as u64, footer })
    }

    /// Writes a frame; true when the pack has `limit` bytes, or too many objects, and wants to be
    /// ended.
    pub(crate) fn append(
        &mut self,
        frame: EncodedFrame,
        limit: u64,
        out: &mut impl Write,
    ) -> io::Result<bool> {
        out.write_all(&frame.stored)?;
        let number = self.footer.frames.len() as u32;
        for (key, offset, len) in frame.objects {
            self.footer.records.push(Record { key, frame: number, offset, len });
        }
        self.footer.frames.push(Frame {
            offset: self.len,
            stored_len: frame.stored.len() as u32,
            raw_len: frame.raw_len,
            encoding: frame.encoding,
            checksum: frame.checksum,
        });
        self.len += frame.stored.len() as u64;
        Ok(self.len >= limit || self.footer.records.len() >= PACK_OBJECTS)
    }

    /// Writes the footer and answers its bytes and digest.
    pub(crate) fn end(&mut self, out: &mut impl Write) -> io::Result<(Vec<u8>, [u8; 32])> {
        self.footer.records.sort_unstable_by_key(|record| (record.key.id, record.key.kind));
        let (bytes, digest) = self.footer.encode(self.len);
        out.write_all(&bytes)?;
        Ok((bytes, digest))
    }
}

/// A pack that is still being written, in a temporary file.
pub(crate) struct OpenPack {
    temp: NamedTempFile,
    body: PackBody,
    /// So many bytes of it are synced or about to be.
    synced: u64,
    /// Where each object's record is, if objects are to be read back before the pack is sealed.
    by_key: Option<HashMap<ObjectKey, u32>>,
}

/// A pack that is durable and has its name.
pub(crate) struct SealedPack {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    pub(crate) footer: Footer,
}

impl OpenPack {
    /// Starts a pack in `dir`, which must be where it will stay. Only a `readable` one can be read
    /// from before it is sealed; that takes memory for each object.
    pub(crate) fn create(dir: &Path, effort: Effort, readable: bool) -> Result<Self> {
        let mut temp = tempfile::Builder::new()
            .prefix(pyro_durable::TEMP_PREFIX)
            .tempfile_in(dir)
            .at("create a pack in", dir)?;
        let body = PackBody::begin(effort, &mut temp).at("write", temp.path())?;
        Ok(Self { temp, body, synced: 0, by_key: readable.then(HashMap::new) })
    }

    /// Appends a frame; true when the pack has `limit` bytes, or too many objects, and wants to be
    /// sealed.
    pub(crate) fn append(&mut self, frame: EncodedFrame, limit: u64) -> Result<bool> {
        if let Some(by_key) = &mut self.by_key {
            let first = self.body.footer.records.len() as u32;
            by_key.extend((first..).zip(&frame.objects).map(|(at, (key, ..))| (*key, at)));
        }
        self.body.append(frame, limit, &mut self.temp).at("write", self.temp.path())
    }

    /// The file, when enough of it was written since the last time to be worth a sync.
    pub(crate) fn wants_sync(&mut self) -> Option<File> {
        if self.body.len - self.synced < SYNC_BYTES {
            return None;
        }
        self.synced = self.body.len;
        self.temp.as_file().try_clone().ok()
    }

    /// Reads an object back from the unfinished pack; none if it is not in it.
    pub(crate) fn read(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>> {
        let place = self.by_key.as_ref().and_then(|by_key| by_key.get(key));
        let Some(record) = place.map(|at| self.body.footer.records[*at as usize]) else {
            return Ok(None);
        };
        let frame = &self.body.footer.frames[record.frame as usize];
        let mut stored = vec![0; frame.stored_len as usize];
        let path = self.temp.path();
        self.temp.as_file().read_exact_at(&mut stored, frame.offset).at("read", path)?;
        let (start, len) = (record.offset as usize, record.len as usize);
        let object = decode_frame(frame, stored).ok().and_then(|mut raw| {
            raw.truncate(start + len);
            (raw.len() == start + len).then(|| raw.split_off(start))
        });
        match object.filter(|bytes| key.matches(bytes)) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(Error::ReadBack { path: path.to_owned(), reason: "an object differs" }),
        }
    }

    /// Writes the footer, syncs, reads every stored byte back and compares it with what was meant
    /// to be written, then gives the pack its name. Durable when it returns.
    pub(crate) fn seal(mut self, dir: &Path) -> Result<SealedPack> {
        let temp_path = self.temp.path().to_owned();
        let (bytes, digest) = self.body.end(&mut self.temp).at("write", &temp_path)?;
        self.temp.as_file().sync_all().at("sync", &temp_path)?;
        self.read_back(&bytes)?;
        let path = dir.join(format!("{}.pack", blake3::Hash::from_bytes(digest)));
        pyro_durable::publish(self.temp, &path).at("write", &path)?;
        let len = self.body.len + bytes.len() as u64;
        Ok(SealedPack { path, len, footer: self.body.footer })
    }

    /// Costs one pass over the page cache with a checksum (3 to 4 GB/s): it finds short writes and
    /// bytes that changed on their way, not a disk that lies about what it holds; `verify` does.
    fn read_back(&self, footer: &[u8]) -> Result<()> {
        let path = self.temp.path();
        let fail = |reason| Error::ReadBack { path: path.to_owned(), reason };
        let mut file = File::open(path).at("open", path)?;
        file.seek(io::SeekFrom::Start(HEADER_LEN as u64)).at("read", path)?;
        let mut stored = Vec::new();
        for frame in &self.body.footer.frames {
            stored.resize(frame.stored_len as usize, 0);
            file.read_exact(&mut stored).at("read", path)?;
            if checksum(&stored) != frame.checksum {
                return Err(fail("a frame differs"));
            }
        }
        stored.clear();
        file.read_to_end(&mut stored).at("read", path)?;
        if stored == footer { Ok(()) } else { Err(fail("the footer differs")) }
    }
}
