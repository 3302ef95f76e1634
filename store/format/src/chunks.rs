//! The chunks of a file that has more than one.

use crate::codec::{DecodeError, Header, Reader, put_len};
use crate::id::{ChunkId, FileId};

const HEADER: Header = *b"PC\x01";

/// One chunk of a file, in file order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// The chunk's id.
    pub id: ChunkId,
    /// Its length in bytes, at least 1.
    pub len: u64,
}

/// The chunks of one file, in order: at least two, since a one-chunk file needs no list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkList {
    /// Hash of the whole file.
    pub file: FileId,
    /// The chunks, first to last.
    pub chunks: Vec<ChunkRef>,
}

impl ChunkList {
    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len).sum()
    }

    /// Canonical bytes, ending in their own BLAKE3 digest: a list is stored under the file's id, which
    /// the list's bytes alone cannot prove.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72 + self.chunks.len() * 35);
        out.extend_from_slice(&HEADER);
        out.extend_from_slice(self.file.as_bytes());
        put_len(&mut out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            out.extend_from_slice(chunk.id.as_bytes());
            put_len(&mut out, chunk.len);
        }
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("chunk list", HEADER, bytes)?;
        let file = FileId::from_bytes(reader.array()?);
        let count = reader.count(33)?;
        if count < 2 {
            return Err(reader.error("fewer than two chunks"));
        }
        let mut chunks = Vec::with_capacity(count);
        let mut size = 0u64;
        for _ in 0..count {
            let chunk = ChunkRef { id: ChunkId::from_bytes(reader.array()?), len: reader.len()? };
            size = size.checked_add(chunk.len).ok_or(reader.error("size overflows"))?;
            if chunk.len == 0 {
                return Err(reader.error("empty chunk"));
            }
            chunks.push(chunk);
        }
        let digest: [u8; 32] = reader.array()?;
        if *blake3::hash(&bytes[..bytes.len().saturating_sub(32)]).as_bytes() != digest {
            return Err(reader.error("checksum differs"));
        }
        reader.finish()?;
        Ok(Self { file, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ChunkList {
        let chunk = |text: &[u8]| ChunkRef { id: ChunkId::of(text), len: text.len() as u64 };
        ChunkList { file: FileId::of(b"ab"), chunks: vec![chunk(b"a"), chunk(b"b")] }
    }

    #[test]
    fn a_list_round_trips() {
        assert_eq!(ChunkList::decode(&list().encode()), Ok(list()));
        assert_eq!(list().size(), 2);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = list().encode();
        for at in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[at / 8] ^= 1 << (at % 8);
            assert!(ChunkList::decode(&broken).is_err(), "bit {at}");
        }
    }
}
