//! Reading packs: single objects by record number, or the whole footer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::layout::{
    self, Effort, Encoding, FRAME_LEN, Footer, Frame, HEADER_LEN, RECORD_LEN, Record, TRAILER_LEN,
    Trailer,
};

/// No frame may claim to be larger than this when unpacked: a frame is closed at a MiB, and the
/// object that closes it may be a node of a directory with a million entries.
const MAX_RAW: u32 = 256 << 20;

/// A pack on disk whose trailer is sound. Holds no open file.
#[derive(Debug, Clone)]
pub(crate) struct Pack {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// Milliseconds since 1970 when it was written.
    pub(crate) modified: u64,
    pub(crate) effort: Effort,
    pub(crate) trailer: Trailer,
}

impl Pack {
    /// Reads the trailer only. The error says what is wrong with the file.
    pub(crate) fn open(path: &Path) -> Result<(Self, File), String> {
        let (pack, file) = Self::open_unnamed(path)?;
        if path.file_stem().and_then(|stem| stem.to_str()) != Some(&pack.id()) {
            return Err("the trailer does not match the pack's name".to_owned());
        }
        Ok((pack, file))
    }

    /// The same for a file that has not got its name yet.
    pub(crate) fn open_unnamed(path: &Path) -> Result<(Self, File), String> {
        let text = |error: std::io::Error| error.to_string();
        let file = File::open(path).map_err(text)?;
        let metadata = file.metadata().map_err(text)?;
        let (len, modified) = (metadata.len(), since_1970(metadata.modified().map_err(text)?));
        if len < (HEADER_LEN + TRAILER_LEN) as u64 {
            return Err("too short for a pack".to_owned());
        }
        let mut bytes = [0; TRAILER_LEN];
        file.read_exact_at(&mut bytes, len - TRAILER_LEN as u64).map_err(text)?;
        let trailer = Trailer::decode(&bytes, len)?;
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0).map_err(text)?;
        let effort = layout::decode_header(&header)?;
        Ok((Self { path: path.to_owned(), len, modified, effort, trailer }, file))
    }

    /// The pack's name: the hex digest of its footer.
    pub(crate) fn id(&self) -> String {
        blake3::Hash::from_bytes(self.trailer.digest).to_string()
    }

    /// Reads and checks the whole footer.
    pub(crate) fn footer(&self, file: &File) -> Result<Footer, String> {
        let mut bytes = vec![0; (self.len - self.trailer.footer_offset) as usize];
        let offset = self.trailer.footer_offset;
        file.read_exact_at(&mut bytes, offset).map_err(|error| error.to_string())?;
        Ok(Footer::decode(&bytes, &self.trailer)?)
    }

    /// One record. Not covered by a digest when read alone: the caller compares the key.
    pub(crate) fn record(&self, file: &File, number: u32) -> Result<Record, &'static str> {
        if number >= self.trailer.records {
            return Err("a record number is out of range");
        }
        let mut bytes = [0; RECORD_LEN];
        file.read_exact_at(&mut bytes, self.trailer.record_offset(number))
            .map_err(|_| "the footer cannot be read")?;
        layout::decode_record(&bytes)
    }

    /// One line of the frame table.
    pub(crate) fn frame(&self, file: &File, number: u32) -> Result<Frame, &'static str> {
        if number >= self.trailer.frames {
            return Err("a frame number is out of range");
        }
        let mut bytes = [0; FRAME_LEN];
        file.read_exact_at(&mut bytes, self.trailer.frame_offset(number))
            .map_err(|_| "the footer cannot be read")?;
        layout::decode_frame(&bytes)
    }

    /// The stored bytes of a frame.
    pub(crate) fn stored(&self, file: &File, frame: &Frame) -> Result<Vec<u8>, &'static str> {
        let end = frame.offset.checked_add(u64::from(frame.stored_len));
        if end.is_none_or(|end| end > self.trailer.footer_offset) {
            return Err("a frame lies outside the pack");
        }
        let mut stored = vec![0; frame.stored_len as usize];
        file.read_exact_at(&mut stored, frame.offset).map_err(|_| "the frame cannot be read")?;
        Ok(stored)
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Unpacks the stored bytes of a frame. Objects are checked by their ids, not here.
pub(crate) fn decode_frame(frame: &Frame, stored: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let raw = match frame.encoding {
        Encoding::Raw => stored,
        Encoding::Zstd if frame.raw_len > MAX_RAW => return Err("a frame claims to be too large"),
        Encoding::Zstd => zstd::bulk::decompress(&stored, frame.raw_len as usize)
            .map_err(|_| "the frame does not decompress")?,
    };
    if raw.len() == frame.raw_len as usize { Ok(raw) } else { Err("the frame has another length") }
}

/// Whether the stored bytes of a frame are those that were written.
pub(crate) fn frame_is_intact(frame: &Frame, stored: &[u8]) -> bool {
    layout::checksum(stored) == frame.checksum
}
