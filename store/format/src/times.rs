//! Modification times: kept beside the trees, never part of identity.

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Header, Reader, put_len};
use crate::id::TimesId;

const HEADER: Header = *b"PM\x01";

/// A modification time: seconds since 1970 (may be negative) and nanoseconds below a second.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mtime {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Mtime {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.secs.to_le_bytes());
        out.extend_from_slice(&self.nanos.to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let secs = i64::from_le_bytes(reader.array()?);
        let nanos = u32::from_le_bytes(reader.array()?);
        if nanos >= 1_000_000_000 {
            return Err(reader.error("more than a second of nanoseconds"));
        }
        Ok(Self { secs, nanos })
    }
}

/// The time of one directory entry, and for a directory the node of its own entries' times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimesEntry {
    /// The entry's own modification time.
    pub mtime: Mtime,
    /// For a directory: the times inside it.
    pub children: Option<TimesId>,
}

/// The times of one directory's entries, in the order of its tree node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimesNode {
    /// One for each entry of the tree node beside it.
    pub entries: Vec<TimesEntry>,
}

impl TimesNode {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        put_len(&mut out, self.entries.len() as u64);
        for entry in &self.entries {
            out.push(u8::from(entry.children.is_some()));
            entry.mtime.encode(&mut out);
            if let Some(children) = &entry.children {
                out.extend_from_slice(children.as_bytes());
            }
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("times node", HEADER, bytes)?;
        let count = reader.count(13)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let tag = reader.u8()?;
            let mtime = Mtime::decode(&mut reader)?;
            let children = match tag {
                0 => None,
                1 => Some(TimesId::from_bytes(reader.array()?)),
                _ => return Err(reader.error("unknown tag")),
            };
            entries.push(TimesEntry { mtime, children });
        }
        reader.finish()?;
        Ok(Self { entries })
    }

    /// BLAKE3 of the canonical bytes.
    pub fn id(&self) -> TimesId {
        TimesId::of(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_before_1970_too() {
        let node = TimesNode {
            entries: vec![
                TimesEntry { mtime: Mtime { secs: -1, nanos: 999_999_999 }, children: None },
                TimesEntry { mtime: Mtime::default(), children: Some(TimesId::of(b"")) },
            ],
        };
        assert_eq!(TimesNode::decode(&node.encode()), Ok(node));
    }
}
