//! The bytes of a pack file. All integers are little-endian.

use crate::object::{Kind, ObjectKey};

/// magic 8 bytes, version u8, effort u8, 6 zero bytes.
pub(super) const HEADER_LEN: usize = 16;
const MAGIC: [u8; 8] = *b"PYROPACK";
const VERSION: u8 = 1;
const END_MAGIC: [u8; 8] = *b"PYROEND\x01";

/// offset u64, stored length u32, raw length u32, encoding u8, checksum 16 bytes.
pub(super) const FRAME_LEN: usize = 33;
/// id 32 bytes, kind u8, frame u32, offset in the raw frame u32, length u32.
pub(super) const RECORD_LEN: usize = 45;
/// frame count u32, record count u32, footer offset u64, digest 32 bytes, magic 8 bytes.
pub(super) const TRAILER_LEN: usize = 56;
/// The part of the trailer that the digest covers.
const TRAILER_COUNTS: usize = 16;

/// How hard it was tried to make a pack small. Says nothing about how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Written while somebody waited.
    Fast = 0,
    /// Written again when nobody did. No flipped bit makes one of the other.
    Dense = b'D' as isize,
}

/// The first bytes of a pack.
pub(super) fn encode_header(effort: Effort) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    (header[8], header[9]) = (VERSION, effort as u8);
    header
}

/// Reads the first bytes of a pack.
pub(super) fn decode_header(header: &[u8; HEADER_LEN]) -> Result<Effort, &'static str> {
    let efforts = [Effort::Fast, Effort::Dense];
    let effort = efforts.into_iter().find(|effort| encode_header(*effort) == *header);
    effort.ok_or("the header is not that of a pack")
}

/// How a frame is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is: it did not compress.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// Where one frame is and how to check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) stored_len: u32,
    pub(crate) raw_len: u32,
    pub(crate) encoding: Encoding,
    /// First half of the BLAKE3 digest of the stored bytes.
    pub(crate) checksum: [u8; 16],
}

/// Where one object is inside its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: ObjectKey,
    pub(crate) frame: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// Everything after the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) frames: Vec<Frame>,
    pub(crate) records: Vec<Record>,
}

/// The fixed end of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) frames: u32,
    pub(crate) records: u32,
    pub(crate) footer_offset: u64,
    pub(crate) digest: [u8; 32],
}

impl Trailer {
    /// Reads the last [`TRAILER_LEN`] bytes of a pack of `pack_len` bytes.
    pub(crate) fn decode(bytes: &[u8; TRAILER_LEN], pack_len: u64) -> Result<Self, &'static str> {
        let (counts, rest) = bytes.split_at(TRAILER_COUNTS);
        let (digest, magic) = rest.split_at(32);
        if magic != END_MAGIC {
            return Err("the trailer is not that of a pack");
        }
        let trailer = Self {
            frames: u32_at(counts, 0),
            records: u32_at(counts, 4),
            footer_offset: u64_at(counts, 8),
            digest: array_at(digest, 0),
        };
        let footer = trailer.footer_len() + TRAILER_LEN as u64;
        if trailer.footer_offset.checked_add(footer) != Some(pack_len) {
            return Err("the trailer does not fit the length of the pack");
        }
        Ok(trailer)
    }

    /// Bytes between the last frame and the trailer.
    pub(crate) fn footer_len(&self) -> u64 {
        u64::from(self.frames) * FRAME_LEN as u64 + u64::from(self.records) * RECORD_LEN as u64
    }

    /// Where the record with this number starts in the pack.
    pub(crate) fn record_offset(&self, number: u32) -> u64 {
        self.frame_offset(self.frames) + u64::from(number) * RECORD_LEN as u64
    }

    /// Where the frame table's line with this number starts in the pack.
    pub(crate) fn frame_offset(&self, number: u32) -> u64 {
        self.footer_offset + u64::from(number) * FRAME_LEN as u64
    }
}

impl Footer {
    /// Bytes of footer and trailer for a footer that starts at `offset`, and the digest.
    pub(crate) fn encode(&self, offset: u64) -> (Vec<u8>, [u8; 32]) {
        let len = self.frames.len() * FRAME_LEN + self.records.len() * RECORD_LEN + TRAILER_LEN;
        let mut out = Vec::with_capacity(len);
        for frame in &self.frames {
            out.extend_from_slice(&frame.offset.to_le_bytes());
            out.extend_from_slice(&frame.stored_len.to_le_bytes());
            out.extend_from_slice(&frame.raw_len.to_le_bytes());
            out.push(frame.encoding as u8);
            out.extend_from_slice(&frame.checksum);
        }
        for record in &self.records {
            out.extend_from_slice(&record.key.id);
            out.push(record.key.kind as u8);
            out.extend_from_slice(&record.frame.to_le_bytes());
            out.extend_from_slice(&record.offset.to_le_bytes());
            out.extend_from_slice(&record.len.to_le_bytes());
        }
        out.extend_from_slice(&(self.frames.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        let digest = *blake3::hash(&out).as_bytes();
        out.extend_from_slice(&digest);
        out.extend_from_slice(&END_MAGIC);
        (out, digest)
    }

    /// The bytes that an object takes in the pack, with its record: as much of its frame as it is
    /// of the frame's content.
    pub(crate) fn stored_part(&self, record: &Record) -> u64 {
        let part = self.frames.get(record.frame as usize).map_or(0, |frame| {
            u64::from(record.len) * u64::from(frame.stored_len) / u64::from(frame.raw_len.max(1))
        });
        part + RECORD_LEN as u64
    }

    /// Reads footer and trailer; `bytes` start at the trailer's footer offset.
    pub(crate) fn decode(bytes: &[u8], trailer: &Trailer) -> Result<Self, &'static str> {
        let body = trailer.footer_len() as usize;
        let covered = bytes.get(..body + TRAILER_COUNTS).ok_or("the footer is cut short")?;
        if *blake3::hash(covered).as_bytes() != trailer.digest {
            return Err("the footer does not match its digest");
        }
        let (frames, records) = covered[..body].split_at(trailer.frames as usize * FRAME_LEN);
        Ok(Self {
            frames: frames.chunks_exact(FRAME_LEN).map(decode_frame).collect::<Result<_, _>>()?,
            records: records
                .chunks_exact(RECORD_LEN)
                .map(decode_record)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Reads one line of the frame table; `bytes` are [`FRAME_LEN`] long.
pub(super) fn decode_frame(bytes: &[u8]) -> Result<Frame, &'static str> {
    let encoding = match bytes[16] {
        0 => Encoding::Raw,
        1 => Encoding::Zstd,
        _ => return Err("unknown frame encoding"),
    };
    Ok(Frame {
        offset: u64_at(bytes, 0),
        stored_len: u32_at(bytes, 8),
        raw_len: u32_at(bytes, 12),
        encoding,
        checksum: array_at(bytes, 17),
    })
}

/// Reads one record; `bytes` are [`RECORD_LEN`] long.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, &'static str> {
    let kind = Kind::from_u8(bytes[32]).ok_or("unknown kind of object")?;
    Ok(Record {
        key: ObjectKey::new(kind, array_at(bytes, 0)),
        frame: u32_at(bytes, 33),
        offset: u32_at(bytes, 37),
        len: u32_at(bytes, 41),
    })
}

/// First half of the digest of a frame's stored bytes.
pub(crate) fn checksum(stored: &[u8]) -> [u8; 16] {
    array_at(blake3::hash(stored).as_bytes(), 0)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
