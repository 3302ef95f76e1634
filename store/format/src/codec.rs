//! The canonical encoding's building blocks: little-endian fixed integers, minimal LEB128 lengths,
//! length-prefixed bytes.

use thiserror::Error;

/// Why bytes are no canonical node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a valid {what}: {why}")]
pub struct DecodeError {
    /// Which node was being read.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

/// First bytes of every node: two letters for its kind and the version of the encoding.
pub(crate) type Header = [u8; 3];

pub(crate) fn put_len(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a node from the front; every method fails rather than run past the end.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        what: &'static str,
        header: Header,
        bytes: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let mut reader = Self { what, rest: bytes };
        let found = reader.array::<3>()?;
        if found[..2] != header[..2] {
            return Err(reader.error("wrong kind"));
        }
        if found != header {
            return Err(reader.error("made by another version of the format"));
        }
        Ok(reader)
    }

    pub(crate) fn error(&self, why: &'static str) -> DecodeError {
        DecodeError { what: self.what, why }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(self.error("truncated"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N).map(|bytes| bytes.try_into().expect("took N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn len(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.error("length overflows"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("length not minimal"));
                }
                return Ok(value);
            }
        }
        Err(self.error("length overflows"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.len()?;
        self.take(usize::try_from(len).map_err(|_| self.error("truncated"))?)
    }

    /// A count of items of at least `min_size` bytes each: more than the rest can hold is refused
    /// before anything is allocated for them.
    pub(crate) fn count(&mut self, min_size: usize) -> Result<usize, DecodeError> {
        let count = self.len()?;
        if count > (self.rest.len() / min_size) as u64 {
            return Err(self.error("truncated"));
        }
        Ok(count as usize)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error("bytes left over")) }
    }
}
